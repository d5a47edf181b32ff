"""`report`: tables, figures and verdicts of one or more results folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squat.ablation import tables, verdicts
from squat.ablation.config import AblationConfig
from squat.ablation.results import Results
from squat.ablation.tools import default_tools

FORMATS = ("png", "svg", "pdf")


def report(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    more: Sequence[Path | str] = (),
    secondary: Path | str | None = None,
    formats: Sequence[str] = ("png",),
) -> Path:
    """Writes `results.md`, `results.csv`, `results.tex` and the figures of an ablation, finished or not.

    Args:
        folder: results folder of `run`.
        out: folder for the report; the results folder itself if None.
        more: results folders on other data sets; verdicts are then corrected over all, and claim (4) is judged.
        secondary: results folder of the same ablation with a beta per scheme and bits; verdicts that differ are named.
        formats: of the figures, among "png", "svg", "pdf".

    Returns:
        path of `results.md`.

    Raises:
        ValueError: if a folder is not a results folder, is damaged, two have the same name, the secondary one has
            the name of none of the others, or a format is unknown.
    """
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats: {name!r} is unknown; expected some of {', '.join(FORMATS)}")
    experiments = [Results.read(path) for path in (folder, *more)]
    names = [results.config.name for results in experiments]
    if len(set(names)) < len(names):
        raise ValueError(f"folders {names}: expected a different experiment name in each")
    place = Path(folder if out is None else out)
    place.mkdir(parents=True, exist_ok=True)
    found = verdicts.verdicts(experiments)
    beta = None if secondary is None else Results.read(secondary)
    if beta is not None and beta.config.name not in names:
        where = f"secondary={str(secondary)!r} holds {beta.config.name!r}"
        raise ValueError(f"{where}; expected the same ablation as {names}")
    other = None if beta is None else verdicts.verdicts([beta])
    sections, sheets, latex = [], [], []
    for number, results in enumerate(experiments):
        rows = tables.summarise(results)
        figures = _figures(results, rows, place, "" if number == 0 else f"_{results.config.name}", formats)
        sections += _sections(results, rows, figures)
        sheets.append(tables.to_csv(results.config.name, rows))
        cells = [tables.result_cells(row) for row in rows]
        latex.append(tables.latex(tables.HEADER, cells, f"{results.config.name}: mean ± standard deviation over seeds"))
    sections += _verdict_sections(found, other, len(experiments))
    (place / "results.csv").write_text(sheets[0] + "".join(sheet.split("\n", 1)[1] for sheet in sheets[1:]))
    cells = [tables.verdict_cells(verdict) for verdict in found]
    latex.append(tables.latex(tables.VERDICT_HEADER, cells, "Verdicts"))
    (place / "results.tex").write_text("\n".join(latex))
    path = place / "results.md"
    path.write_text("\n\n".join(sections) + "\n")
    return path


def _sections(results: Results, rows: list[tables.Row], figures: list[tuple[str, str]]) -> list[str]:
    config = results.config
    parts = [f"# {config.name}", _settings(results), state_of(results)]
    for weight_bits, state_bits in config.pairs:
        for scheme in config.schemes:
            header, *lines = tables.design_table(rows, scheme, weight_bits, state_bits)
            parts.append(f"## {weight_bits}-bit weights, {state_bits}-bit states, {scheme}: test accuracy (%)")
            parts.append(tables.markdown(header, lines))
    parts.append("## All cells")
    parts.append(tables.markdown(tables.HEADER, [tables.result_cells(row) for row in rows]))
    parts.append(
        "Test: mean ± standard deviation over seeds. Tied: share of test samples whose highest score is shared by "
        "several classes (the lowest index is predicted). Spike rate: spikes per neuron and step. "
        "kB: weights and states at their bit widths, 32 bits for float; biases, tables and accumulators not counted."
    )
    failed = [record for record in results.records.values() if record["status"] == "failed"]
    if failed:
        failures = [f"- `{record['id']}`: {record['error']}" for record in failed]
        parts.append("## Failed runs\n\n" + "\n".join(failures))
    return [*parts, "## Figures", *(f"![{caption}]({name})\n\n{caption}" for name, caption in figures)]


def _settings(results: Results) -> str:
    config, data = results.config, results.data
    network, train = config.base.network, config.base.train
    rates = ", ".join(f"{cell} {rate:g}" for cell, rate in config.learning_rates.items()) or "the same for all cells"
    betas = ", ".join(f"{key} {beta:g}" for key, beta in config.betas.items())
    sizes = ", ".join(f"{number} {name}" for name, number in data["samples"].items())
    lines = [
        f"- data: {data['name']} ({sizes} samples, {data['classes']} classes, {data['steps']} steps)",
        f"- network: {network.architecture}, hidden {list(network.hidden)}"
        + (f" {network.neuron}" if network.neuron else "")
        + f", beta {network.beta:g}"
        + (f" (per scheme and state bits: {betas})" if betas else " in all cells")
        + f", {network.surrogate}, readout {network.readout}",
        f"- training: {train.epochs} epochs, batch {train.batch_size}, {train.schedule} schedule, last-epoch weights, "
        f"learning rate {train.learning_rate:g} ({rates})",
        f"- seeds: {', '.join(map(str, config.seeds))}{_replicates(config)}; weight scales by mean squared error, "
        f"per {config.granularity}",
    ]
    return "\n".join(lines)


def _replicates(config: AblationConfig) -> str:
    if config.seed_option is None:
        return ""
    return f" (each is the `{config.seed_option}` of the data too, with training and test samples of its own)"


def state_of(results: Results) -> str:
    """How far an ablation is, and what stands against reading its numbers."""
    from squat.ablation.grid import expand

    jobs = [job.id for group in expand(results.config) for job in group.jobs]
    records = [results.records[job] for job in jobs if job in results.records]
    text = f"{sum(record['status'] == 'ok' for record in records)} of {len(jobs)} runs finished."
    codes = Counter(record["versions"].get("source", "unknown") for record in records)
    if len(codes) > 1:
        made = ", ".join(f"{count} by {code}" for code, count in codes.items())
        text += f" **Different code made them ({made}):** delete the records that a change concerns, and run again."
    if len(results.config.seeds) < verdicts.MIN_SEEDS:
        text += f" **So few seeds ({len(results.config.seeds)}) decide nothing:** read the numbers as a demonstration."
    return text


def _verdict_sections(found: list[verdicts.Verdict], other: list[verdicts.Verdict] | None, data_sets: int) -> list[str]:
    if not found:
        return ["## Verdicts\n\nThe cells of this ablation allow none of the comparisons."]
    parts = ["## Verdicts", tables.markdown(tables.VERDICT_HEADER, map(tables.verdict_cells, found))]
    parts.append(
        "Claims: (1) threshold-centred beats uniform; (2) QAT+SQUAT beats the better mixed cell; (3) training the "
        "weights gains more than training the states; (own) anchored beats the better published scheme. In points. "
        "Bootstrap: paired, over seeds and test samples; its interval is narrow for few seeds, so read the t interval "
        "beside it. p: Holm-corrected over bits and data sets. Detectable: smallest difference found with 80 % power. "
        f"Equivalent: interval within 1 point. Floor: the worse side is within 5 points of chance. Fewer than "
        f"{verdicts.MIN_SEEDS} seeds: undecided."
    )
    if other is not None:
        differing, not_run = verdicts.depends_on_beta(found, other)
        notes = [(v, "**depends on beta**") for v in differing] + [(v, "not run") for v in not_run]
        lines = [f"- {v.comparison.first} against {v.rival}, {v.bits}, {v.data_set}: {note}" for v, note in notes]
        if not differing and len(not_run) < len(found):
            lines.insert(0, f"All {len(found) - len(not_run)} verdicts that can be compared are the same.\n")
        parts.append("### With a beta per scheme and bits\n\n" + "\n".join(lines).rstrip())
    if data_sets > 1:
        rows = [tables.trend_cells(trend) for trend in verdicts.trends(found)]
        parts += ["### Claim (4): on all data sets", tables.markdown(tables.TREND_HEADER, rows)]
    return parts


def _figures(
    results: Results, rows: list[tables.Row], place: Path, suffix: str, formats: Sequence[str]
) -> list[tuple[str, str]]:
    from squat.ablation import plots

    schemes = tuple(results.config.schemes)
    state_bits = list(dict.fromkeys(state for _, state in results.config.pairs))
    made: list[tuple[str, str, Any]] = []
    if any(row.test for row in rows):
        by_cell = plots.accuracy_by_cell(rows, schemes, results.chance)
        made.append(("accuracy_cells", "Test accuracy by cell; dots: seeds, bars: means.", by_cell))
        if len(results.config.pairs) > 1:
            by_bits = plots.accuracy_by_bits(rows, schemes, results.config.pairs)
            made.append(("accuracy_bits", "Mean test accuracy against bit widths; dashed: float.", by_bits))
        by_bytes = plots.accuracy_by_bytes(rows, schemes)
        made.append(("accuracy_bytes", "Test accuracy against the bytes of weights and states.", by_bytes))
    made.append(("levels", "Level placement of the schemes.", plots.level_placement(schemes, state_bits)))
    trace = _trace(results)
    if trace is not None:
        made.append(("membrane", "Membrane of a hidden neuron on its levels, one validation sample.", trace))
    for name, _, figure in made:
        for ending in formats:
            figure.savefig(place / f"{name}{suffix}.{ending}", dpi=150)
    shown = "png" if "png" in formats else formats[0]
    return [(f"{name}{suffix}.{shown}", caption) for name, caption, _ in made]


def _trace(results: Results) -> Any:
    """The trace figure, if networks and data are at hand; a report must not need them."""
    import torch

    from squat.ablation.trace import trace_figure, traces

    if not any((results.folder.path / "networks").glob("*.safetensors")):
        return None
    tools = default_tools()
    try:
        data = tools.load_data(results.config.base.data)
    except (ValueError, OSError):
        return None
    found = traces(results, data.validation.batch(torch.tensor([0]))[0], tools.load)
    return trace_figure(found) if found else None
