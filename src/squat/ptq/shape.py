"""Limits and base of a level scheme together, by pattern search on the quantization error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from squat.ptq.histogram import StreamingHistogram
from squat.ptq.limits import fit_limits, or_none, quantization_error, range_of
from squat.quant.spec import StateSpec

_BASES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Bases tried first; between them the search goes on in small steps."""
_CLEAR = 1e-3
"""The highest level stays so far above the threshold, in thresholds, that it fires at any scale."""
_STEPS = (0.2, 0.1, 0.05, 0.025, 0.0125)


def fit_shape(
    spec: StateSpec,
    histogram: StreamingHistogram,
    threshold: float = 1.0,
    near_threshold: float = 0.0,
    *,
    base: bool = True,
) -> StateSpec:
    """The spec with the limits, and the base if it has one, of least mean squared error over the observed membranes.

    From the best of `fit_limits` for several bases the limits, and the base, move one at a time by 20 % of their
    distance from 0, from the threshold, or from 1; where no move improves it, the steps are halved (pattern search:
    Hooke and Jeeves 1961, "Direct search", Journal of the ACM 8). The result is never worse than that of `fit_limits`.

    Args:
        spec: a spec with limits, such as `ThresholdCentered` or `Anchored`.
        histogram: observed float membranes.
        threshold: firing threshold of the neurons.
        near_threshold: how much more an error at the threshold counts; see `quantization_error`.
        base: whether the base moves too; a scheme without one has limits only.

    Returns:
        A spec of the same type and bits.

    Raises:
        ValueError: if the spec has no limits to fit, or the histogram is empty.

    Example:
        >>> import torch
        >>> from squat.quant.spec import ThresholdCentered
        >>> histogram = StreamingHistogram()
        >>> histogram.add(torch.linspace(-2, 2, 1001))
        >>> fitted = fit_shape(ThresholdCentered(4), histogram)
        >>> fitted.base > 0.8
        True
        >>> quantization_error(fitted, histogram) < quantization_error(ThresholdCentered(4), histogram)
        True
    """

    def error(candidate: StateSpec) -> float:
        return quantization_error(candidate, histogram, threshold, near_threshold)

    plain = fit_limits(spec, histogram, threshold, near_threshold)
    if not (base and "base" in {field.name for field in fields(spec)}):
        return _search(plain, error)
    based = (_with_base(spec, value) for value in _BASES)
    starts = [fit_limits(start, histogram, threshold, near_threshold) for start in based if start is not None]
    return min(plain, _search(min(starts, key=error), error), key=error)


def _search(best: StateSpec, error: Callable[[StateSpec], float]) -> StateSpec:
    least = error(best)
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for candidate in _neighbours(best, step):
                found = error(candidate)
                if found < least:
                    best, least, improved = candidate, found, True
                    break
    return best


def _neighbours(spec: StateSpec, step: float) -> Iterator[StateSpec]:
    """The valid specs one move away; a base that is not stated stays the scheme's own."""
    low, high = range_of(spec)
    for factor in (1 + step, 1 / (1 + step)):
        moved = [or_none(spec, low * factor, high), or_none(spec, low, 1 + max((high - 1) * factor, _CLEAR))]
        value: Any = getattr(spec, "base", None)
        if value is not None:
            moved.append(_with_base(spec, 1 - (1 - value) * factor))
        yield from (candidate for candidate in moved if candidate is not None)


def _with_base(spec: StateSpec, base: float) -> StateSpec | None:
    """None where the scheme has no valid level set with this base."""
    try:
        return replace(spec, base=base)  # type: ignore[call-arg]
    except ValueError:
        return None
