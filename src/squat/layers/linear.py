"""`Linear`: every input to every output, in float or in integers."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from squat.checks import check_int
from squat.layers.weighted import WeightedLayer
from squat.ops.product import integer_linear
from squat.quant.weight import IntWeight


class Linear(WeightedLayer):
    """Linear layer over time: `i = (input_scale * x) W^T + b` for `x [T, B, in_features]`.

    With float weights (`weight=None`) it returns the tensor `i [T, B, out_features]`. With integer weights it returns
    `Current(z, scale, bias, bound)` with the exact integer sums `z = x w_int^T`, which is worth the same
    `i = z * scale + bias`, `scale = w_scale * input_scale`. Inputs are then integers: spikes, spikes of -1, 0 and 1
    with `input_min=-1`, or pixels 0..255 with `input_scale=1/255, input_max=255`. Weights are quantized once per
    forward; an input that is constant over time (`x0.expand(T, B, in_features)`) is multiplied once.

    Args:
        in_features: inputs, >= 1.
        out_features: outputs, >= 1.
        bias: whether there is one.
        weight: an `IntWeight`, or None for float weights.
        input_scale: what one unit of the input is worth, > 0.
        input_max: the largest integer input.
        batch_norm: normalise the currents over time and batch, folded into the weights before they are quantized; see
            `squat.layers.BatchNorm`. The bias is added after it.
        input_min: the smallest integer input: -1 for signed spikes, -128 for signed bytes.

    Raises:
        TypeError, ValueError: an argument is out of its range; in forward, see `WeightedLayer.forward`.

    Example:
        >>> import torch
        >>> layer = Linear(140, 10, weight=IntWeight(4))
        >>> current = layer(torch.ones(20, 3, 140))
        >>> current.z.shape, bool((current.z == current.z.round()).all())
        (torch.Size([20, 3, 10]), True)
        >>> current.dense().shape
        torch.Size([20, 3, 10])
    """

    axes = ("T", "B", "in_features")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        weight: IntWeight | None = None,
        input_scale: float = 1.0,
        input_max: int = 1,
        batch_norm: bool = False,
        input_min: int = 0,
    ) -> None:
        self.in_features = check_int("in_features", in_features, 1)
        self.out_features = check_int("out_features", out_features, 1)
        super().__init__((out_features, in_features), bias, weight, input_scale, input_max, batch_norm, input_min)

    def float_product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`x W^T + b`."""
        return F.linear(x, weight, bias)

    def integer_product(self, x: Tensor, w_int: Tensor, bound: int | Tensor) -> Tensor:
        """`x w_int^T`."""
        return integer_linear(x, w_int, bound, self.input_min, self.input_max)

    def integer_layer(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, int]:
        """Integer input and recurrent weights, scale, bias and bound of the sums, of a layer with integer weights."""
        w_int, scale, bias, bound = self.quantized()
        return w_int, None, scale, bias, int(bound)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"in_features": self.in_features, "out_features": self.out_features, **self._shared_config()}
