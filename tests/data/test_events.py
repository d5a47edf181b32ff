"""Binning against a plain loop, and events on the edges of bins."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from squat.data import events
from squat.data.events import bin_events, bin_of


def plain_frames(times, units, offsets, steps, channels, ticks):
    frames = torch.zeros(len(offsets) - 1, steps, channels)
    for sample, (first, last) in enumerate(pairwise(offsets)):
        for time, unit in zip(times[first:last].tolist(), units[first:last].tolist(), strict=True):
            if time // ticks < steps:
                frames[sample, int(time // ticks), unit] = 1
    return frames


@pytest.mark.parametrize("cells_at_once", [1, 1 << 22])
@pytest.mark.parametrize(("kind", "ticks"), [(np.uint16, 7), (np.int64, 2.5), (np.float32, 7), (np.float64, 1e-3)])
def test_binning_equals_a_plain_loop(monkeypatch, kind, ticks, cells_at_once):
    monkeypatch.setattr(events, "CELLS_AT_ONCE", cells_at_once)
    rng = np.random.default_rng(0)
    offsets = np.array([0, 30, 30, 200])
    times = (rng.integers(0, 100, 200) * (ticks if kind == np.float64 else 1)).astype(kind)
    units = rng.integers(0, 5, 200).astype(np.uint16)
    spikes = bin_events(times, units, offsets, steps=9, channels=5, ticks_per_bin=ticks)
    expected = plain_frames(times, units, offsets, 9, 5, ticks)
    assert torch.equal(spikes.gather(torch.arange(3)), expected.transpose(0, 1))


@pytest.mark.parametrize("kind", [np.uint16, np.uint64, np.float64])
def test_an_event_on_an_edge_opens_the_next_bin(kind):
    edges = np.arange(100) * 240
    # 0.01 / (1/24000) is not exactly 240 in floats; the bins must be as if it were.
    assert bin_of(edges.astype(kind), 0.01 / (1 / 24000)).tolist() == list(range(100))


def test_a_bin_that_is_no_whole_number_of_ticks_is_kept():
    assert bin_of(np.array([0, 2, 3, 5]), 2.5).tolist() == [0, 0, 1, 2]


def test_no_events_at_all():
    none = np.array([], dtype=np.int64)
    spikes = bin_events(none, none, np.zeros(3, dtype=np.int64), steps=4, channels=2, ticks_per_bin=1)
    assert (len(spikes), spikes.density()) == (2, 0)


def test_bins_beyond_64_bits_are_late():
    assert bin_of(np.array([2.0**52]), 1e-9).tolist() == [2**62]
