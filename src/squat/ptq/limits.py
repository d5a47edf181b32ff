"""Limits of a state spec fitted to observed membranes: the range with the least mean squared quantization error."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_real
from squat.ptq.histogram import StreamingHistogram
from squat.quant.spec import StateSpec

# Shares of the observed reach that are tried at each end. Clipping pays at few bits: the optimum lies well inside
# the observed range, and the error is flat around it, so a geometric grid is fine enough.
_SHARES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.18, 0.12, 0.07, 0.03)
# Ends tried, in thresholds, where nothing was observed beyond zero or beyond the threshold.
_NEAR = (0.02, 0.05, 0.1, 0.2)
_ROUNDS = 4


NEAR_WIDTH = 0.1
"""Distance from the threshold, in thresholds, at which the additional weight of `near_threshold` has fallen to 1/e."""


def weighted_counts(histogram: StreamingHistogram, threshold: float = 1.0, near_threshold: float = 0.0) -> Tensor:
    """Counts times the weights `w(u) = 1 + near_threshold * exp(-|u/threshold - 1| / 0.1)`, float64.

    Raises:
        TypeError, ValueError: if the histogram is empty, or `near_threshold` is no finite number >= 0.
    """
    check_real("near_threshold", near_threshold, 0.0)
    if histogram.total == 0:
        raise ValueError("histogram is empty: expected observed membranes; add some first")
    distance = (histogram.centres / threshold - 1.0).abs()
    return histogram.counts * (1.0 + near_threshold * torch.exp(-distance / NEAR_WIDTH))


def quantization_error(
    spec: StateSpec, histogram: StreamingHistogram, threshold: float = 1.0, near_threshold: float = 0.0
) -> float:
    """Mean squared error `mean w(u) (level[encode(u)] - u)^2` of a spec over a histogram of membranes.

    Args:
        spec: the state spec.
        histogram: observed membranes `u`.
        threshold: firing threshold that the levels refer to.
        near_threshold: how much more an error at the threshold counts, where it decides about a spike:
            `w(u) = 1 + near_threshold * exp(-|u/threshold - 1| / 0.1)`.

    Returns:
        The error in squared membrane units, with every value taken at the middle of its bin.

    Raises:
        ValueError: if the histogram is empty.

    Example:
        >>> from squat.quant.spec import Uniform
        >>> histogram = StreamingHistogram()
        >>> histogram.add(torch.tensor([-1.0, 1.2]))
        >>> quantization_error(Uniform(2), histogram) < 1e-6
        True
    """
    counts = weighted_counts(histogram, threshold, near_threshold)
    levels = spec.levels(threshold).double()
    codes = torch.bucketize(histogram.centres, spec.boundaries(threshold).double())
    squares = (levels[codes] - histogram.centres) ** 2
    return float((squares * counts).sum() / histogram.total)


def fit_limits(
    spec: StateSpec, histogram: StreamingHistogram, threshold: float = 1.0, near_threshold: float = 0.0
) -> StateSpec:
    """The spec with the limits of least mean squared error over the observed membranes.

    The limits of `spec` itself are among the candidates, so the result is never worse than `spec`.

    Args:
        spec: a spec with the limits `lower_limit`, `upper_limit` (the published family) or `low`, `high` (`Anchored`).
        histogram: observed float membranes.
        threshold: firing threshold of the neurons.
        near_threshold: how much more an error at the threshold counts; see `quantization_error`.

    Returns:
        A spec of the same type, bits and base.

    Raises:
        ValueError: if the spec has no limits to fit, or the histogram is empty.

    Example:
        >>> from squat.quant.spec import Uniform
        >>> histogram = StreamingHistogram()
        >>> histogram.add(torch.linspace(-4, 4, 1001))
        >>> fitted = fit_limits(Uniform(4), histogram)
        >>> fitted.lower_limit > 2, fitted.upper_limit > 2
        (True, True)
    """
    ends = _ends(histogram.low / threshold, histogram.high / threshold)
    best, least = spec, quantization_error(spec, histogram, threshold, near_threshold)
    span = range_of(spec)
    for _ in range(_ROUNDS):
        before = least
        # One end at a time: what one end clips hardly depends on where the other lies.
        for side in (0, 1):
            spans = [(end, span[1]) if side == 0 else (span[0], end) for end in ends[side]]
            for tried in spans:
                candidate = or_none(spec, *tried)
                if candidate is None:
                    continue
                error = quantization_error(candidate, histogram, threshold, near_threshold)
                if error < least:
                    best, least, span = candidate, error, tried
        if least == before:
            break
    return best


def _ends(low: float, high: float) -> tuple[list[float], list[float]]:
    """Lower and upper ends to try, in thresholds."""
    lows = [low * share for share in _SHARES] if low < 0 else [-end for end in _NEAR]
    highs = [1 + (high - 1) * share for share in _SHARES] if high > 1 else [1 + end for end in _NEAR]
    return lows, highs


def range_of(spec: StateSpec) -> tuple[float, float]:
    """Lowest and highest level, in thresholds."""
    levels = spec.levels()
    return float(levels[0]), float(levels[-1])


def or_none(spec: StateSpec, low: float, high: float) -> StateSpec | None:
    """None where the scheme has no valid level set with these ends (no level below or above the threshold)."""
    try:
        return with_range(spec, low, high)
    except _NoSuchSet:
        return None


class _NoSuchSet(ValueError):
    """These limits leave the scheme no valid level set (no level below or above the threshold, or levels coincide)."""


def with_range(spec: StateSpec, low: float, high: float) -> StateSpec:
    """The spec with its range set to `[low, high]` thresholds.

    Raises:
        ValueError: if the type of spec has no limits, or has no valid level set with these.

    Example:
        >>> from squat.quant.spec import Anchored, Uniform
        >>> with_range(Uniform(4), -2.0, 3.0)
        Uniform(bits=4, lower_limit=1.0, upper_limit=2.0)
        >>> with_range(Anchored(4), -2.0, 3.0).high
        3.0
    """
    names = {field.name for field in fields(spec)}
    if {"lower_limit", "upper_limit"} <= names:
        limits: dict[str, Any] = {"lower_limit": -low - 1, "upper_limit": high - 1}
    elif {"low", "high"} <= names:
        limits = {"low": low, "high": high}
    else:
        raise ValueError(
            f"{type(spec).__name__} has no limits to calibrate: expected fields lower_limit and upper_limit, or low "
            "and high; use state_range='published', or 'lloyd_max' for levels of any kind"
        )
    try:
        return replace(spec, **limits)
    except ValueError as error:
        raise _NoSuchSet(str(error)) from error
