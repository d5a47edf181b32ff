"""`Fitted`: a state spec of arbitrary levels, as fitting to observed membranes gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from squat.checks import check_choice, check_real, check_type
from squat.quant import levels as level_sets
from squat.quant.boundaries import midpoint_boundaries
from squat.quant.state_spec import StateSpec
from squat.text import brief

FIRING = ("midpoint", "threshold")
_GAP = 2.0**-20
"""Least distance of two levels, and of the first firing level from the threshold, as a share of the largest level (at
least 1): levels then stay apart in float32 at any threshold."""


@dataclass(frozen=True)
class Fitted(StateSpec):
    """Any sorted levels in units of the threshold; boundaries are midpoints.

    `squat.calibrate(..., state_range="lloyd_max")` and `squat.ptq.lloyd_max` make one from observed membranes.

    Args:
        bits: bits of a state code, 1 to 8.
        unit_levels: `2**bits` rising levels in thresholds, the lowest at most 1 (silent), the highest above 1 (firing);
            by default those of `Anchored(bits)`, to start from.
        firing: the boundary between the last silent and the first firing level: `"midpoint"` as between all others, or
            `"threshold"`, the threshold itself, so that quantizing never flips a spike.

    Raises:
        TypeError, ValueError: for another number of levels, levels that do not rise or are not finite, levels of which
            none or all fire, or another `firing`.

    Example:
        >>> spec = Fitted(2, (-0.5, 0.0, 0.6, 1.5), firing="threshold")
        >>> spec.levels(threshold=2.0)
        tensor([-1.0000,  0.0000,  1.2000,  3.0000])
        >>> spec.boundaries(threshold=2.0)
        tensor([-0.5000,  0.6000,  2.0000])
    """

    unit_levels: tuple[float, ...] | None = None
    firing: str = "midpoint"

    __repr__ = brief

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("firing", self.firing, FIRING)
        # Stated in full, and as a tuple: JSON gives lists, and a spec is a key of caches.
        object.__setattr__(self, "unit_levels", self._checked_levels())

    def _checked_levels(self) -> tuple[float, ...]:
        if self.unit_levels is None:
            return tuple(level_sets.anchored(self.bits))
        check_type("unit_levels", self.unit_levels, Sequence, "a tuple of numbers, in units of the threshold")
        levels = tuple(check_real(f"unit_levels[{i}]", level) for i, level in enumerate(self.unit_levels))
        if len(levels) != 2**self.bits:
            raise ValueError(f"unit_levels: {len(levels)} levels, expected 2**bits = {2**self.bits}; one for each code")
        gap = _GAP * max(1.0, -levels[0], levels[-1])
        for code, (lower, upper) in enumerate(pairwise(levels)):
            if upper - lower < gap:
                raise ValueError(
                    f"unit_levels: {upper!r} follows {lower!r} at code {code + 1}, expected rising levels at least "
                    f"{gap:.1e} apart; merge equal levels or use fewer bits"
                )
        if levels[0] > 1.0:
            raise ValueError(
                f"unit_levels: all above 1, the lowest is {levels[0]!r}; expected at least one silent level"
            )
        if levels[-1] <= 1.0:
            raise ValueError(
                f"unit_levels: none above 1, so the neuron could never fire; the highest is {levels[-1]!r}"
            )
        first = next(level for level in levels if level > 1.0)
        if first - 1.0 < gap:
            raise ValueError(
                f"unit_levels: {first!r} is too near above the threshold 1 for float32; move it to 1 or up"
            )
        return levels

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        unit = self.unit_levels or ()
        return torch.tensor([level * threshold for level in unit], dtype=torch.float64).to(torch.float32)

    def boundaries(self, threshold: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Midpoints of the levels; with `firing="threshold"` the threshold itself where firing begins."""
        bounds = midpoint_boundaries(self.levels(threshold), dtype)
        if self.firing == "threshold":
            bounds[self.first_firing_code(threshold) - 1] = threshold
        return bounds
