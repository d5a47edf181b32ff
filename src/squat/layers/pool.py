"""Pooling of spikes and of currents, over time: `SumPool2d`, `AvgPool2d`, `MaxPool2d`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from squat.checks import check_dense
from squat.layers.conv import pair
from squat.layers.current import Current
from squat.ops.product import integer_sum_pool2d


class SumPool2d(nn.Module):
    """Sums over windows: `[T, B, C, H, W]` to `[T, B, C, H', W']`. Integers stay integers.

    Of spikes it gives 0 .. rows*columns of the window, so the next layer takes `input_max=rows*columns`; with
    `input_scale=1/(rows*columns)` there it is average pooling in integers. Of the `Current` of a convolution with
    integer weights it gives a `Current`: the integer sums are added, and the bias of every position with them.

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

    kind = "sum"
    axes: tuple[str, ...] = ("T", "B", "C", "H", "W")

    def __init__(self, kernel_size: int | tuple[int, int], stride: int | tuple[int, int] | None = None) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)

    def forward(self, x: Tensor | Current) -> Any:
        """A tensor of a tensor; a `Current`, exact integers, of a `Current`."""
        if not isinstance(x, Current):
            return self._pooled(x, self.pool_images)
        current = self.constants(x)
        z = self._pooled(x.z, lambda images: self.pool_sums(images, current.bound))
        return current._replace(z=z, checked=z if x.exact else None)

    @property
    def window(self) -> int:
        """Entries of a window."""
        return math.prod(self.kernel_size)

    def pool_images(self, images: Tensor) -> Tensor:
        """Pooled `[R, C, H', W']` of images `[R, C, H, W]`."""
        return F.avg_pool2d(images, self.kernel_size, self.stride, divisor_override=1)

    def pool_sums(self, z: Tensor, bound: int | Tensor) -> Tensor:
        """The same of integer sums of a `Current`, exact; `bound` is that of the result."""
        return integer_sum_pool2d(z, self.kernel_size, self.stride, bound)

    def constants(self, current: Current) -> Current:
        """A current with the scale, the bias and the bound of its pooled sums; its sums are left as they are."""
        bias = None if current.bias is None else current.bias * self.window
        return current._replace(bias=bias, bound=current.bound * self.window)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"kernel_size": list(self.kernel_size), "stride": list(self.stride)}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"

    def _pooled(self, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """A pooling of the images of all time steps; of one where they are constant over time."""
        check_dense("x", x)
        if x.dim() != len(self.axes):
            axes = f"{len(self.axes)} axes [{', '.join(self.axes)}]"
            raise ValueError(f"x: {x.dim()} axes {tuple(x.shape)}, expected {axes}, time first")
        constant = x.shape[0] > 1 and x.stride(0) == 0 and not (x.is_leaf and x.requires_grad)
        steps = x[:1] if constant else x
        pooled = pool(self._images(steps))
        pooled = pooled.reshape(*steps.shape[:3], *pooled.shape[-len(self.axes) + 3 :])
        return pooled.expand(x.shape[0], *pooled.shape[1:])

    def _images(self, x: Tensor) -> Tensor:
        """`[T, B, C, H, W]` as images `[T*B, C, H, W]`, a view."""
        return x.flatten(0, 1)


class AvgPool2d(SumPool2d):
    """Averages over windows: `[T, B, C, H, W]` to `[T, B, C, H', W']`.

    Of the `Current` of a convolution with integer weights it gives a `Current`: the integer sums are added, and their
    scale is divided by the entries of the window, so the neuron behind it runs on integers, and `squat.lower` takes it.
    A layer with integer weights refuses the fractions that averages of *spikes* are: use `SumPool2d` before one.

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

    kind = "average"

    def pool_images(self, images: Tensor) -> Tensor:
        """Averages of images `[R, C, H, W]`."""
        return F.avg_pool2d(images, self.kernel_size, self.stride)

    def constants(self, current: Current) -> Current:
        """A current whose scale is divided by the window, since its sums are added and not averaged."""
        return current._replace(scale=current.scale / self.window, bound=current.bound * self.window)


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

    kind = "max"

    def pool_images(self, images: Tensor) -> Tensor:
        """Maxima of images `[R, C, H, W]`."""
        return F.max_pool2d(images, self.kernel_size, self.stride)

    def pool_sums(self, z: Tensor, bound: int | Tensor) -> Tensor:
        """Largest sums."""
        return self.pool_images(z)

    def constants(self, current: Current) -> Current:
        """The same: scales are positive and the bias is the channel's, so the largest sum is the largest current."""
        return current
