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
from squat.layers.pool import AvgPool2d, Flatten, MaxPool2d, SumPool2d

MODULES: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (Linear, Conv2d, Flatten, SumPool2d, AvgPool2d, MaxPool2d, Dropout)
}

__all__ = [
    "MODULES",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Current",
    "Dropout",
    "Flatten",
    "Linear",
    "MaxPool2d",
    "SumPool2d",
]
