"""`squat run`: accuracy and predictions of a network on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output
from squat.cli.chosen import Chosen, choose
from squat.cli.networks import Readout, check_fits, load_network
from squat.cli.predictions import as_csv, check_place, columns_of, write
from squat.cli.progress import bar

if TYPE_CHECKING:
    from squat.data import Dataset, Split
    from squat.train import Evaluation

PARTS, ALL = ("train", "validation", "test"), "all"


def run(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Network file, or a folder written by squat train.")],
    data: Annotated[str | None, typer.Option(help="Data set or your own file; by default the training data.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    readout: Readout = None,
    split: Annotated[str, typer.Option(help="train, validation, test, or all samples of your own file.")] = "test",
    predictions: Annotated[
        Path | None, typer.Option(help="Write predictions to this .csv, .json or .npz file.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 256,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing predictions file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a network on data: accuracy, ties, spike rates, and every prediction if wanted.

    Data without labels have predictions only; they are printed as CSV where no file is named for them.

    Example: squat run runs/digits --split test --predictions out.csv

    Example: squat run runs/digits --data my_recordings.npz --split all --predictions new.json
    """
    from squat.checks import check_choice

    check_choice("--split", split, (*PARTS, ALL))
    if predictions is not None:
        check_place(predictions, overwrite)
    network, metadata = load_network(net, readout)
    chosen = choose(data, data_option, metadata, whole=split == ALL)
    part = _part(chosen.dataset, split)
    check_fits(network, chosen.dataset)
    from squat.train import evaluate

    loss = loss_settings(metadata)
    with bar(f"{chosen.dataset.name}, {split}", part, -(-len(part) // max(batch_size, 1))) as watched:
        result = evaluate(network, watched, batch_size=batch_size, threads=threads, **loss)
    columns = columns_of(result, part)
    if predictions is not None:
        write(predictions, columns)
    _print(result, chosen, split, columns, {"loss": result.loss} if loss else {}, predictions, as_json)


def _part(dataset: Dataset, split: str) -> Split:
    """The samples to run; it is said where they are a few of the user's, chosen by nothing in the file."""
    from squat.data.user_file import DEALT

    name = "test" if split == ALL else split
    dataset.require(name)
    part = dataset.parts[name]
    if dataset.split_rule == DEALT:
        total = sum(map(len, dataset.parts.values()))
        output.say(
            f"data {Path(dataset.name).name}: no `split` in the file, so {len(part)} of {total} samples are {DEALT}; "
            f"--split {ALL} takes every sample"
        )
    return part


def loss_settings(metadata: dict[str, Any]) -> dict[str, Any]:
    """The loss that the network was trained with, as arguments of `evaluate`; empty where its file does not say."""
    from squat.train import TrainConfig

    run = metadata.get("run")
    if not isinstance(run, dict) or "train" not in run:
        return {}
    train = TrainConfig.from_json(run["train"])
    return {"loss": train.loss, "logit_scale": train.logit_scale}


def _print(
    result: Evaluation,
    chosen: Chosen,
    split: str,
    columns: dict[str, Any],
    losses: dict[str, float | None],
    predictions: Path | None,
    as_json: bool,
) -> None:
    name, samples, accuracy = chosen.dataset.name, len(result.predictions), result.accuracy
    if as_json:
        document = {
            "data": name,
            "split": split,
            "samples": samples,
            **({} if accuracy is None else {"accuracy": accuracy, **losses}),
            "tied_share": result.tied_share,
            "spike_rates": result.spike_rates,
            "index": columns["index"].tolist(),
            "predictions": result.predictions,
            "scores": columns["scores"].tolist(),
            **chosen.to_json(),
        }
        output.print_json(document)
        return
    known = "no labels," if accuracy is None else f"accuracy {accuracy:.2%} on"
    line = f"{name}, {split}: {known} {samples} samples, {result.tied_share:.2%} tied"
    if accuracy is None and predictions is None:
        output.say(line)
        typer.echo(as_csv(columns), nl=False)
        return
    typer.echo(line)
    if predictions is not None:
        typer.echo(f"predictions: {predictions}")
