"""`squat ablate`: run an ablation and show what came of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output, specs
from squat.cli.chosen import say_notes
from squat.cli.networks import carried, changed_data, check_form, data_in_words, shape_of
from squat.cli.report import figures, numbers, print_files, print_results, print_verdicts

if TYPE_CHECKING:
    from squat.ablation import AblationConfig

DEMO = "demo"
SOME_RUNS_FAILED = 1
"""Exit code when the ablation ran and some of its runs ended in an error."""


def ablate(
    preset: Annotated[str, typer.Option(help="demo, digits, digits-rcubalif, digits-ralif, fashion or nmnist.")] = DEMO,
    config: Annotated[
        Path | None, typer.Option(help="An ablation config, or ablation.json of results, not a preset.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Results folder; by default squat-results/NAME.")] = None,
    data: Annotated[str | None, typer.Option(help="Another data set or your own file.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    cells: Annotated[str | None, typer.Option(help="Cells, as float,qat,squat.")] = None,
    schemes: Annotated[str | None, typer.Option(help="State schemes, as uniform,anchored.")] = None,
    bits: Annotated[str | None, typer.Option(help="Bits, as 8,4,2; crossed as 4x8 (weights x states).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Number of seeds, or the seeds, as 0,1,2.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a run; sums depend on it.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time, each in its own process; -1: one per processor.")] = -1,
    cluster: Annotated[str | None, typer.Option(help="Ray cluster: its address, auto, or local.")] = None,
    budget: Annotated[str | None, typer.Option(help="Stop in time, as 100m or 1h30m; start again to continue.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and verdicts as JSON.")] = False,
) -> None:
    """Run an ablation on real data, to a table, figures and verdicts; without arguments, the demo of a few minutes.

    Started again with the same arguments it continues where it was stopped or killed.

    Example: squat ablate --preset digits --cells float,squat --seeds 1 --epochs 1 --budget 1h --folder results/digits
    """
    import squat.ablation as ablation
    from squat.ablation.presets import DEMO_NOTE
    from squat.data import load

    lists: dict[str, Any] = {"cells": specs.words(cells), "schemes": specs.words(schemes)}
    lists |= {"bits": bits and specs.bit_pairs(bits), "seeds": seeds and specs.seeds(seeds)}
    experiment = _experiment(preset, config, data, data_option, {"epochs": epochs, "threads": threads})
    experiment = replace(experiment, **{name: value for name, value in lists.items() if value is not None})
    place = folder or Path("squat-results") / experiment.name
    options = ablation.Options(
        n_jobs=jobs, cluster=cluster, budget=budget, retry_failed=retry_failed, progress=not as_json
    )
    is_demo = config is None and preset == DEMO
    if is_demo:
        output.say(DEMO_NOTE)
    output.say(f"results folder: {place}")
    output.say(f"data: {data_in_words(experiment.base.data)}")
    say_notes(load(experiment.base.data.name, **experiment.base.data.arguments))
    summary = ablation.run(experiment, place, options)
    _show(place, summary.message, is_demo, as_json)
    if summary.failed:
        raise typer.Exit(SOME_RUNS_FAILED)


def _experiment(
    preset: str, config: Path | None, data: str | None, options: list[str] | None, training: dict[str, Any]
) -> AblationConfig:
    from squat.ablation import AblationConfig
    from squat.ablation import preset as find
    from squat.ablation.records import config_in
    from squat.data import load

    found = find(preset) if config is None else AblationConfig.from_json(config_in(output.read_json(config)))
    base = replace(found.base, train=replace(found.base.train, **{k: v for k, v in training.items() if v is not None}))
    if data is None and not options:
        return replace(found, base=base)
    name = base.data.name if data is None else data
    kept = {} if config is None else carried(base.data, data)
    chosen = changed_data(base.data, data, {**kept, **specs.key_values("--data-option", options or [])})
    dataset = load(chosen.name, **chosen.arguments)
    check_form(base.network.architecture, dataset)
    network = replace(base.network, **shape_of(dataset))
    # Another data set is another experiment, with a folder and a row of tables of its own.
    label = f"{found.name}-{Path(name).stem}" if data is not None else found.name
    # Options of its own say which part of the data is meant, for every seed.
    return replace(found, name=label, base=replace(base, data=chosen, network=network), seed_option=None)


def _show(place: Path, message: str, is_demo: bool, as_json: bool) -> None:
    import squat.ablation as ablation
    from squat.ablation.presets import DEMO_NOTE, committed_results

    page = ablation.report(place)
    results = ablation.Results.read(place)
    if as_json:
        document = {"folder": str(place), "summary": message, "report": str(page), "figures": figures(page)}
        output.print_json({**document, **numbers([results])})
        return
    committed = committed_results()
    print_results(results, _committed_columns(committed) if is_demo else {})
    print_verdicts([results])
    if is_demo:
        typer.echo(DEMO_NOTE)
        for path in committed:
            typer.echo(f"committed full results: {path}")
    print_files(page)
    typer.echo(message)


def _committed_columns(pages: list[Path]) -> dict[str, dict[tuple[str, ...], str]]:
    """Columns of the committed results, from the CSV beside each page: by cell, scheme, weight bits and state bits."""
    columns: dict[str, dict[tuple[str, ...], str]] = {}
    for path in sorted({page.with_suffix(".csv") for page in pages}):
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                where = (row["cell"], row["scheme"] or "-", row["weight_bits"] or "float", row["state_bits"] or "float")
                spread = f" ± {float(row['test_std']):.2f}" if row["test_std"] else ""
                name = f"{row['experiment']}, full ({row['seeds']} seeds)"
                if row["test_mean"]:
                    columns.setdefault(name, {})[where] = f"{float(row['test_mean']):.2f}{spread}"
    return columns
