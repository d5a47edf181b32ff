"""Layers between neurons: products with float or integer weights, pooling, dropout, and `Current`, what they hand on.

`MODULES` maps class names to classes; with `squat.neurons.NEURONS` it is what a network file may name.
"""

from __future__ import annotations

from torch import nn

from squat.layers.batch_norm import BatchNorm
from squat.layers.conv import Conv2d
from squat.layers.current import Current
from squat.layers.dropout import Dropout
from squat.layers.linear import Linear
from squat.layers.one_dimensional import AvgPool1d, Conv1d, MaxPool1d, SumPool1d
from squat.layers.pool import AvgPool2d, MaxPool2d, SumPool2d
from squat.layers.shape import Flatten, Unflatten

MODULES: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(Linear, Conv2d, Conv1d, Flatten, Unflatten, Dropout),
        *(SumPool2d, AvgPool2d, MaxPool2d, SumPool1d, AvgPool1d, MaxPool1d),
    )
}

__all__ = [
    "MODULES",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "Current",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "SumPool1d",
    "SumPool2d",
    "Unflatten",
]
