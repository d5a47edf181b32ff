"""`Pool`: sums or maxima over the windows of images. Numpy only.

Of spikes the maximum is a spike where the window holds any. Of synaptic sums it is the sum of the largest current: what
turns a channel's sums into a current rises with them. Averages of currents are sums too: the division is in the
constants of the neurons behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np

from squat.checks import check_choice, check_int
from squat.text import brief

POOLS = {"sum": np.add, "max": np.maximum}
"""What joins two entries of a window."""


@dataclass(frozen=True)
class Pool:
    """Sums or maxima over windows: `[C, H, W]` to `[C, H', W']`.

    Attributes:
        input_shape: `(C, H, W)`.
        kernel_size, stride: rows and columns.
        kind: `"sum"` or `"max"`.
    """

    input_shape: tuple[int, ...]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    kind: str = "sum"

    __repr__ = brief

    def __post_init__(self) -> None:
        check_choice("kind of pooling", self.kind, POOLS)
        if len(self.input_shape) != 3:
            raise ValueError(f"pooling of an input {self.input_shape}: expected (C, H, W)")
        for size, kernel, step in zip(self.input_shape[1:], self.kernel_size, self.stride, strict=True):
            check_int("kernel_size", kernel, 1, size)
            check_int("stride", step, 1)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """`(C, H', W')`."""
        rows, columns = (
            (size - kernel) // step + 1
            for size, kernel, step in zip(self.input_shape[1:], self.kernel_size, self.stride, strict=True)
        )
        return self.input_shape[0], rows, columns

    @property
    def growth(self) -> int:
        """How many times the largest input its outputs can be."""
        return math.prod(self.kernel_size) if self.kind == "sum" else 1

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Pooled images `[..., C, H', W']` of integers `[..., C, H, W]`, in their dtype.

        Example:
            >>> Pool((1, 2, 2), (2, 2), (2, 2), "max")(np.array([[[3, -1], [4, 1]]])).item()
            4
        """
        (rows, columns), (down, right) = self.output_shape[1:], self.stride
        windows = (
            x[..., i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]
            for i, j in np.ndindex(self.kernel_size)
        )
        return reduce(POOLS[self.kind], windows)
