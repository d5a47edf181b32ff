"""`Join`: the end of a residual block, where what its branch gives is added to what it was given. Numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from squat.checks import check_int
from squat.integer.pools import Pool
from squat.text import brief


@dataclass(frozen=True)
class Join:
    """Adds what an earlier part gave to what the part before gives.

    Attributes:
        input_shape: of one step of either.
        source: index of the earlier part in the network's `layers`.
        pool: what is done to its outputs first, or None.
    """

    input_shape: tuple[int, ...]
    source: int
    pool: Pool | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        check_int("source", self.source, 0)
        if self.pool is not None and self.pool.output_shape != self.input_shape:
            raise ValueError(f"join: the pool gives {self.pool.output_shape}, expected {self.input_shape}")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """As `input_shape`."""
        return self.input_shape

    @property
    def source_size(self) -> int:
        """Outputs that the source must have."""
        return math.prod(self.input_shape if self.pool is None else self.pool.input_shape)

    def __call__(self, x: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """The sum `[T, B, *input_shape]` of bytes `[T, B, ...]`, of which `kept` are the source's.

        Example:
            >>> Join((2,), 0)(np.array([[[1, 0]]], np.uint8), np.array([[[1, 2]]], np.uint8)).tolist()
            [[[2, 2]]]
        """
        if self.pool is not None:
            kept = self.pool(kept.reshape(*kept.shape[:2], *self.pool.input_shape))
        one, other = (values.reshape(*values.shape[:2], *self.input_shape) for values in (x, kept))
        return one + other
