"""Lloyd-Max levels: the `2**bits` levels of least mean squared error over a histogram of membranes.

Best levels and best boundaries imply each other: a boundary is the midpoint of its levels, a level the mean of its
cell (S. P. Lloyd 1982, "Least squares quantization in PCM"; J. Max 1960, "Quantizing for minimum distortion"). Turning
from one to the other ends in a local optimum, so the start is a global one: in one dimension cells are intervals, and
the best split into `k` of them follows from the best splits into `k - 1` (J. D. Bruce 1965, "Optimum quantization").

All numbers here are in units of the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from squat.checks import check_choice, check_int, check_real, check_type
from squat.ptq.histogram import StreamingHistogram
from squat.ptq.limits import weighted_counts
from squat.quant.fitted import FIRING, Fitted

_POINTS = 512
"""Points of the global search; its cost grows with their square. Lloyd's turns then use every bin."""
_FLOOR = 1e-9
"""Share of the weight that is spread over the range, so that no level is without a cell, whatever was observed."""
_CLEAR = 2.0**-12
"""Least distance of the first firing level from the threshold, as a share of the highest level: below a bin's width."""


def lloyd_max(
    histogram: StreamingHistogram,
    bits: int,
    threshold: float = 1.0,
    *,
    keep_zero: bool = False,
    firing: str = "midpoint",
    near_threshold: float = 0.0,
) -> Fitted:
    """The levels that minimise `mean w(u) (level[encode(u)] - u)^2` over observed membranes.

    Args:
        histogram: observed membranes `u`.
        bits: bits of a code.
        threshold: firing threshold of the neurons.
        keep_zero: 0 stays a level, where silent neurons rest.
        firing: `"midpoint"` or `"threshold"`, where the boundary of firing lies; see `Fitted`.
        near_threshold: how much more an error at the threshold counts; see `quantization_error`.

    Returns:
        A spec with at least one silent and one firing level, also where no membrane, or every one, fires.

    Raises:
        TypeError, ValueError: for an empty histogram, or arguments out of their range.

    Source: Lloyd 1982, IEEE Transactions on Information Theory 28; Max 1960, IRE Transactions on Information Theory 6.

    Example:
        >>> import torch
        >>> histogram = StreamingHistogram()
        >>> histogram.add(torch.tensor([-1.0, -1.0, 0.0, 0.5, 2.0]))
        >>> [round(level, 2) for level in lloyd_max(histogram, 2).unit_levels]
        [-1.0, 0.0, 0.5, 2.0]
    """
    check_int("bits", bits, 1, 8)
    check_real("threshold", threshold, 0.0, open_low=True)
    check_type("keep_zero", keep_zero, bool, "True or False")
    check_choice("firing", firing, FIRING)
    x, w = _points(histogram, bits, threshold, near_threshold)
    wall = 1.0 if firing == "threshold" else None
    levels = lloyd(best_levels(x, w, 2**bits, keep_zero, wall), x, w, keep_zero=keep_zero, wall=wall)
    if not levels[0] <= 1.0 < levels[-1]:
        # The least error puts no level, or every one, above the threshold: what fires gets cells of its own first.
        levels = lloyd(best_levels(x, w, 2**bits, keep_zero, 1.0), x, w, keep_zero=keep_zero, wall=1.0)
        levels = lloyd(levels, x, w, keep_zero=keep_zero, wall=wall, least=1.0 + _CLEAR, most=1.0)
    levels = np.where(levels > 1.0, np.maximum(levels, 1.0 + _CLEAR * max(1.0, levels[-1])), levels)
    return Fitted(bits, tuple(levels.tolist()), firing)


def lloyd(
    levels: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    *,
    keep_zero: bool = False,
    wall: float | None = None,
    least: float = -np.inf,
    most: float = np.inf,
    turns: int = 500,
) -> np.ndarray:
    """Lloyd's turns from given levels until nothing moves: cells from midpoints, levels from means.

    Args:
        levels: rising, float64.
        x: sorted points.
        w: their weights.
        keep_zero: a level at 0 stays there.
        wall: a boundary that stays, or None.
        least: what the highest level is at least.
        most: what the lowest level is at most.
        turns: how many at most.

    Returns:
        Levels of no larger error.

    Example:
        >>> lloyd(np.array([0.0, 1.0]), np.array([0.0, 2.0, 3.0]), np.ones(3))
        array([0. , 2.5])
    """
    for _ in range(turns):
        bounds = (levels[1:] + levels[:-1]) / 2
        if wall is not None:
            bounds[np.searchsorted(levels, wall, side="right") - 1] = wall
        cells = np.searchsorted(bounds, x)
        weight = np.bincount(cells, w, len(levels))
        means = np.divide(np.bincount(cells, w * x, len(levels)), weight, out=levels.copy(), where=weight > 0)
        moved = np.where(levels == 0.0, 0.0, means) if keep_zero else means
        moved[0], moved[-1] = min(moved[0], most), max(moved[-1], least)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return levels


