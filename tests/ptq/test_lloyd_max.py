"""Lloyd-Max levels against every possible split of tiny histograms, and against what an optimum must satisfy."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

import squat
from squat.ptq import StreamingHistogram, fit_shape, lloyd_max, quantization_error
from squat.ptq.lloyd_max import best_levels, lloyd

ANCHORS = [(False, "midpoint"), (True, "midpoint"), (False, "threshold"), (True, "threshold")]


def _histogram(values: torch.Tensor, bins: int = 4096) -> StreamingHistogram:
    histogram = StreamingHistogram(bins)
    histogram.add(values)
    return histogram


def _brute_force(x: np.ndarray, w: np.ndarray, count: int, keep_zero: bool, wall: float | None) -> float:
    """Least error over all contiguous cells, each with its mean or, one of them, with 0 as its level."""
    least = np.inf
    for cells in range(1, count + 1):
        for cuts in combinations(range(1, len(x)), cells - 1):
            parts = list(zip((0, *cuts), (*cuts, len(x)), strict=True))
            if wall is not None and any(x[a] <= wall < x[b - 1] for a, b in parts):
                continue
            square = [float((w[a:b] * x[a:b] ** 2).sum()) for a, b in parts]
            own = [
                s - float((w[a:b] * x[a:b]).sum()) ** 2 / w[a:b].sum() for s, (a, b) in zip(square, parts, strict=True)
            ]
            if keep_zero:
                pinned = [sum(own) - one + s for one, s in zip(own, square, strict=True)]
                least = min(least, *pinned, *([sum(own)] if cells < count else []))
            else:
                least = min(least, sum(own))
    return least


@pytest.mark.parametrize(("keep_zero", "firing"), ANCHORS)
@pytest.mark.parametrize("seed", range(12))
def test_levels_have_the_least_error_of_all_splits(seed, keep_zero, firing):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.choice(np.arange(-30, 31), 9, replace=False)) / 10 + 0.013
    w = rng.integers(1, 50, 9).astype(float)
    wall = 1.0 if firing == "threshold" else None
    levels = best_levels(x, w, 4, keep_zero, wall)
    bounds = (levels[1:] + levels[:-1]) / 2
    if wall is not None:
        bounds[np.searchsorted(levels, wall, side="right") - 1] = wall
    error = float((w * (levels[np.searchsorted(bounds, x)] - x) ** 2).sum())
    assert len(levels) == 4
    assert error == pytest.approx(_brute_force(x, w, 4, keep_zero, wall), rel=1e-9, abs=1e-9)
    assert np.allclose(lloyd(levels, x, w, keep_zero=keep_zero, wall=wall), levels, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_every_turn_lowers_the_error(seed):
    rng = np.random.default_rng(seed)
    x, w = np.sort(rng.normal(size=300)), rng.random(300)
    levels = np.sort(rng.normal(size=8))
    errors = []
    for _ in range(60):
        bounds = (levels[1:] + levels[:-1]) / 2
        errors.append(float((w * (levels[np.searchsorted(bounds, x)] - x) ** 2).sum()))
        levels = lloyd(levels, x, w, turns=1)
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(errors))
    assert errors[-1] < errors[0]


def test_the_result_is_what_an_optimum_must_be():
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 1.5
    spec = lloyd_max(_histogram(values), 3)
    x = _histogram(values).centres.numpy()
    counts = _histogram(values).counts.numpy()
    codes = np.searchsorted(spec.boundaries(dtype=torch.float64).numpy(), x)
    means = np.bincount(codes, counts * x, 8) / np.bincount(codes, counts, 8)
    assert np.allclose(means, spec.unit_levels, atol=1e-4)


@pytest.mark.parametrize(("scale", "threshold", "bits"), [(0.3, 0.4, 2), (1.0, 7.0, 3), (20.0, 1.0, 4)])
def test_no_other_rule_has_less_error(scale, threshold, bits):
    values = (torch.randn(5000, generator=torch.Generator().manual_seed(1)) - 0.5) * scale * threshold
    histogram = _histogram(values)
    least = quantization_error(lloyd_max(histogram, bits, threshold), histogram, threshold)
    for kind in (squat.Uniform, squat.ThresholdCentered):
        assert least <= quantization_error(fit_shape(kind(bits), histogram, threshold), histogram, threshold) * 1.001


@pytest.mark.parametrize(("keep_zero", "firing"), ANCHORS)
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize(
    "values",
    [
        torch.linspace(-0.5, 0.5, 100),
        torch.linspace(3.0, 9.0, 100),
        torch.zeros(5),
        torch.tensor([1.0]),
        torch.tensor([-4000.0, 0.2, 5000.0]),
        torch.tensor([0.999, 1.001]),
    ],
    ids=["silent", "always firing", "zero", "at the threshold", "far", "about the threshold"],
)
def test_there_are_always_silent_and_firing_levels(values, bits, keep_zero, firing):
    spec = lloyd_max(_histogram(values), bits, keep_zero=keep_zero, firing=firing)
    assert len(spec.unit_levels) == 2**bits
    assert 0 < spec.first_firing_code() < 2**bits
    assert (0.0 in spec.unit_levels) or not keep_zero
    if firing == "threshold":
        assert float(spec.boundaries()[spec.first_firing_code() - 1]) == 1.0


def test_levels_scale_with_the_threshold():
    values = torch.randn(3000, generator=torch.Generator().manual_seed(2))
    one, four = (lloyd_max(_histogram(values * theta), 3, theta) for theta in (1.0, 4.0))
    assert four.unit_levels == pytest.approx(one.unit_levels, abs=1e-9)


def test_weight_near_the_threshold_serves_the_membranes_there():
    histogram, close = _histogram(torch.linspace(-6.0, 6.0, 4001)), _histogram(torch.linspace(0.9, 1.1, 101))
    errors = [
        quantization_error(lloyd_max(histogram, 3, near_threshold=weight), close) for weight in (0.0, 100.0, 10_000.0)
    ]
    assert errors[2] < errors[1] < errors[0]


def test_anchors_are_kept_and_cost_little():
    histogram = _histogram(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    errors = {
        key: quantization_error(lloyd_max(histogram, 4, keep_zero=key[0], firing=key[1]), histogram) for key in ANCHORS
    }
    assert min(errors.values()) == errors[(False, "midpoint")]
    assert errors[(True, "threshold")] < 1.3 * errors[(False, "midpoint")]


def test_bad_arguments_are_refused():
    histogram = _histogram(torch.linspace(-1, 2, 50))
    with pytest.raises(ValueError, match="histogram is empty: expected observed membranes"):
        lloyd_max(StreamingHistogram(), 4)
    with pytest.raises(ValueError, match="bits=9: expected an integer from 1 to 8"):
        lloyd_max(histogram, 9)
    with pytest.raises(ValueError, match=r"threshold=0.0: expected a finite number > 0"):
        lloyd_max(histogram, 4, 0.0)
    with pytest.raises(TypeError, match="keep_zero=1: expected True or False"):
        lloyd_max(histogram, 4, keep_zero=1)
    with pytest.raises(ValueError, match="firing='early': expected one of 'midpoint', 'threshold'"):
        lloyd_max(histogram, 4, firing="early")
    with pytest.raises(ValueError, match=r"near_threshold=-1.0: expected a finite number >= 0"):
        lloyd_max(histogram, 4, near_threshold=-1.0)


def test_eight_bits_use_all_their_levels():
    histogram = _histogram(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    spec = lloyd_max(histogram, 8, keep_zero=True, firing="threshold")
    assert len(set(spec.levels().tolist())) == 256
    assert quantization_error(spec, histogram) < quantization_error(squat.Anchored(8), histogram)
