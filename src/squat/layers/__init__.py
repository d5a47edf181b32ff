"""Layers between neurons: products with float or integer weights, pooling, and `Current`, what they hand on.

`MODULES` maps class names to classes; with `squat.neurons.NEURONS` it is what a network file may name.
"""

from __future__ import annotations

from torch import nn

from squat.layers.conv import Conv2d
from squat.layers.current import Current
from squat.layers.linear import Linear
from squat.layers.pool import AvgPool2d, Flatten, SumPool2d

MODULES: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (Linear, Conv2d, Flatten, SumPool2d, AvgPool2d)}

__all__ = ["MODULES", "AvgPool2d", "Conv2d", "Current", "Flatten", "Linear", "SumPool2d"]