def best_levels(x: np.ndarray, w: np.ndarray, count: int, keep_zero: bool, wall: float | None) -> np.ndarray:
    """`count` levels of globally least error, up to the grouping of more than 512 points in a part.

    The line falls into parts at 0 (which is a level) and at the wall (which is a boundary); each part knows its least
    error for every number of levels, and the numbers are shared out for the least sum.

    Args:
        x: sorted points.
        w: their weights, positive.
        count: number of levels, the one at 0 included.
        keep_zero: whether one level is 0.
        wall: a boundary, above 0, or None.
    """
    free = count - keep_zero
    cuts = ([0.0] if keep_zero else []) + ([] if wall is None else [wall])
    edges = [0, *(int(np.searchsorted(x, cut, side="right")) for cut in cuts), len(x)]
    parts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        # Zero is the first cut: at the end of the first part and at the start of the second.
        mirrored = keep_zero and number == 0
        points, weights = x[start:stop], w[start:stop]
        points, weights = (-points[::-1], weights[::-1]) if mirrored else (points, weights)
        parts.append((_Part.of(points, weights, free, anchored=keep_zero and number < 2), mirrored))
    shares = _share_out([part.errors for part, _ in parts], free)
    levels = [part.levels(k) * (-1 if mirrored else 1) for (part, mirrored), k in zip(parts, shares, strict=True)]
    return np.sort(np.concatenate([*levels, [0.0] * keep_zero]))


@dataclass(frozen=True)
class _Part:
    """An interval of points, its least error for `0 .. count` levels, and where the cells then begin."""

    errors: np.ndarray
    starts: np.ndarray
    weight: np.ndarray
    moment: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, w: np.ndarray, count: int, anchored: bool) -> _Part:
        """With an anchor a first cell of points, which may be empty, goes to a level at 0 that is not counted."""
        group = -(-len(x) // _POINTS)
        ends = np.unique(np.append(np.arange(0, len(x), max(group, 1)), len(x)))
        weight, moment, square = (np.append(0.0, np.cumsum(w * x**power))[ends] for power in range(3))
        spread = np.full((len(ends), len(ends)), np.inf)
        rows, columns = np.triu_indices(len(ends), 1)
        mass, first = weight[columns] - weight[rows], moment[columns] - moment[rows]
        spread[rows, columns] = np.maximum(square[columns] - square[rows] - first**2 / mass, 0.0)
        best = square if anchored else np.where(np.arange(len(ends)) == 0, 0.0, np.inf)
        errors, starts = [best[-1]], [np.zeros(len(ends), dtype=np.int64)]
        for _ in range(count):
            through = best[:, None] + spread
            starts.append(through.argmin(0))
            best = np.take_along_axis(through, starts[-1][None], 0)[0]
            errors.append(best[-1])
        return cls(np.array(errors), np.array(starts), weight, moment)

    def levels(self, count: int) -> np.ndarray:
        """The means of the best `count` cells."""
        ends = [len(self.weight) - 1]
        for k in range(count, 0, -1):
            ends.append(int(self.starts[k, ends[-1]]))
        cells = np.array(ends[::-1])
        return np.diff(self.moment[cells]) / np.diff(self.weight[cells])


def _share_out(errors: list[np.ndarray], count: int) -> list[int]:
    """How many levels each part gets, for the least sum of errors."""
    totals, choices = errors[0], []
    for part in errors[1:]:
        split = np.full((count + 1, count + 1), np.inf)  # [levels so far, levels of this part]
        for here in range(count + 1):
            split[here:, here] = totals[: count + 1 - here] + part[here]
        choices.append(split.argmin(1))
        totals = split.min(1)
    shares, left = [], count
    for choice in reversed(choices):
        shares.append(int(choice[left]))
        left -= shares[-1]
    return [left, *shares[::-1]]


def _points(
    histogram: StreamingHistogram, bits: int, threshold: float, near_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted positions in thresholds and their weights, with a floor of weight around 0 and the threshold."""
    counts = weighted_counts(histogram, threshold, near_threshold).numpy()
    seen = counts > 0
    x, w = histogram.centres.numpy()[seen] / threshold, counts[seen]
    spread = np.linspace(min(x[0], -0.5), max(x[-1], 1.5), 8 * 2**bits + 1)
    padded = np.concatenate([[-np.inf], x, [np.inf]])
    after = np.searchsorted(padded, spread)
    distance = np.minimum(spread - padded[after - 1], padded[after] - spread)
    spread = spread[distance > (spread[1] - spread[0]) / 2]  # only where nothing was observed
    floor = np.full(len(spread), _FLOOR * w.sum() / (8 * 2**bits))
    x, w = np.concatenate([x, spread]), np.concatenate([w, floor])
    order = np.argsort(x, kind="stable")
    return x[order], w[order]
