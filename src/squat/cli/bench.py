"""`squat bench`: speed and memory against other stacks and against floors, on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from squat.cli import output, specs

PACKAGE = Path(__file__).parents[1]
HOMES = (PACKAGE / "_bench", PACKAGE.parents[1])
"""Where the folder `benchmarks` may lie: in an installed package, at the root of a checkout."""
RESULTS = Path("squat-results/benchmark")


def bench(
    case: Annotated[str | None, typer.Option(help="Names or patterns, as recurrent-4,loop*; all by default.")] = None,
    repetitions: Annotated[int, typer.Option(help="Turns that the stacks take.")] = 7,
    threads: Annotated[
        str | None, typer.Option(help="As 1,2: curves on each, the rest on the most. By default 1 and all.")
    ] = None,
    curves: Annotated[bool, typer.Option(help="Also the scaling curves.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="All in tiny: shows that it works, measures nothing.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Only print where squat's time goes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for benchmark.json, .md and .png.")] = RESULTS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure squat against snnTorch, Brevitas and the floors of the hardware, in turns on the same data.

    Equality tests come first: where one fails, nothing is reported. Needs the packages of the extra dev.

    Example: squat bench --case recurrent-4 --no-curves --quick
    """
    from squat.checks import check_int

    check_int("--repetitions", repetitions, 1)
    counts = _thread_counts(threads)
    run, report = _benchmarks("run"), _benchmarks("report")
    chosen = run.choose(specs.words(case) or (), curves and not profile)
    run.check_installed(chosen)
    if profile:
        for name, table in run.profiles(chosen, max(counts)):
            typer.echo(f"{name}\n{table}")
        return
    for name in report.FILES:
        output.refuse_existing(out / name, overwrite)
    with _bar(run.jobs_of(chosen, counts, quick)) as watch:
        record = run.run(chosen, repetitions=repetitions, threads=counts, quick=quick, watch=watch)
    paths = report.write(record, out)
    targets = _benchmarks("targets")
    judged = targets.judge_all(record)
    if as_json:
        output.print_json({**record, "targets": judged})
        return
    if quick:
        typer.echo("smoke run, not a measurement")
    output.print_table(("case", "required", "measured", "reached"), map(targets.target_cells, judged), title="targets")
    for path in paths:
        typer.echo(f"written: {path}")


def _thread_counts(text: str | None) -> tuple[int, ...]:
    from squat.checks import check_int

    available = os.cpu_count() or 1
    counts = (1, available) if text is None else specs.integers("--threads", text)
    return tuple(sorted({check_int("--threads", count, 1, available) for count in counts}))


def _benchmarks(module: str) -> Any:
    """A module of the folder `benchmarks`.

    Raises:
        ValueError: if the folder is not here.
    """
    for home in HOMES:
        if (home / "benchmarks" / "cases.py").is_file():
            sys.path.insert(0, str(home))
            try:
                return import_module(f"benchmarks.{module}")
            finally:
                sys.path.remove(str(home))
    places = " or ".join(str(home / "benchmarks") for home in HOMES)
    raise ValueError(f"there is no folder {places}: install squat from a wheel, or run it from a checkout")


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """Something to call after each part with its name: a bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("benchmark", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)
