"""Rules by name that fit a state spec to observed membranes: what `calibrate` calls `state_range`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from squat.checks import check_real
from squat.ptq.histogram import StreamingHistogram
from squat.ptq.limits import fit_limits, with_range
from squat.ptq.lloyd_max import lloyd_max
from squat.ptq.shape import fit_shape
from squat.quant.spec import StateSpec
from squat.text import brief

_NEAREST = 0.02
"""Least distance, in thresholds, of the ends of a range from 0 and from the threshold: every set has a level there."""
_PERCENTILE = 99.9
"""Where none is given."""


@dataclass(frozen=True)
class RangeOptions:
    """What the rules may ask for.

    Args:
        percentile: in (50, 100]; for the rule `percentile`, None for its 99.9.
        near_threshold: how much more an error at the threshold counts, >= 0; for the rules that minimise an error.
        clip: in (50, 100]; membranes beyond the percentiles `100 - clip` and `clip` count as at them, for every rule
            that looks at membranes.

    Raises:
        TypeError, ValueError: for values outside these ranges.
    """

    percentile: float | None = None
    near_threshold: float = 0.0
    clip: float = 100.0

    __repr__ = brief

    def __post_init__(self) -> None:
        if self.percentile is not None:
            check_real("percentile", self.percentile, 50.0, 100.0, open_low=True)
        check_real("near_threshold", self.near_threshold, 0.0)
        check_real("clip", self.clip, 50.0, 100.0, open_low=True)

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not their defaults, by name."""
        values = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


Rule = Callable[[StateSpec, StreamingHistogram, float, RangeOptions], StateSpec]


def _published(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    return spec


def _calibrated(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    return fit_limits(spec, seen, threshold, options.near_threshold)


def _max(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    return _reaching(spec, seen.low / threshold, seen.high / threshold)


def _percentile(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    percentile = _PERCENTILE if options.percentile is None else options.percentile
    low, high = (seen.percentile(share) / threshold for share in (100.0 - percentile, percentile))
    return _reaching(spec, low, high)


def _reaching(spec: StateSpec, low: float, high: float) -> StateSpec:
    return with_range(spec, min(low, -_NEAREST), max(high, 1.0 + _NEAREST))


def _mse(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    return fit_shape(spec, seen, threshold, options.near_threshold, base=False)


def _mse_base(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    return fit_shape(spec, seen, threshold, options.near_threshold)


def _lloyd_max(spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    """Free levels that keep what the spec anchors: a level at 0, and a boundary at the threshold."""
    if spec.decays:
        raise ValueError(
            f"{spec}: fitted levels decay freely, expected decay='free'; keep the scheme with state_range='mse_base'"
        )
    anchored = spec.boundaries()[spec.first_firing_code() - 1] == 1.0
    return lloyd_max(
        seen,
        spec.bits,
        threshold,
        keep_zero=bool((spec.levels() == 0.0).any()),
        firing="threshold" if bool(anchored) else "midpoint",
        near_threshold=options.near_threshold,
    )


RANGE_RULES: dict[str, Rule] = {
    "published": _published,
    "calibrated": _calibrated,
    "max": _max,
    "percentile": _percentile,
    "mse": _mse,
    "mse_base": _mse_base,
    "lloyd_max": _lloyd_max,
}
"""Every rule by name. A new one is added here; `squat calibrate` and the contract tests find it."""

TAKES: dict[str, tuple[str, ...]] = {
    "published": (),
    "calibrated": ("near_threshold", "clip"),
    "max": ("clip",),
    "percentile": ("percentile", "clip"),
    "mse": ("near_threshold", "clip"),
    "mse_base": ("near_threshold", "clip"),
    "lloyd_max": ("near_threshold", "clip"),
}
"""Which of the `RangeOptions` each rule takes."""


def check_taken(rule: str, options: RangeOptions, states: StateSpec | None) -> None:
    """Refuse what would do nothing: options that the rule does not take, rule and options without a state spec.

    Raises:
        ValueError: naming the option and the rules that take it.

    Example:
        >>> from squat.quant.spec import Uniform
        >>> check_taken("max", RangeOptions(percentile=90.0), Uniform(4))
        Traceback (most recent call last):
        ValueError: percentile=90.0 does nothing with state_range='max': expected state_range='percentile', or ...
    """
    asked = options.given if rule == "published" else {"state_range": rule, **options.given}
    for name, value in asked.items():
        if states is None:
            raise ValueError(
                f"{name}={value!r} does nothing with states=None: expected a state spec as states, or leave {name} out"
            )
        if name != "state_range" and name not in TAKES[rule]:
            takers = " or ".join(repr(other) for other, taken in TAKES.items() if name in taken)
            raise ValueError(
                f"{name}={value!r} does nothing with state_range={rule!r}: expected state_range={takers}, or leave "
                f"{name} out"
            )


@torch.no_grad()
def fitted(rule: str, spec: StateSpec, seen: StreamingHistogram, threshold: float, options: RangeOptions) -> StateSpec:
    """`spec` fitted by a rule of `RANGE_RULES` to the membranes seen.

    Raises:
        ValueError: if the histogram is empty, or the spec has no valid level set of this kind.

    Example:
        >>> from squat.quant.spec import Anchored
        >>> histogram = StreamingHistogram()
        >>> histogram.add(torch.tensor([-3.0, 0.0, 5.0]))
        >>> fitted("max", Anchored(4), histogram, 2.0, RangeOptions())
        Anchored(bits=4, low=-1.5, high=2.5, base=None, decay='free')
    """
    clipped = seen if options.clip == 100.0 else seen.clipped(options.clip)
    return RANGE_RULES[rule](spec, clipped, threshold, options)
