"""Van Rossum's distance against its integral on a fine grid, and in the cases that have a formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from squat.ptq import van_rossum
from squat.ptq.distance import SpikeDistance


def _trains(seed: int, rate: float = 0.2) -> torch.Tensor:
    return (torch.rand(40, 3, 2, generator=torch.Generator().manual_seed(seed)) < rate).float()


@pytest.mark.parametrize("tau", [0.7, 5.0, 30.0])
def test_it_is_the_integral_of_the_squared_difference_of_filtered_trains(tau):
    a, b = _trains(0), _trains(1)
    fine = 200
    t = (np.arange(int((40 + 12 * tau) * fine)) + 0.5) / fine
    for place in ((0, 0), (2, 1)):
        filtered = [
            sum(np.where(t >= k, np.exp(-(t - k) / tau), 0.0) for k in np.flatnonzero(train[(slice(None), *place)]))
            for train in (a.numpy(), b.numpy())
        ]
        integral = ((filtered[0] - filtered[1]) ** 2).sum() / fine / tau
        assert float(van_rossum(a, b, tau)[place]) == pytest.approx(math.sqrt(integral), rel=1e-4)


def test_known_distances():
    a, b = torch.zeros(60, 1), torch.zeros(60, 1)
    assert float(van_rossum(a, b)) == 0.0
    a[5] = 1
    assert float(van_rossum(a, b)) ** 2 == pytest.approx(0.5)
    b[5] = 1
    assert float(van_rossum(a, b)) == 0.0
    b[5], b[8] = 0, 1
    assert float(van_rossum(a, b, 4.0)) ** 2 == pytest.approx(1 - math.exp(-3 / 4))
    last = torch.zeros(60, 1)
    last[-1] = 1
    assert float(van_rossum(last, torch.zeros(60, 1), 20.0)) ** 2 == pytest.approx(0.5)


def test_it_is_a_distance():
    a, b, c = (van_rossum(_trains(i), _trains(j)) for i, j in ((0, 1), (1, 2), (0, 2)))
    assert bool((c <= a + b + 1e-12).all())
    assert torch.equal(van_rossum(_trains(0), _trains(1)), van_rossum(_trains(1), _trains(0)))
    assert van_rossum(_trains(0), _trains(1)).shape == (3, 2)


def test_bad_trains_are_refused():
    with pytest.raises(ValueError, match=r"reference: shape \(40, 3\), expected \(40, 3, 2\) \[T, ...\] like spikes"):
        van_rossum(_trains(0), _trains(1)[..., 0])
    with pytest.raises(ValueError, match=r"time_constant=0.0: expected a finite number > 0"):
        van_rossum(_trains(0), _trains(1), 0.0)


def test_sums_over_batches_are_means_over_all_trains():
    whole, parts = SpikeDistance(10.0), SpikeDistance(10.0)
    a, b = _trains(0), _trains(1, 0.3)
    whole.add(a, b)
    for k in range(3):
        parts.add(a[:, k : k + 1], b[:, k : k + 1])
    one, two = whole.summary(), parts.summary()
    assert one.differing == two.differing == float((a != b).double().mean())
    assert one.count_difference == pytest.approx(float((a.sum(0) - b.sum(0)).abs().mean()))
    assert one.count_change == pytest.approx(float(a.sum(0).mean() - b.sum(0).mean()))
    assert one.van_rossum == pytest.approx(two.van_rossum) == pytest.approx(float(van_rossum(a, b).mean()))
    assert one.van_rossum_to_silence == pytest.approx(float(van_rossum(b * 0, b).mean()))
