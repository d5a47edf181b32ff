"""How much memory a network takes, from its config alone: what cannot fit is refused before it is built."""

from __future__ import annotations

import math
from itertools import pairwise

from squat.checks import check_memory
from squat.models.config import NetworkConfig

FLOAT = 4
IN_TRAINING = 4
"""Copies of the parameters: themselves, their gradients, and two moments of Adam."""


def weights_and_values(config: NetworkConfig) -> tuple[int, int]:
    """Number of weights, and of neurons' values in a time step of one sample; biases are left out.

    Example:
        >>> weights_and_values(NetworkConfig("recurrent", inputs=140, hidden=(128,), classes=10))
        (35584, 138)
    """
    if config.architecture == "conv":
        return _of_images(config)
    sizes = (int(config.inputs), *config.hidden, config.classes)  # type: ignore[arg-type]
    weights = sum(first * second for first, second in pairwise(sizes))
    recurrent = sum(size**2 for size in config.hidden) if config.architecture == "recurrent" else 0
    return weights + recurrent, sum(sizes[1:])


def _of_images(config: NetworkConfig) -> tuple[int, int]:
    channels, *image = config.inputs  # type: ignore[misc]
    weights = values = 0
    for maps in config.hidden:
        weights += channels * maps * config.kernel_size**2
        values += maps * math.prod(image)
        channels, image = maps, [size // config.pool for size in image]
    return weights + channels * math.prod(image) * config.classes, values + config.classes


def check_network_memory(config: NetworkConfig) -> None:
    """Refuse a network whose weights alone do not fit: ValueError."""
    what = f"network of inputs={config.inputs}, hidden={config.hidden}, classes={config.classes}"
    check_memory(what, FLOAT * weights_and_values(config)[0], "use fewer hidden neurons")


def check_training_memory(config: NetworkConfig, steps: int, batch: int) -> None:
    """Refuse a training whose parameters and membranes over time do not fit: ValueError."""
    weights, values = weights_and_values(config)
    what = f"training of hidden={config.hidden} over {steps} steps in batches of {batch}"
    remedy = "use a smaller batch_size, fewer hidden neurons or fewer steps"
    check_memory(what, FLOAT * (IN_TRAINING * weights + steps * batch * values), remedy)
