"""State specs: frozen descriptions of how a neuron state is quantized. A spec holds no tensors and no behaviour of
training; it answers where the levels and decision boundaries are. Weight specs live in `quant/weight.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_choice, check_real
from squat.quant import levels as level_sets
from squat.quant.boundaries import midpoint_boundaries
from squat.quant.fitted import Fitted
from squat.quant.state_spec import StateSpec
from squat.text import brief


@dataclass(frozen=True)
class _Published(StateSpec):
    lower_limit: float = 0.0
    upper_limit: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("lower_limit", self.lower_limit, -1.0, open_low=True)
        remedy = "the highest level would not exceed the threshold, so the neuron could never fire"
        check_real("upper_limit", self.upper_limit, 0.0, open_low=True, remedy=remedy)
        levels = self.levels()
        if self.first_firing_code() == 2**self.bits:
            raise ValueError(
                f"{self}: no level lies above the threshold, so the neuron can never fire; raise upper_limit"
            )
        if self.first_firing_code() == 0:
            raise ValueError(
                f"{self}: every level lies above the threshold, so the neuron fires at every step; "
                f"lower upper_limit (levels run from {levels[0]:.3g} to {levels[-1]:.3g} thresholds)"
            )


@dataclass(frozen=True)
class Uniform(_Published):
    """Equally spaced levels on `[-threshold*(1+lower_limit), threshold*(1+upper_limit)]`, as published.

    Args:
        bits: bits of a state code, 1 to 8.
        lower_limit: reach below `-threshold`, as a share of the threshold.
        upper_limit: reach above the threshold, as a share of it; positive, or no neuron could fire.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: arXiv 2404.19668; snnTorch 1.0.0 `state_quant(uniform=True)`.

    Example:
        >>> Uniform(2).levels(threshold=2.0)
        tensor([-2.0000, -0.5333,  0.9333,  2.4000])
    """

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        return level_sets.uniform(self.bits, threshold, self.lower_limit, self.upper_limit)

    @property
    def evenly_spaced(self) -> bool:
        """True: the boundaries are equally spaced."""
        return True


@dataclass(frozen=True)
class _Exponential(_Published):
    base: float | None = None

    def __post_init__(self) -> None:
        if self.base is not None:
            check_real("base", self.base, 0.0, 1.0, open_low=True)
            if self.base == 1.0:
                raise ValueError("base=1.0: expected a number in (0, 1); for equal gaps use Uniform")
        super().__post_init__()
        if bool((self.levels().diff() < 0).any()):
            raise ValueError(
                f"{self}: the published sums of so steep a ramp are out of order in float32; use a base nearer to 1"
            )


@dataclass(frozen=True)
class ThresholdCentered(_Exponential):
    """Levels exponentially denser towards the threshold, as published (the paper's second scheme).

    Args:
        bits: bits of a state code, 1 to 8.
        lower_limit: reach below `-threshold`, as a share of the threshold.
        upper_limit: reach above the threshold, as a share of it; positive.
        base: ratio of successive gaps in (0, 1); by default the published one for `bits`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: arXiv 2404.19668; snnTorch 1.0.0 `state_quant(uniform=False)`.

    Example:
        >>> ThresholdCentered(2).levels()
        tensor([-1.0000,  0.8018,  0.9820,  1.2000])
    """

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        return level_sets.threshold_centered(self.bits, threshold, self.lower_limit, self.upper_limit, self.base)


@dataclass(frozen=True)
class ZeroCentered(_Exponential):
    """Levels exponentially denser towards zero, as published in snnTorch.

    Args:
        bits: bits of a state code, 1 to 8.
        lower_limit: reach below `-threshold`, as a share of the threshold.
        upper_limit: reach above the threshold, as a share of it; positive.
        base: ratio of successive gaps in (0, 1); by default the published one for `bits`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: snnTorch 1.0.0 `state_quant(uniform=False, thr_centered=False)`.

    Example:
        >>> ZeroCentered(2).levels()
        tensor([-1.0000,  0.0108,  0.1189,  1.2000])
    """

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        return level_sets.zero_centered(self.bits, threshold, self.lower_limit, self.upper_limit, self.base)


@dataclass(frozen=True)
class Anchored(StateSpec):
    """squat's own set: 0 is a level, the threshold a decision boundary, both signs are kept.

    Quantizing never flips a spike: `level[c] > threshold` exactly if `a > threshold`. Other boundaries are midpoints.

    Args:
        bits: bits of a state code, 1 to 8.
        low: lowest level in units of the threshold, negative; default by bits (`levels.anchored`). Unused at 1 bit.
        high: highest level in units of the threshold, above 1; default by bits.
        base: ratio of successive gaps towards the threshold, in (0, 1] (1: equal gaps on each side); default by bits.
        decay: `"free"` quantizes the leak like any value; `"at_least_one_code"` leaves no dead zone: without input
            every code but the resting one moves at least one code towards rest.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Example:
        >>> Anchored(2).levels()
        tensor([-0.6000,  0.0000,  0.6897,  1.3000])
        >>> Anchored(2).boundaries()[2]
        tensor(1.)
    """

    low: float | None = None
    high: float | None = None
    base: float | None = None
    decay: str = "free"

    __repr__ = brief

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low is not None and check_real("low", self.low, -math.inf, 0.0) == 0.0:
            raise ValueError("low=0.0: expected a number < 0; both signs are kept")
        if self.high is not None:
            remedy = "without a level above the threshold the neuron could never fire"
            check_real("high", self.high, 1.0, open_low=True, remedy=remedy)
        if self.base is not None:
            check_real("base", self.base, 0.0, 1.0, open_low=True)
        check_choice("decay", self.decay, ("free", "at_least_one_code"))
        levels = self.levels()
        if not bool((levels.diff() > 0).all()):
            raise ValueError(f"{self}: levels coincide in float32; use a base nearer to 1")

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        unit = level_sets.anchored(self.bits, self.low, self.high, self.base)
        return torch.tensor([level * threshold for level in unit], dtype=torch.float64).to(torch.float32)

    def boundaries(self, threshold: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Midpoints of the levels, but the threshold itself between the last silent and the first firing level."""
        bounds = midpoint_boundaries(self.levels(threshold), dtype)
        bounds[self.first_firing_code(threshold) - 1] = threshold
        return bounds

    def first_firing_code(self, threshold: float = 1.0) -> int:
        """Lowest code whose level lies above the threshold; counted, not compared."""
        del threshold
        return 2**self.bits - max(2**self.bits // 4, 1)

    @property
    def decays(self) -> bool:
        """Whether `decay="at_least_one_code"`."""
        return self.decay == "at_least_one_code"


STATE_SPECS: dict[str, type[StateSpec]] = {
    spec.__name__: spec for spec in (Uniform, ThresholdCentered, ZeroCentered, Anchored, Fitted)
}
"""Every state spec by class name. A new one is added here and inherits the contract tests."""


def spec_from_json(data: dict[str, Any] | None) -> Any:
    """The state or weight spec that `to_json` described; None for None.

    Raises:
        ValueError: for an unknown type or field; the message lists what is known.

    Example:
        >>> spec_from_json({"type": "Uniform", "bits": 4})
        Uniform(bits=4, lower_limit=0.0, upper_limit=0.2)
    """
    if data is None:
        return None
    from squat.quant.weight import WEIGHT_SPECS

    known: dict[str, Any] = {**STATE_SPECS, **WEIGHT_SPECS}
    arguments = dict(data)
    name = check_choice("spec type", arguments.pop("type", None), known)
    names = [field.name for field in fields(known[name])]
    for argument in arguments:
        check_choice(f"field of {name}", argument, names)
    return known[name](**arguments)


@lru_cache(maxsize=256)
def level_tables(spec: StateSpec, threshold: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Levels and boundaries in `dtype`, and the first firing code; cached, so treat the tensors as read-only."""
    levels = spec.levels(threshold)
    return levels.to(dtype), spec.boundaries(threshold, dtype), spec.first_firing_code(threshold)
