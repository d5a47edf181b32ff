"""Network files on the command line, and the data that belong to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.cli import output

if TYPE_CHECKING:
    from squat.data import Dataset
    from squat.train import DataConfig

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


def changed_data(config: DataConfig, name: str | None, options: dict[str, Any]) -> DataConfig:
    """The data of a config with other options, or other data, of which the config's options say nothing."""
    from squat.train import DataConfig

    if name is None or name == config.name:
        return DataConfig(config.name, {**config.arguments, **options})
    return DataConfig(name, options)


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
            "convolutions (squat train --conv), or flat data (--data-option layout=flat, where the data have it)"
        )
    raise ValueError(
        f"data {dataset.name} have {shape} flat features, and convolutions take images: leave out --conv, or use "
        "images (--data-option layout=image, where the data have it)"
    )


def shape_of(dataset: Dataset) -> dict[str, Any]:
    """What data fix of a `NetworkConfig`."""
    shape = dataset.input_shape
    return {
        "inputs": shape[0] if len(shape) == 1 else tuple(shape),
        "classes": dataset.classes,
        "input_scale": dataset.input_scale,
        "input_max": dataset.input_max,
    }
