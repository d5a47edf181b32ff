"""Tables of an ablation: one row per cell, scheme and bits (mean, spread, seeds), as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from squat.ablation.cells import STATE_SOURCES, WEIGHT_SOURCES, get_cell
from squat.ablation.grid import Coordinates
from squat.ablation.results import Results
from squat.ablation.tools import bytes_of
from squat.ablation.verdicts import Trend, Verdict
from squat.text import brief


@dataclass(frozen=True)
class Row:
    """Results of one cell at one scheme and pair of bit widths; accuracies in percent, None where undefined.

    Args:
        cell, at: the coordinates.
        seeds: seeds of finished runs.
        failed: number of failed runs.
        test: test accuracy per seed.
        validation: mean validation accuracy.
        tied_share: mean share of test samples with tied scores, percent.
        spike_rate: mean spikes per neuron and step.
        bytes: weights and states at their bit widths.
        seconds: mean time of a run.
        state_ranges: range chosen by state PTQ, per seed.
    """

    cell: str
    at: Coordinates
    seeds: tuple[int, ...]
    failed: int
    test: tuple[float, ...]
    validation: float | None
    tied_share: float | None
    spike_rate: float | None
    bytes: float | None
    seconds: float | None
    state_ranges: tuple[str, ...] = ()

    __repr__ = brief

    @property
    def mean(self) -> float | None:
        """Mean test accuracy."""
        return _mean(self.test)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None below two."""
        return statistics.stdev(self.test) if len(self.test) > 1 else None

    @property
    def accuracy(self) -> str:
        """Mean and spread as text."""
        if self.mean is None:
            return "-"
        return f"{self.mean:.2f}" if self.spread is None else f"{self.mean:.2f} ± {self.spread:.2f}"


def _mean(values: Iterable[float]) -> float | None:
    entries = list(values)
    return statistics.fmean(entries) if entries else None


def summarise(results: Results) -> list[Row]:
    """One row per cell, scheme and bits, in the order of the design.

    Args:
        results: a results folder, read; it may be incomplete.
    """
    return [_row(results, cell, at) for cell, at in results.rows()]


def _row(results: Results, cell: str, at: Coordinates) -> Row:
    runs = results.runs(cell, at)
    records = list(runs.values())
    rates = [_mean(record["test"]["spike_rates"].values()) for record in records]
    return Row(
        cell,
        at,
        tuple(runs),
        results.failed(cell, at),
        tuple(100 * record["test"]["accuracy"] for record in records),
        _mean(100 * record["validation"]["accuracy"] for record in records),
        _mean(100 * record["test"]["tied_share"] for record in records),
        _mean(rate for rate in rates if rate is not None),
        bytes_of(records[0]["size"], at.weight_bits, at.state_bits) if records else None,
        _mean(record["seconds"] for record in records),
        tuple(record["state_range"] for record in records if record.get("state_range")),
    )


HEADER = (
    "cell", "scheme", "weight bits", "state bits", "test %", "seeds", "validation %", "tied %", "spike rate", "kB",
)  # fmt: skip


def result_cells(row: Row) -> list[str]:
    """A row's texts under `HEADER`."""
    return [
        row.cell,
        row.at.scheme or "-",
        _bits(row.at.weight_bits),
        _bits(row.at.state_bits),
        row.accuracy,
        str(len(row.seeds)) + (f" ({row.failed} failed)" if row.failed else ""),
        _number(row.validation, 2),
        _number(row.tied_share, 2),
        _number(row.spike_rate, 4),
        "-" if row.bytes is None else f"{row.bytes / 1000:.4g}",
    ]


