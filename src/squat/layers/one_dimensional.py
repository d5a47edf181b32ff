"""Layers over signals `[T, B, C, L]`: those over images, whose images have one row."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from squat.layers.conv import Conv2d
from squat.layers.pool import AvgPool2d, MaxPool2d, SumPool2d
from squat.quant.weight import IntWeight


class Conv1d(Conv2d):
    """Convolution (cross-correlation, as in torch) of `x [T, B, C, L]` at every time step, padded with 0.

    A `Conv2d` of images with one row: its weights are `[out_channels, in_channels, 1, kernel_size]`. Returns what
    `Linear` returns, with `i [T, B, out_channels, L']`, `L' = (L + 2 padding - kernel_size) // stride + 1`.

    Args:
        in_channels: input channels, >= 1.
        out_channels: output channels, >= 1.
        kernel_size: of the kernel, >= 1.
        stride: >= 1.
        padding: >= 0.
        bias: whether there is one per output channel.
        weight: an `IntWeight`, or None for float weights.
        input_scale: what one unit of the input is worth, > 0.
        input_max: the largest absolute integer input.
        batch_norm: as for `Conv2d`.
        input_min: the smallest integer input: -1 for signed spikes, -128 for signed bytes.

    Raises:
        TypeError, ValueError: an argument is out of its range; in forward, see `WeightedLayer.forward`.

    Example:
        >>> import torch
        >>> layer = Conv1d(2, 8, 3, stride=2, padding=1, weight=IntWeight(4))
        >>> layer(torch.ones(5, 3, 2, 34)).dense().shape
        torch.Size([5, 3, 8, 17])
    """

    axes = ("T", "B", "in_channels", "L")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        weight: IntWeight | None = None,
        input_scale: float = 1.0,
        input_max: int = 1,
        batch_norm: bool = False,
        input_min: int = 0,
    ) -> None:
        sizes = (1, kernel_size), (1, stride), (0, padding)
        super().__init__(in_channels, out_channels, *sizes, bias, weight, input_scale, input_max, batch_norm, input_min)

    def float_product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolution with the float weights, plus the bias."""
        return super().float_product(x.unsqueeze(3), weight, bias).squeeze(3)

    def integer_product(self, x: Tensor, w_int: Tensor, bound: int | Tensor) -> Tensor:
        """Convolution with the integer weights."""
        return super().integer_product(x.unsqueeze(3), w_int, bound).squeeze(3)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {name: value[1] if isinstance(value, list) else value for name, value in super().config().items()}


class _OneRow:
    """Makes of a pool of images one of signals."""

    axes: tuple[str, ...] = ("T", "B", "C", "L")
    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__((1, kernel_size), None if stride is None else (1, stride))  # type: ignore[call-arg]

    def _images(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).unsqueeze(2)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"kernel_size": self.kernel_size[1], "stride": self.stride[1]}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size[1]}, stride={self.stride[1]}"


class SumPool1d(_OneRow, SumPool2d):
    """Sums over windows: `[T, B, C, L]` to `[T, B, C, L']`; see `SumPool2d`.

    Args:
        kernel_size: of the window.
        stride: None for the window's own size.

    Raises:
        TypeError, ValueError: an argument out of its range, or an input with other than 4 axes.

    Example:
        >>> import torch
        >>> SumPool1d(3)(torch.ones(1, 1, 1, 6)).flatten().tolist()
        [3.0, 3.0]
    """


class AvgPool1d(_OneRow, AvgPool2d):
    """Averages over windows: `[T, B, C, L]` to `[T, B, C, L']`; see `AvgPool2d`.

    Args:
        kernel_size: of the window.
        stride: None for the window's own size.

    Raises:
        TypeError, ValueError: as for `SumPool1d`.

    Example:
        >>> import torch
        >>> AvgPool1d(3)(torch.ones(1, 1, 1, 6)).flatten().tolist()
        [1.0, 1.0]
    """


class MaxPool1d(_OneRow, MaxPool2d):
    """Maximum over windows: `[T, B, C, L]` to `[T, B, C, L']`; see `MaxPool2d`.

    Args:
        kernel_size: of the window.
        stride: None for the window's own size.

    Raises:
        TypeError, ValueError: as for `SumPool1d`.

    Example:
        >>> import torch
        >>> MaxPool1d(2, 1)(torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)).flatten().tolist()
        [1.0, 1.0]
    """
