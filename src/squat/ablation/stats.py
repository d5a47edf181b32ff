"""Statistics of paired comparisons: bootstrap over seeds and test samples, t interval over seeds, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squat.checks import check_int
from squat.text import brief

RESAMPLES = 10_000
FEW_PATTERNS = 500
CHUNK = 100
DETECTABLE = 1.959964 + 0.841621
"""Standard errors of the smallest difference found with 80 % power at the two-sided 5 % level."""


@dataclass(frozen=True)
class Difference:
    """Difference of two accuracies over the same seeds and test samples, in points (percent).

    Args:
        mean: mean of first less second.
        interval: 95 % interval of the paired bootstrap over seeds and test samples.
        p: its two-sided p-value.
        detectable: smallest difference that this design finds with 80 % power at the 5 % level.
        t_interval: 95 % t interval over seeds; None for a single seed.
        seeds: number of seeds.
    """

    mean: float
    interval: tuple[float, float]
    p: float
    detectable: float
    t_interval: tuple[float, float] | None
    seeds: int

    __repr__ = brief


def paired_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compares two cells by a paired bootstrap over seeds and test samples.

    With `d[s, n] = first[s, n] - second[s, n]`, each resample draws seeds and, independently, samples with
    replacement, and takes the mean of `d` over the drawn rows and columns. Samples whose `d` is the same under all
    seeds are interchangeable, so where there are few such patterns their numbers are drawn at once (a multinomial).

    Args:
        first: [seeds, samples], whether the prediction was right.
        second: the same for the other cell; row by row the same seeds, column by column the same samples.
        resamples: number of resamples.
        seed: of the resampling.

    Returns:
        the difference in points with its intervals. The bootstrap over few seeds is narrow (the variance between
        seeds is underestimated by the factor (seeds - 1) / seeds): read the t interval beside it.

    Raises:
        ValueError: if the arrays are empty or their shapes differ.

    Example:
        >>> right = np.ones((3, 50), dtype=bool)
        >>> paired_difference(right, right).interval
        (0.0, 0.0)
    """
    check_int("resamples", resamples, 100)
    if first.ndim != 2 or first.shape != second.shape or first.size == 0:
        raise ValueError(
            f"first {first.shape}, second {second.shape}: expected two equal shapes [seeds, samples], not empty; "
            "compare runs of the same seeds on the same test samples"
        )
    d = first.astype(np.float64) - second.astype(np.float64)
    seeds = len(d)
    patterns, counts = np.unique(d, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    by_seed = _resampled_means(patterns, counts, resamples, generator)
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    means = 100 * (by_seed * drawn_seeds).sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(
        mean=100 * float(d.mean()),
        interval=(float(low), float(high)),
        p=_two_sided(means),
        detectable=DETECTABLE * float(means.std()),
        t_interval=t_interval(100 * d.mean(1)),
        seeds=seeds,
    )


def _resampled_means(
    patterns: NDArray[np.float64], counts: NDArray[np.int64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Mean over resampled samples, per seed: [resamples, seeds]."""
    samples, kinds = int(counts.sum()), len(counts)
    if kinds <= FEW_PATTERNS:
        return generator.multinomial(samples, counts / samples, size=resamples) @ patterns.T / samples
    kind_of = np.repeat(np.arange(kinds), counts)
    parts = []
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = kind_of[generator.integers(samples, size=(rows, samples))] + kinds * np.arange(rows)[:, None]
        parts.append(np.bincount(drawn.ravel(), minlength=rows * kinds).reshape(rows, kinds) @ patterns.T / samples)
    return np.concatenate(parts)


def _two_sided(means: NDArray[np.float64]) -> float:
    tiny = 1e-9  # a resample of exactly no difference counts on both sides, whatever the rounding of the sums
    tail = min(int((means <= tiny).sum()), int((means >= -tiny).sum()))
    return min(1.0, 2 * (tail + 1) / (len(means) + 1))


def t_interval(values: Sequence[float] | NDArray[np.float64], level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of a mean: `mean +- t * std / sqrt(n)`; None for fewer than two values.

    Args:
        values: one value per seed.
        level: confidence.

    Example:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return None
    half = t_quantile(0.5 + level / 2, len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution.

    With `t = sqrt(freedom) * tan(phi)` the density becomes `cos(phi)^(freedom - 1)` on (-pi/2, pi/2), which is summed
    on a fine grid (Simpson's rule) and inverted.

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, >= 1.

    Example:
        >>> round(t_quantile(0.975, 2), 3)
        4.303
    """
    phi = np.linspace(-math.pi / 2, math.pi / 2, 20001)
    density = np.cos(phi[1:-1:2]) ** (freedom - 1) * 4
    ends = np.cos(phi[::2]) ** (freedom - 1)
    cumulative = np.concatenate([[0.0], np.cumsum(ends[:-1] + density + ends[1:])])
    return math.sqrt(freedom) * math.tan(float(np.interp(probability, cumulative / cumulative[-1], phi[::2])))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p-values in the order given.

    `adjusted[(k)] = max over j <= k of min(1, (m - j) * p[(j)])`, p sorted upwards, j from 0.

    Args:
        p_values: of one family of comparisons.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
