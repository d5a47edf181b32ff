"""Layers that only arrange what a step holds: `Flatten` and `Unflatten`, all over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from squat.checks import check_dense, check_int
from squat.layers.current import Current


class Flatten(nn.Module):
    """`[T, B, ...]` to `[T, B, features]`: joins all axes after time and batch; keeps a time stride of 0.

    Of the `Current` of a convolution it gives one with a scale and a bias for every feature.

    Raises:
        ValueError: fewer than 3 axes.

    Example:
        >>> import torch
        >>> Flatten()(torch.zeros(5, 3, 2, 4, 4)).shape
        torch.Size([5, 3, 32])
    """

    def forward(self, x: Tensor | Current) -> Any:
        """A tensor of a tensor, a `Current` of a `Current`."""
        if isinstance(x, Current):
            return _flat_current(x, self.forward(x.z))
        check_dense("x", x)
        if x.dim() < 3:
            raise ValueError(
                f"x: {x.dim()} axes {tuple(x.shape)}, expected [T, B, ...] with at least 3 axes, time first"
            )
        return x.flatten(2)

    def config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


class Unflatten(nn.Module):
    """`[T, B, ...]` to `[T, B, *shape]`: the values of a step in another shape; keeps a time stride of 0.

    Args:
        shape: of one step of one sample, such as `(channels, rows, columns)`.

    Raises:
        TypeError, ValueError: for a size that is no integer >= 1; in forward, for another number of values.

    Example:
        >>> import torch
        >>> Unflatten((2, 4, 4))(torch.zeros(5, 3, 32)).shape
        torch.Size([5, 3, 2, 4, 4])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        sizes = list(shape) if isinstance(shape, Sequence) else []
        if not sizes:
            raise TypeError(f"shape={shape!r}: expected the sizes of one step, such as (channels, rows, columns)")
        self.shape = tuple(check_int(f"shape[{axis}]", size, 1) for axis, size in enumerate(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """The same values in another shape."""
        if not isinstance(x, Tensor):
            raise TypeError(f"x: a {type(x).__name__}, expected a tensor; put a neuron before the Unflatten")
        check_dense("x", x)
        if x.dim() < 3 or x.shape[2:].numel() != math.prod(self.shape):
            raise ValueError(
                f"x: shape {tuple(x.shape)}, expected [T, B, ...] with {math.prod(self.shape)} values a step, for "
                f"shape={self.shape}"
            )
        return x.flatten(2).unflatten(2, self.shape)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"shape": list(self.shape)}

    def extra_repr(self) -> str:
        """The shape."""
        return f"{self.shape}"


def _flat_current(x: Current, z: Tensor) -> Current:
    """Channels are repeated for their positions."""
    positions = x.z.shape[3:].numel()
    scale = x.scale.repeat_interleave(positions) if x.scale.dim() else x.scale
    bias = None if x.bias is None else x.bias.repeat_interleave(positions)
    return x._replace(z=z, scale=scale, bias=bias, checked=z if x.exact else None)
