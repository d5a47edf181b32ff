"""`Conv2d`: two-dimensional convolution of every time step, in float or in integers."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from squat.checks import check_int
from squat.layers.weighted import WeightedLayer
from squat.ops.product import integer_conv2d
from squat.quant.weight import IntWeight


class Conv2d(WeightedLayer):
    """Convolution (cross-correlation, as in torch) of `x [T, B, C, H, W]` at every time step, padded with 0.

    Returns what `Linear` returns, with `i [T, B, out_channels, H', W']`, `H' = (H + 2 padding - kernel) // stride + 1`.

    Args:
        in_channels: input channels, >= 1.
        out_channels: output channels, >= 1.
        kernel_size: rows and columns of the kernel, one number or a pair.
        stride: one number or a pair, >= 1.
        padding: one number or a pair, >= 0.
        bias: whether there is one per output channel.
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
        >>> layer = Conv2d(2, 8, 3, stride=2, padding=1, weight=IntWeight(4, "channel"))
        >>> layer(torch.ones(5, 3, 2, 34, 34)).dense().shape
        torch.Size([5, 3, 8, 17, 17])
    """

    axes: tuple[str, ...] = ("T", "B", "in_channels", "H", "W")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        weight: IntWeight | None = None,
        input_scale: float = 1.0,
        input_max: int = 1,
        batch_norm: bool = False,
        input_min: int = 0,
    ) -> None:
        self.in_channels = check_int("in_channels", in_channels, 1)
        self.out_channels = check_int("out_channels", out_channels, 1)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        super().__init__(
            (out_channels, in_channels, *self.kernel_size),
            bias,
            weight,
            input_scale,
            input_max,
            batch_norm,
            input_min,
        )

    def float_product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolution with the float weights, plus the bias."""
        y = F.conv2d(x.flatten(0, 1), weight, bias, self.stride, self.padding)
        return y.unflatten(0, x.shape[:2])

    def integer_product(self, x: Tensor, w_int: Tensor, bound: int | Tensor) -> Tensor:
        """Convolution with the integer weights."""
        z = integer_conv2d(x.flatten(0, 1), w_int, self.stride, self.padding, bound, self.input_min, self.input_max)
        return z.unflatten(0, x.shape[:2])

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values (pairs as lists)."""
        sizes = {name: list(getattr(self, name)) for name in ("kernel_size", "stride", "padding")}
        return {"in_channels": self.in_channels, "out_channels": self.out_channels, **sizes, **self._shared_config()}

    def _check_input(self, x: Tensor) -> None:
        super()._check_input(x)
        sizes = list(zip(self.axes, x.shape, strict=True))[3:]
        for (name, size), padding, kernel in zip(sizes[::-1], self.padding[::-1], self.kernel_size[::-1], strict=False):
            if size + 2 * padding < kernel:
                raise ValueError(
                    f"x: {name}={size} with padding={padding} is smaller than kernel_size={kernel}; use a smaller "
                    "kernel or more padding"
                )


def pair(name: str, value: int | tuple[int, int], low: int) -> tuple[int, int]:
    """One number for rows and columns, or one for each.

    Args:
        name: the argument's name, for the message.
        value: a number, or a pair (tuple or list).
        low: smallest number allowed.

    Returns:
        (rows, columns).

    Raises:
        TypeError, ValueError: not one or two integers >= `low`.

    Example:
        >>> pair("stride", 2, 1)
        (2, 2)
    """
    both = list(value) if isinstance(value, (tuple, list)) else [value, value]
    if len(both) != 2:
        raise ValueError(f"{name}={value!r}: expected an integer >= {low} or a pair of them")
    return check_int(name, both[0], low), check_int(name, both[1], low)
