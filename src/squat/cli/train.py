"""`squat train`: train one network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output, specs
from squat.cli.chosen import notes_json, say_notes
from squat.cli.networks import NETWORK_NAME
from squat.cli.settings import Given, Settings, settle

if TYPE_CHECKING:
    from squat.train import RunConfig


def train(
    out: Annotated[Path, typer.Option(help="Folder for the network, its config and its curves.")],
    config: Annotated[Path | None, typer.Option(help="A run config (JSON); options change it.")] = None,
    data: Annotated[str | None, typer.Option(help="A name that squat data lists, or your own file.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    hidden: Annotated[str | None, typer.Option(help="Neurons of the hidden layers, as 128 or 128,64.")] = None,
    recurrent: Annotated[bool, typer.Option("--recurrent", help="Recurrent hidden layers.")] = False,
    neuron: Annotated[str | None, typer.Option(help="Of recurrent layers: RLIF, RCubaLIF or RALIF.")] = None,
    feedforward: Annotated[bool, typer.Option("--feedforward", help="Hidden layers without recurrence.")] = False,
    conv: Annotated[bool, typer.Option("--conv", help="Convolutions, for data of images (layout=image).")] = False,
    weights: Annotated[str | None, typer.Option(help="BITS[,KEY=VALUE] or float.")] = None,
    states: Annotated[str | None, typer.Option(help="NAME:BITS[,KEY=VALUE] or float.")] = None,
    readout: Annotated[str | None, typer.Option(help="Such as accumulated_current or spike_count.")] = None,
    beta: Annotated[float | None, typer.Option(help="Decay of the membrane per step.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam, at the start.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; part of the run, since sums depend on it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights, data order and augmentation.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard event files.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one network; the same command again continues a run that was interrupted.

    What is not given is as in --config, or else as in the ablation preset on the same data, or else a plain default.
    What was chosen, from where, and what options changed of it is printed; config.json in the folder has it all.

    Example: squat train --epochs 5 --out runs/digits

    Example: squat train --recurrent --weights 4 --states threshold_centered:4 --epochs 5 --out runs/digits4
    """
    flags = {"recurrent": recurrent, "feedforward": feedforward, "conv": conv}
    asked = [name for name, wanted in flags.items() if wanted]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(f'--{name}' for name in asked)}: expected one of them")
    # Only recurrent layers have a choice of neurons.
    architecture = asked[0] if asked else None if neuron is None else "recurrent"
    network = {
        "architecture": architecture,
        "neuron": neuron,
        "hidden": None if hidden is None else specs.integers("--hidden", hidden),
        "readout": readout,
        "beta": beta,
    }
    # Here None is a value: float.
    quantized: dict[str, Any] = {} if weights is None else {"weights": specs.weight_spec(weights)}
    quantized |= {} if states is None else {"states": specs.state_spec(states)}
    training = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "threads": threads}
    given = Given({**_given(network), **quantized}, _given(training), seed)
    settings = settle(config, data, specs.key_values("--data-option", data_option or []), given)
    _train(settings, out, tensorboard, overwrite, as_json)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _train(settings: Settings, out: Path, tensorboard: bool, overwrite: bool, as_json: bool) -> None:
    from squat.train import evaluate, fit

    run, dataset = settings.run, settings.data
    _claim(run, out, overwrite)
    output.say(str(settings))
    say_notes(dataset)
    result = fit(run, out, data=dataset, progress=not as_json, resume=not overwrite, tensorboard=tensorboard)
    test = None
    if len(dataset.test):
        test = evaluate(result.network, dataset.test, threads=run.train.threads).accuracy
    document = {
        "id": run.id(),
        "folder": str(out),
        "network": str(out / NETWORK_NAME),
        "validation_accuracy": result.validation_accuracy,
        "test_accuracy": test,
        "epochs": len(result.history),
        "seconds": round(result.seconds, 3),
        "settings": settings.to_json(),
        **notes_json(dataset),
    }
    if as_json:
        output.print_json(document)
        return
    known = {"validation": result.validation_accuracy, "test": test}
    accuracies = [f"{name} {value:.2%}" for name, value in known.items() if value is not None]
    typer.echo(", ".join([*accuracies, f"{len(result.history)} epochs", f"{result.seconds:.0f} s"]))
    typer.echo(f"network: {document['network']}")


def _claim(run: RunConfig, out: Path, overwrite: bool) -> None:
    """Refuses a folder that holds something else than this run; with `overwrite` the run in it gives way."""
    from squat.train.run import CONFIG_NAME

    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: expected a folder, new or of this run")
    held = out / CONFIG_NAME
    if out.is_dir() and any(out.iterdir()) and not held.exists():
        raise ValueError(f"{out} is not empty and holds no run: choose another folder")
    if overwrite:
        held.unlink(missing_ok=True)
    elif held.exists() and output.read_json(held) != run.to_json():
        raise ValueError(f"{out} holds another run: choose another folder, or replace that run with --overwrite")
