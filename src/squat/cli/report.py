"""`squat report`: tables, figures and verdicts of an ablation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output

if TYPE_CHECKING:
    from squat.ablation import Results
    from squat.ablation.tables import Row


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results folder of squat ablate.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[MORE]...", help="Folders on other data sets.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; the results folder by default.")] = None,
    secondary: Annotated[Path | None, typer.Option(help="The same ablation with a beta per scheme and bits.")] = None,
    formats: Annotated[str, typer.Option(help="Of the figures: png, svg, pdf, with commas between.")] = "png",
    as_json: Annotated[bool, typer.Option("--json", help="Print results and verdicts as JSON.")] = False,
) -> None:
    """Write the tables (Markdown, CSV, LaTeX), the figures and the verdicts of an ablation, finished or not.

    Example: squat report results/digits --out results/report
    """
    import squat.ablation as ablation
    from squat.cli.specs import words

    for path in (folder, *(more or [])):
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    page = ablation.report(folder, out, more=more or [], secondary=secondary, formats=words(formats) or ())
    experiments = [ablation.Results.read(path) for path in (folder, *(more or []))]
    if as_json:
        output.print_json({"report": str(page), "figures": figures(page), **numbers(experiments)})
        return
    for results in experiments:
        print_results(results)
    print_verdicts(experiments)
    print_files(page)


def numbers(experiments: list[Results]) -> dict[str, Any]:
    """Results and verdicts as JSON values; accuracies in percent."""
    from squat.ablation.tables import VERDICT_HEADER, summarise, verdict_cells
    from squat.ablation.verdicts import verdicts

    return {
        "results": [{"experiment": r.config.name, **_row(row)} for r in experiments for row in summarise(r)],
        "verdicts": [
            dict(zip(VERDICT_HEADER, verdict_cells(verdict), strict=True)) for verdict in verdicts(experiments)
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "cell": row.cell,
        **row.at._asdict(),
        "test_mean": row.mean,
        "test_std": row.spread,
        "test_by_seed": dict(zip(map(str, row.seeds), row.test, strict=True)),
        "validation_mean": row.validation,
        "failed": row.failed,
        "spike_rate": row.spike_rate,
        "bytes": row.bytes,
    }


def print_results(results: Results, beside: dict[str, dict[tuple[str, ...], str]] | None = None) -> None:
    """The table of all cells; `beside` adds columns of other results, by cell, scheme and bits."""
    from squat.ablation.tables import HEADER, result_cells, summarise

    beside = beside or {}
    lines = []
    for row in summarise(results):
        cells = result_cells(row)
        lines.append([*cells, *(column.get(tuple(cells[:4]), "-") for column in beside.values())])
    output.print_table(
        [*HEADER, *beside], lines, title=f"{results.config.name}: test accuracy, mean ± deviation over seeds"
    )


def print_verdicts(experiments: list[Results]) -> None:
    """One line per verdict, nothing where no two cells can be compared."""
    from squat.ablation.tables import VERDICT_HEADER, verdict_cells
    from squat.ablation.verdicts import verdicts

    names = ("claim", "first", "against", "data", "bits", "difference", "verdict")
    chosen = [VERDICT_HEADER.index(name) for name in names]
    rows = [[cells[i] for i in chosen] for cells in map(verdict_cells, verdicts(experiments))]
    if not rows:
        return
    output.print_table(names, rows, title="verdicts (differences in points)")


def figures(page: Path) -> list[str]:
    """Figures that lie beside a report."""
    return [str(path) for ending in ("png", "svg", "pdf") for path in sorted(page.parent.glob(f"*.{ending}"))]


def print_files(page: Path) -> None:
    """Where the report and its figures are."""
    typer.echo(f"report: {page} (and results.csv, results.tex)")
    for path in figures(page):
        typer.echo(f"figure: {path}")
