"""Level sets: sorted positions of the `2**bits` values that a neuron state can take.

A scheme is data. The published sets (Venkatesh et al. 2024, arXiv 2404.19668; snnTorch 1.0.0,
`snntorch.functional.quant.state_quant`) are equal spacing, or one exponential ramp about a centre; the centre is the
threshold or zero. `anchored` is squat's own. All positions are computed in Python floats in the published order of
operations, so that their float32 roundings equal snnTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import accumulate
from operator import add

import torch
from torch import Tensor

PUBLISHED_BASE = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.5, 5: 0.7, 6: 0.9, 7: 0.925, 8: 0.95}
"""Base of the exponential ramp by bits, as published."""

ANCHORED_LOW = {1: 0.0, 2: -0.6}
ANCHORED_HIGH = {1: 1.3, 2: 1.3, 3: 1.6}
ANCHORED_BASE = {8: 0.99, 7: 0.98, 6: 0.96, 5: 0.94}


def _total(terms: Iterable[float]) -> float:
    """Plain left-to-right sum: `sum` compensates from Python 3.12 on, and the last bit of the levels depends on it."""
    return reduce(add, terms, 0.0)


def exponential(bits: int, low: float, high: float, centre: float, base: float) -> list[float]:
    """Levels on `[low, high]` whose gaps shrink by the factor `base` from step to step towards `centre`.

    With `N = 2**bits` and `N_lo = floor(N*(centre - low)/(high - low))` the lower levels are
    `low + (centre - low)*(1 - base**k)/(1 - base**N_lo)`, `k = 0 .. N_lo-1`; the `N - N_lo` upper ones mirror them
    and end at `high`. The centre itself is not a level.

    Args:
        bits: bits of a code.
        low: lowest level.
        high: highest level.
        centre: where the levels gather, in `[low, high]`.
        base: ratio of successive gaps, in (0, 1).

    Returns:
        `2**bits` sorted positions.

    Source: `state_quant(uniform=False)` of snnTorch 1.0.0, both centrings.

    Example:
        >>> [round(level, 3) for level in exponential(2, -1.0, 1.2, centre=1.0, base=0.1)]
        [-1.0, 0.802, 0.982, 1.2]
    """
    count = 2**bits
    below = int(count * ((centre - low) / (high - low)))
    levels: list[float] = []
    if below:
        per_unit = _total(base**k for k in reversed(range(below))) / (centre - low)
        levels += accumulate((base**k / per_unit for k in range(below - 1)), initial=low)
    above = count - below
    if above:
        per_unit = _total(base**k for k in reversed(range(above))) / (high - centre)
        levels += list(accumulate((base**k / per_unit for k in reversed(range(above))), initial=centre))[1:]
    return levels


def uniform(bits: int, threshold: float = 1.0, lower_limit: float = 0.0, upper_limit: float = 0.2) -> Tensor:
    """`2**bits` equally spaced levels from `-threshold*(1 + lower_limit)` to `threshold*(1 + upper_limit)`.

    Args:
        bits: bits of a code.
        threshold: firing threshold.
        lower_limit: how far the lowest level lies below `-threshold`, as a share of the threshold.
        upper_limit: how far the highest level lies above the threshold, as a share of it.

    Returns:
        float32 levels `[2**bits]`, sorted.

    Source: `state_quant(uniform=True)` of snnTorch 1.0.0.

    Example:
        >>> uniform(2)
        tensor([-1.0000, -0.2667,  0.4667,  1.2000])
    """
    low, high = -threshold - threshold * lower_limit, threshold + threshold * upper_limit
    return torch.linspace(low, high, 2**bits, dtype=torch.float32)


def threshold_centered(
    bits: int,
    threshold: float = 1.0,
    lower_limit: float = 0.0,
    upper_limit: float = 0.2,
    base: float | None = None,
) -> Tensor:
    """Levels that are exponentially denser towards the threshold (`exponential` with `centre = threshold`).

    Neither 0 nor the threshold is a level: a silent 2-bit neuron rests at 0.80 of its threshold.

    Args:
        bits: bits of a code.
        threshold: firing threshold.
        lower_limit: how far the lowest level lies below `-threshold`, as a share of the threshold.
        upper_limit: how far the highest level lies above the threshold, as a share of it.
        base: ratio of successive gaps; by default the published one for `bits`.

    Returns:
        float32 levels `[2**bits]`, sorted.

    Source: `state_quant(uniform=False, thr_centered=True)` of snnTorch 1.0.0.

    Example:
        >>> threshold_centered(2)
        tensor([-1.0000,  0.8018,  0.9820,  1.2000])
    """
    return _published(bits, threshold, lower_limit, upper_limit, threshold, base)


def zero_centered(
    bits: int,
    threshold: float = 1.0,
    lower_limit: float = 0.0,
    upper_limit: float = 0.2,
    base: float | None = None,
) -> Tensor:
    """Levels that are exponentially denser towards zero (`exponential` with `centre = 0`).

    Args:
        bits: bits of a code.
        threshold: firing threshold.
        lower_limit: how far the lowest level lies below `-threshold`, as a share of the threshold.
        upper_limit: how far the highest level lies above the threshold, as a share of it.
        base: ratio of successive gaps; by default the published one for `bits`.

    Returns:
        float32 levels `[2**bits]`, sorted.

    Source: `state_quant(uniform=False, thr_centered=False)` of snnTorch 1.0.0.

    Example:
        >>> zero_centered(2)
        tensor([-1.0000,  0.0108,  0.1189,  1.2000])
    """
    return _published(bits, threshold, lower_limit, upper_limit, 0.0, base)


def _published(
    bits: int, threshold: float, lower_limit: float, upper_limit: float, centre: float, base: float | None
) -> Tensor:
    low, high = -(threshold + threshold * lower_limit), threshold + threshold * upper_limit
    ratio = PUBLISHED_BASE[min(bits, 8)] if base is None else base
    return torch.tensor(exponential(bits, low, high, centre, ratio), dtype=torch.float32)


def anchored(bits: int, low: float | None = None, high: float | None = None, base: float | None = None) -> list[float]:
    """Unit levels (threshold 1) that hold 0, straddle the threshold and keep both signs.

    A quarter of the codes is negative, one is 0, a quarter lies above the threshold, the rest between 0 and the
    threshold. Gaps shrink by `base` from step to step from `low` up to the threshold and grow again above it; the
    threshold is no level but the decision boundary between the last level below and the first one above.

    Args:
        bits: bits of a code.
        low: lowest unit level, below 0 (0 at one bit); by default -1 (-0.6 at 2 bits).
        high: highest unit level, above 1; by default 1.9 (1.3, 1.3, 1.6 at 1, 2, 3 bits).
        base: ratio of successive gaps towards the threshold, in (0, 1]; by default 0.9 (nearer 1 above 4 bits).

    Returns:
        `2**bits` sorted positions in units of the threshold.

    Example:
        >>> [round(level, 2) for level in anchored(2)]
        [-0.6, 0.0, 0.69, 1.3]
    """
    low = ANCHORED_LOW.get(bits, -1.0) if low is None else low
    high = ANCHORED_HIGH.get(bits, 1.9) if high is None else high
    base = ANCHORED_BASE.get(bits, 0.9) if base is None else base
    quarter = 2**bits // 4
    negative, above = quarter, max(quarter, 1)
    below = 2**bits - negative - 1 - above

    ramp = list(accumulate(base ** -(k + 1) for k in range(negative)))
    down = [low * reach / ramp[-1] for reach in reversed(ramp)]
    gaps = [base**k for k in range(below)]
    half_gap = base**below / 2
    up_to_threshold = [reach / (_total(gaps) + half_gap) for reach in accumulate(gaps)]
    # The first level above lies half a gap away too, so its cell is as wide as its neighbours'.
    reaches = list(accumulate((base**-k for k in range(1, above)), initial=0.5))
    beyond = [1.0 + (high - 1.0) * reach / reaches[-1] for reach in reaches]
    return [*down, 0.0, *up_to_threshold, *beyond]