def _bits(bits: int | None) -> str:
    return "float" if bits is None else str(bits)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def design_table(rows: Sequence[Row], scheme: str, weight_bits: int, state_bits: int) -> list[list[str]]:
    """The 2 x 2 design at one scheme and pair of bits: a header and one line per source of the weights.

    Args:
        rows: all rows.
        scheme: of the states.
        weight_bits: of the weights.
        state_bits: of the states.
    """
    found = {
        (get_cell(row.cell).weights, get_cell(row.cell).states): row.accuracy
        for row in rows
        if row.at == Coordinates(scheme, weight_bits, state_bits).within(get_cell(row.cell))
    }
    lines = [["weights / states", "float", "PTQ", "SQUAT"]]
    for source in WEIGHT_SOURCES:
        name = source if source == "float" else source.upper()
        lines.append([name, *(found.get((source, states), "not run") for states in STATE_SOURCES)])
    return lines


VERDICT_HEADER = (
    "claim", "first", "against", "data", "bits", "first %", "against %", "difference", "95 % bootstrap",
    "95 % t over seeds", "p (Holm)", "detectable", "seeds", "verdict",
)  # fmt: skip


def verdict_cells(verdict: Verdict) -> list[str]:
    """A verdict's texts under `VERDICT_HEADER`."""
    comparison, found = verdict.comparison, verdict.difference
    head = [comparison.claim, str(comparison.first), str(verdict.rival), verdict.data_set, verdict.bits]
    if found is None or verdict.accuracies is None:
        return [*head, *["-"] * 7, "0", "undecided (no pair of finished runs)"]
    return [
        *head,
        *(f"{accuracy:.2f}" for accuracy in verdict.accuracies),
        f"{found.mean:+.2f}",
        _interval(found.interval),
        _interval(found.t_interval),
        f"{verdict.p_adjusted:.4f}",
        f"{found.detectable:.2f}",
        str(found.seeds),
        verdict.verdict,
    ]


def _interval(interval: tuple[float, float] | None) -> str:
    return "undefined" if interval is None else f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"


TREND_HEADER = ("first", "against", "bits", "data sets", "supporting", "opposing", "claim (4)")


def trend_cells(trend: Trend) -> list[str]:
    """A trend's texts under `TREND_HEADER`."""
    against = " / ".join(str(rival) for rival in trend.comparison.rivals)
    counts = (str(trend.data_sets), str(trend.supporting), str(trend.opposing))
    return [str(trend.comparison.first), against, trend.bits, *counts, trend.verdict]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(markdown(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [list(header), *map(list, rows)]
    texts = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(header), *texts[1:]])


CSV_HEADER = (
    "experiment", "cell", "scheme", "weight_bits", "state_bits", "test_mean", "test_std", "seeds", "failed",
    "validation_mean", "tied_share", "spike_rate", "bytes", "seconds", "state_ranges", "test_by_seed",
)  # fmt: skip


def to_csv(name: str, rows: Iterable[Row]) -> str:
    """All rows as CSV; accuracies in percent, empty where undefined, lists separated by spaces.

    Args:
        name: of the experiment.
        rows: from `summarise`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row in rows:
        by_seed = " ".join(f"{seed}:{value:.4f}" for seed, value in zip(row.seeds, row.test, strict=True))
        numbers = (row.validation, row.tied_share, row.spike_rate, row.bytes, row.seconds)
        values = [row.mean, row.spread, len(row.seeds), row.failed, *numbers, " ".join(row.state_ranges), by_seed]
        texts = ["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values]
        writer.writerow([name, row.cell, row.at.scheme or "", *("" if b is None else b for b in row.at[1:]), *texts])
    return text.getvalue()


def latex(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    r"""A LaTeX table for the package booktabs.

    Example:
        >>> print(latex(["scheme"], [["threshold_centered"]], "50 %").splitlines()[-4])
        threshold\_centered \\
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex_text(cell) for cell in cells) + r" \\"

    body = [line(row) for row in rows]
    return "\n".join(
        [
            r"\begin{table}", rf"\caption{{{_latex_text(caption)}}}", rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\toprule", line(header), r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def _latex_text(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$")
