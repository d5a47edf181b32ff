"""The statistics on synthetic predictions of known effect, and against values computed by hand or elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from squat.ablation import stats
from squat.ablation.stats import holm, paired_difference, t_interval, t_quantile


def draw(rng: np.random.Generator, seeds: int, samples: int, first: float, second: float, wobble: float = 0.0):
    """Two cells' right answers: shared difficulty of samples, own noise, accuracies that wobble over seeds."""
    difficulty = rng.normal(size=samples)
    cells = []
    for accuracy in (first, second):
        level = np.quantile(rng.normal(size=20_000) * np.sqrt(1.5), accuracy) + wobble * rng.normal(size=(seeds, 1))
        cells.append(difficulty + np.sqrt(0.5) * rng.normal(size=(seeds, samples)) < level)
    return cells


def test_sign_and_size_of_a_known_effect() -> None:
    first, second = draw(np.random.default_rng(0), 5, 2000, 0.70, 0.60)
    found = paired_difference(first, second)
    assert found.interval[0] < found.mean < found.interval[1]
    assert 7 < found.mean < 13
    assert found.p < 0.001
    back = paired_difference(second, first)
    assert back.mean == -found.mean
    assert back.p < 0.001


def test_coverage_without_a_difference() -> None:
    """The 95 % interval holds 0 in at least about 95 % of experiments: noise counts over seeds and over samples."""
    rng = np.random.default_rng(1)
    covered = significant = 0
    for number in range(200):
        found = paired_difference(*draw(rng, 5, 300, 0.6, 0.6), resamples=500, seed=number)
        covered += found.interval[0] <= 0 <= found.interval[1]
        significant += found.p < 0.05
    assert covered >= 0.92 * 200
    assert significant <= 0.08 * 200


def test_seeds_count_as_samples_do() -> None:
    """Where seeds disagree, more test samples do not make the interval small."""
    rng = np.random.default_rng(2)
    found = paired_difference(*draw(rng, 4, 20_000, 0.6, 0.6, wobble=0.3))
    fixed = paired_difference(*draw(rng, 4, 20_000, 0.6, 0.6))
    assert found.interval[1] - found.interval[0] > 4 * (fixed.interval[1] - fixed.interval[0])


def test_both_ways_of_drawing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = draw(np.random.default_rng(3), 3, 400, 0.62, 0.6)
    counts = paired_difference(first, second, resamples=4000)
    monkeypatch.setattr(stats, "FEW_PATTERNS", 0)
    indices = paired_difference(first, second, resamples=4000)
    assert counts.mean == indices.mean
    assert np.allclose(counts.interval, indices.interval, atol=0.3)
    assert np.isclose(counts.detectable, indices.detectable, rtol=0.06)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(4)
    first, second = draw(rng, 3, 1000, 0.65, 0.60)
    shuffled = rng.permuted(second, axis=1)
    assert paired_difference(first, second).detectable < paired_difference(first, shuffled).detectable


def test_standard_error_by_hand_for_one_seed() -> None:
    """With one seed the bootstrap is over samples: its standard error is std(d) / sqrt(n)."""
    rng = np.random.default_rng(5)
    first, second = draw(rng, 1, 500, 0.7, 0.6)
    d = first.astype(float) - second
    expected = 100 * d.std() / np.sqrt(500) * stats.DETECTABLE
    found = paired_difference(first, second)
    assert np.isclose(found.detectable, expected, rtol=0.03)
    assert found.t_interval is None
    assert found.seeds == 1


def test_seeded() -> None:
    first, second = draw(np.random.default_rng(6), 3, 100, 0.7, 0.6)
    assert paired_difference(first, second) == paired_difference(first, second)
    assert paired_difference(first, second) != paired_difference(first, second, seed=1)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (99, 1.98422)]
)
def test_t_quantiles_of_the_tables(freedom: int, value: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(value, abs=2e-5)
    assert t_quantile(0.025, freedom) == pytest.approx(-value, abs=2e-5)


def test_t_interval_by_hand() -> None:
    # mean 2, std 1, n 3: 2 +- 4.30265 / sqrt(3)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert t_interval([5.0]) is None


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04 -> running maximum 0.02, 0.03, 0.06, 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_refusals() -> None:
    right = np.ones((3, 10), dtype=bool)
    with pytest.raises(ValueError, match=r"first \(3, 10\), second \(2, 10\): expected two equal shapes"):
        paired_difference(right, right[:2])
    with pytest.raises(ValueError, match=r"expected two equal shapes .*, not empty"):
        paired_difference(right[:, :0], right[:, :0])
    with pytest.raises(ValueError, match="resamples=5: expected an integer >= 100"):
        paired_difference(right, right, resamples=5)
