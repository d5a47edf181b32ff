"""Layers without weights between neurons: `Flatten`, `SumPool2d`, `AvgPool2d`, `MaxPool2d`, all over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from squat.layers.conv import pair
from squat.layers.current import Current


class Flatten(nn.Module):
    """`[T, B, ...]` to `[T, B, features]`: joins all axes after time and batch; keeps a time stride of 0.

    Raises:
        ValueError: fewer than 3 axes.

    Example:
        >>> import torch
        >>> Flatten()(torch.zeros(5, 3, 2, 4, 4)).shape
        torch.Size([5, 3, 32])
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3:
            raise ValueError(
                f"x: {x.dim()} axes {tuple(x.shape)}, expected [T, B, ...] with at least 3 axes, time first"
            )
        return x.flatten(2)

    def config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


class SumPool2d(nn.Module):
    """Sums over windows: `[T, B, C, H, W]` to `[T, B, C, H', W']`. Integers stay integers.

    Of spikes it gives 0 .. rows*columns of the window, so the next layer takes `input_max=rows*columns`; with
    `input_scale=1/(rows*columns)` there it is average pooling in integers.

    Args:
        kernel_size: rows and columns of the window, one number or a pair.
        stride: one number or a pair; None for the window's own size.

    Raises:
        TypeError, ValueError: an argument out of its range, or an input with other than 5 axes.

    Example:
        >>> import torch
        >>> SumPool2d(2)(torch.ones(1, 1, 1, 4, 4)).flatten().tolist()
        [4.0, 4.0, 4.0, 4.0]
    """

    def __init__(self, kernel_size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)

    def forward(self, x: Tensor | Current) -> Tensor:
        return self._pooled(x, lambda images: F.avg_pool2d(images, self.kernel_size, self.stride, divisor_override=1))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"kernel_size": list(self.kernel_size), "stride": list(self.stride)}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"

    def _pooled(self, x: Tensor | Current, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """A pooling of the images of all time steps, which are views of `x`."""
        x = x.dense() if isinstance(x, Current) else x
        if x.dim() != 5:
            raise ValueError(f"x: {x.dim()} axes {tuple(x.shape)}, expected 5 axes [T, B, C, H, W], time first")
        return pool(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class AvgPool2d(SumPool2d):
    """Averages over windows: `[T, B, C, H, W]` to `[T, B, C, H', W']`, for float layers.

    A layer with integer weights refuses the fractions this makes of spikes: use `SumPool2d` before one. A `Current`
    becomes floats.

    Args:
        kernel_size: rows and columns of the window, one number or a pair.
        stride: one number or a pair; None for the window's own size.

    Raises:
        TypeError, ValueError: as for `SumPool2d`.

    Example:
        >>> import torch
        >>> AvgPool2d(2)(torch.ones(1, 1, 1, 2, 2)).item()
        1.0
    """

    def forward(self, x: Tensor | Current) -> Tensor:
        return self._pooled(x, lambda images: F.avg_pool2d(images, self.kernel_size, self.stride))


class MaxPool2d(SumPool2d):
    """Maximum over windows: `[T, B, C, H, W]` to `[T, B, C, H', W']`. Of spikes: a spike where the window holds any.

    Of the `Current` of a convolution with integer weights it takes the largest sums, which are a `Current` again.
    The gradient of a window goes to its first largest entry, as in torch.

    Args:
        kernel_size: rows and columns of the window, one number or a pair.
        stride: one number or a pair; None for the window's own size.

    Raises:
        TypeError, ValueError: as for `SumPool2d`.

    Example:
        >>> import torch
        >>> MaxPool2d(2)(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 1, 1, 2, 2)).item()
        1.0
    """

    def forward(self, x: Tensor | Current) -> Any:
        if isinstance(x, Current):  # scales are positive and the bias is the channel's: largest sum, largest current
            z = self.forward(x.z)
            return x._replace(z=z, checked=z if x.exact else None)
        return self._pooled(x, lambda images: F.max_pool2d(images, self.kernel_size, self.stride))
