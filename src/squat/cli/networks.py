"""Network files on the command line, and the data that belong to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.cli import output, specs

if TYPE_CHECKING:
    from squat.data import Dataset

NETWORK_NAME = "network.safetensors"
"""Name of the network in a folder that `squat train` writes."""


def load_network(path: Path) -> tuple[Any, dict[str, Any]]:
    """The network in a file, or in a folder that `squat train` wrote, and the metadata saved with it."""
    path = output.check_file(path / NETWORK_NAME if path.is_dir() else path)
    # Imported after the check: a wrong name is reported at once.
    from squat.files import load, read_metadata
    from squat.models import Network

    net = load(path)
    if not isinstance(net, Network):
        raise ValueError(
            f"{path} holds a {type(net).__name__}: expected a Network; layers alone have no classes to read"
        )
    return net, read_metadata(path)


def load_data(name: str | None, options: list[str] | None, metadata: dict[str, Any]) -> tuple[Dataset, Any]:
    """The data set a verb was given, or else the one the network was trained on, with its config.

    Raises:
        ValueError: if neither is known.
    """
    from squat.data import load
    from squat.train import DataConfig

    if name is not None:
        config = DataConfig(name, specs.key_values("--data-option", options or []))
    elif "run" in metadata:
        config = DataConfig.from_json(metadata["run"]["data"])
    else:
        raise ValueError("--data is missing: the network file does not say which data it was trained on")
    return load(config.name, **config.arguments), config


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
            classes = net(x).shape[1]
    except ValueError as error:
        raise ValueError(f"data {dataset.name} do not fit the network: {error}") from None
    if classes < dataset.classes:
        raise ValueError(f"data {dataset.name} have {dataset.classes} classes, the network only {classes}")


def shape_of(data: Any) -> dict[str, Any]:
    """What the data of a `DataConfig` fix of a `NetworkConfig`."""
    from squat.data import load

    dataset = load(data.name, **data.arguments)
    shape = dataset.input_shape
    return {
        "inputs": shape[0] if len(shape) == 1 else tuple(shape),
        "classes": dataset.classes,
        "input_scale": dataset.input_scale,
        "input_max": dataset.input_max,
    }
