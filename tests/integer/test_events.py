"""Event lists as input."""

from __future__ import annotations

import numpy as np
import pytest

import squat
from squat.integer.events import event_steps


def test_events_run_like_the_same_spikes():
    net = squat.Sequential(squat.RLIF(9, 7, weight=squat.IntWeight(4), state=squat.Anchored(4)))
    machine = squat.lower(net)
    x = (np.random.default_rng(0).random((12, 1, 9)) < 0.3).astype(np.uint8)
    times, _, units = np.nonzero(x)
    assert np.array_equal(event_steps(times, units, 12, 9), x)
    result = machine.run_events(times, units, 12)
    assert np.array_equal(result.codes[0], machine.run(x).codes[0])
    whole = machine.run_events([], [], 3)
    assert np.array_equal(whole.codes[0], machine.run(np.zeros((3, 1, 9))).codes[0])


@pytest.mark.parametrize(
    ("times", "units", "error", "text"),
    [
        ([0, 2, 1], [0, 0, 0], ValueError, "times: 1 after 2 at event 2; sort the events"),
        ([0, 5], [0, 0], ValueError, "times: 5 at event 1, expected 0 to 4"),
        ([-1], [0], ValueError, "times: -1 at event 0, expected 0 to 4"),
        ([0, 1], [0, 4], ValueError, "units: 4 at event 1, expected 0 to 3"),
        ([0, 1], [0], ValueError, "units: 1 entries for 2 times, expected one for each event"),
        ([0.5], [0], TypeError, r"times: float64 of shape \(1,\), expected a list of integers"),
        ([0], ["a"], TypeError, "units: .*expected a list of integers"),
    ],
)
def test_bad_events_are_refused(times, units, error, text):
    with pytest.raises(error, match=text):
        event_steps(times, units, 5, 4)
