"""Network files on the command line, and the data that belong to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output

if TYPE_CHECKING:
    from squat.data import Dataset
    from squat.train import DataConfig

NETWORK_NAME = "network.safetensors"
"""Name of the network in a folder that `squat train` writes."""

READS = {
    "spike_count": "spikes",
    "accumulated_current": "currents",
    "max_membrane": "membranes",
    "mean_membrane": "membranes",
}
"""What each readout reads of the last layer."""

Readout = Annotated[
    str | None,
    typer.Option(help="How classes are read from a network saved without a readout, as spike_count."),
]


def load_network(path: Path, readout: str | None = None) -> tuple[Any, dict[str, Any]]:
    """The network in a file, or in a folder that `squat train` wrote, and the metadata saved with it.

    Args:
        path: of the file or folder.
        readout: name of the readout for layers that were saved without one.

    Raises:
        ValueError: if there is no readout, or two that differ.
    """
    path = output.check_file(path / NETWORK_NAME if path.is_dir() else path)
    # Imported after the check: a wrong name is reported at once.
    from squat.files import load, read_metadata

    net = load(path)
    return _with_readout(net, path, readout), read_metadata(path)


def _with_readout(net: Any, path: Path, name: str | None) -> Any:
    """The network with its own readout, or the one that was named."""
    from squat.checks import check_choice
    from squat.models import Network
    from squat.models.readout import READOUT_NAMES

    if name is not None:
        check_choice("--readout", name, READOUT_NAMES)
    if isinstance(net, Network):
        if name is not None and net.readout != READOUT_NAMES[name]():
            raise ValueError(f"--readout {name}: {path} has the readout {net.readout} already; leave --readout out")
        return net
    given = _gives(net)
    if name is None:
        fitting = [reader for reader, wanted in READS.items() if wanted == given]
        raise ValueError(
            f"{path} holds layers without a readout, so nothing says which class is meant: its last layer gives "
            f"{given}, read by --readout {' or '.join(fitting)}; squat calibrate writes it to its file, and so does "
            f"squat.save(squat.Network(net, squat.models.{READOUT_NAMES[fitting[0]].__name__}()), path)"
        )
    if READS[name] != given:
        raise ValueError(f"--readout {name}: reads {READS[name]}, and the last layer of {path} gives {given}")
    return Network(net, READOUT_NAMES[name]()).eval()


def _gives(net: Any) -> str:
    """What the last layer that computes gives: spikes, membranes or currents."""
    from squat.neurons.stateful import Stateful

    layers = [m for m in net.modules() if isinstance(m, Stateful) or hasattr(m, "weight_spec")]
    if not layers or not isinstance(layers[-1], Stateful):
        return "currents"
    return "spikes" if layers[-1].spiking else "membranes"


def check_fits(net: Any, dataset: Dataset) -> None:
    """Refuse data that the network cannot read, before the long work.

    Raises:
        ValueError: if the input shape or the classes differ.
    """
    import torch

    part = next((split for split in dataset.parts.values() if len(split)), dataset.train)
    x, _ = part.batch(torch.tensor([0]))
    try:
        with torch.no_grad():
            shape = tuple(net(x).shape)
    except ValueError as error:
        raise ValueError(f"data {dataset.name} do not fit the network: {error}{guessed_channels(dataset)}") from None
    classes = shape[-1]
    if len(shape) != 2:
        raise ValueError(f"the network gives scores of shape {shape}: expected [samples, classes]; flatten its output")
    if classes < dataset.classes:
        raise ValueError(f"data {dataset.name} have {dataset.classes} classes, the network only {classes}")


def guessed_channels(dataset: Dataset) -> str:
    """The way out where the channels of a user's events are only those that occur; empty for other data."""
    from squat.data import DATASETS
    from squat.data.user_arrays import open_user_file

    events = dataset.coverage is not None and dataset.name not in DATASETS
    if not events or "channels" in open_user_file(Path(dataset.name), names=()).names:
        return ""
    seen = dataset.input_shape[0]
    return (
        f"; the file does not state `channels`, so it is taken to have {seen}, one more than the largest in `units`: "
        "state their number as `channels` in it"
    )


def changed_data(config: DataConfig, name: str | None, options: dict[str, Any]) -> DataConfig:
    """The data of a config with other options, or other data, of which the config's options say nothing."""
    from squat.train import DataConfig

    if name is None or name == config.name:
        return DataConfig(config.name, {**config.arguments, **options})
    return DataConfig(name, options)


def carried(config: DataConfig, name: str | None) -> dict[str, Any]:
    """Options of a config that fix what an input means, such as `bin_ms`: they hold for other data of the user too."""
    return {} if name is None or name == config.name else taken(name, input_options(config))


def input_options(config: DataConfig) -> dict[str, Any]:
    """Options of a config that fix what an input means, with the `mode` of still samples, which their file implies."""
    from squat.data import INPUT_OPTIONS, are_still

    still = {"mode": "static"} if are_still(config.name, config.arguments) else {}
    return {**still, **{key: value for key, value in config.arguments.items() if key in INPUT_OPTIONS}}


def taken(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that data take; samples of three axes are still images where the options are of such."""
    from squat.data import options_of

    accepted = (*options_of(name, still=options.get("mode") == "static"), "accept_loss")
    return {key: value for key, value in options.items() if key in accepted}


def data_in_words(config: DataConfig) -> str:
    """Name and options of data."""
    options = ", ".join(f"{key}={value}" for key, value in config.arguments.items())
    return f"{config.name} ({options})" if options else config.name


def has_images(dataset: Dataset) -> bool:
    """Whether a step is an image `[C, H, W]`, not flat features `[C]`."""
    return len(dataset.input_shape) > 1


def check_form(architecture: str, dataset: Dataset) -> None:
    """Refuse images for networks that take flat features, and flat features for convolutions.

    Raises:
        ValueError: with both ways out.
    """
    if has_images(dataset) == (architecture == "conv"):
        return
    shape = " x ".join(map(str, dataset.input_shape))
    if has_images(dataset):
        raise ValueError(
            f"data {dataset.name} are images of {shape}, and {architecture} networks take flat features: use "
            "convolutions (squat train --conv, squat ablate --preset nmnist), or flat data (--data-option layout=flat, "
            "where the data have it)"
        )
    raise ValueError(
        f"data {dataset.name} have {shape} flat features, and convolutions take images: use another network "
        "(squat train without --conv), or images (--data-option layout=image, where the data have it)"
    )


def shape_of(dataset: Dataset) -> dict[str, Any]:
    """What data fix of a `NetworkConfig`.

    Raises:
        ValueError: for data without labels, or without training samples.
    """
    dataset.require_labels()
    dataset.require("train")
    shape = dataset.input_shape
    return {
        "inputs": shape[0] if len(shape) == 1 else tuple(shape),
        "classes": dataset.classes,
        "input_scale": dataset.input_scale,
        "input_max": dataset.input_max,
        "input_min": dataset.input_min,
    }
