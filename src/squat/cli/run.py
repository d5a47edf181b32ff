"""`squat run`: accuracy and predictions of a network on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from squat.cli import output
from squat.cli.chosen import Chosen, choose
from squat.cli.networks import Readout, check_fits, load_network
from squat.cli.progress import bar


def run(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Network file, or a folder written by squat train.")],
    data: Annotated[str | None, typer.Option(help="Data set or your own file; by default the training data.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    readout: Readout = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    predictions: Annotated[Path | None, typer.Option(help="Write predictions to this .csv or .npz file.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 256,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing predictions file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a network on data: accuracy, ties, spike rates, and every prediction if wanted.

    Example: squat run runs/digits --split test --predictions out.csv
    """
    from squat.checks import check_choice

    check_choice("--split", split, ("train", "validation", "test"))
    if predictions is not None:
        check_choice("--predictions ending", predictions.suffix, (".csv", ".npz"))
        output.refuse_existing(predictions, overwrite)
        if not predictions.parent.is_dir():
            raise ValueError(f"--predictions {predictions}: there is no folder {predictions.parent}; make it first")
    network, metadata = load_network(net, readout)
    chosen = choose(data, data_option, metadata)
    dataset = chosen.dataset
    dataset.require(split)
    check_fits(network, dataset)
    from squat.train import evaluate

    part = dataset.parts[split]
    loss = loss_settings(metadata)
    with bar(f"{dataset.name}, {split}", part, -(-len(part) // max(batch_size, 1))) as watched:
        result = evaluate(network, watched, batch_size=batch_size, threads=threads, **loss)
    if predictions is not None:
        write_predictions(predictions, result.predictions, part.labels.tolist())
    losses = {"loss": result.loss} if loss else {}
    _print(result, chosen, split, losses, predictions, as_json)


def loss_settings(metadata: dict[str, Any]) -> dict[str, Any]:
    """The loss that the network was trained with, as arguments of `evaluate`; empty where its file does not say."""
    from squat.train import TrainConfig

    run = metadata.get("run")
    if not isinstance(run, dict) or "train" not in run:
        return {}
    train = TrainConfig.from_json(run["train"])
    return {"loss": train.loss, "logit_scale": train.logit_scale}


def write_predictions(path: Path, predicted: list[int], labels: list[int]) -> None:
    """Write one row per sample, atomically: its index in the split, the prediction and the label."""
    import numpy as np

    from squat.atomic import atomic_path

    columns: dict[str, Any] = {
        "index": np.arange(len(labels)),
        "prediction": np.array(predicted),
        "label": np.array(labels),
    }
    with atomic_path(path) as part, part.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **columns)
        else:
            rows = np.stack(list(columns.values()), 1)
            np.savetxt(file, rows, fmt="%d", delimiter=",", header=",".join(columns), comments="")


def _print(
    result: Any, chosen: Chosen, split: str, losses: dict[str, float], predictions: Path | None, as_json: bool
) -> None:
    name, samples = chosen.dataset.name, len(result.predictions)
    if as_json:
        document = {
            "data": name,
            "split": split,
            "samples": samples,
            "accuracy": result.accuracy,
            **losses,
            "tied_share": result.tied_share,
            "spike_rates": result.spike_rates,
            "predictions": result.predictions,
            **chosen.to_json(),
        }
        output.print_json(document)
        return
    typer.echo(f"{name}, {split}: accuracy {result.accuracy:.2%} on {samples} samples, {result.tied_share:.2%} tied")
    if predictions is not None:
        typer.echo(f"predictions: {predictions}")
