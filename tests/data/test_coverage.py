"""What binning cuts: counted against a plain loop, said for every data set, and refused where it is too much."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from event_formats import write_own_events, write_shd
from squat.data import coverage as module
from squat.data import load, sources, spoken_digits
from squat.data.coverage import Coverage, coverage, percent


@given(
    recordings=st.lists(st.lists(st.integers(0, 60), max_size=6), min_size=1, max_size=6),
    steps=st.integers(1, 6),
    ticks=st.sampled_from([1, 3, 2.5, 7]),
    at_once=st.sampled_from([1, 4, 1 << 22]),
    kind=st.sampled_from([np.uint16, np.int64, np.float32]),
)
def test_counts_equal_a_plain_loop(recordings, steps, ticks, at_once, kind):
    times = np.array([time for one in recordings for time in one], dtype=kind)
    offsets = np.cumsum([0, *map(len, recordings)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EVENTS_AT_ONCE", at_once)
        found = coverage(times, offsets, steps=steps, ticks_per_bin=ticks, bin_ms=1.0)
    bins = [[int(time // ticks) for time in times[a:b].tolist()] for a, b in pairwise(offsets)]
    late = [sum(step >= steps for step in one) for one in bins]
    assert (found.events, found.late) == (len(times), sum(late))
    assert found.shortened == sum(map(bool, late))
    assert found.empty == sum(count == len(one) for count, one in zip(late, bins, strict=True))
    assert found.silent == sum(not one for one in bins)
    assert found.longest == max((max(one) for one in bins if one), default=-1) + 1


def test_a_share_is_only_called_all_or_nothing_where_it_is():
    assert [percent(*pair) for pair in ((0, 9), (9, 9), (1, 3), (9999, 10000), (99999, 100000))] == [
        "0 %",
        "100 %",
        "33 %",
        "99.99 %",
        "99.99 %",
    ]


def test_nothing_cut_is_said_too_and_times_that_are_too_short():
    assert str(coverage(np.array([0, 9]), np.array([0, 2]), steps=2, ticks_per_bin=5, bin_ms=0.5)) == (
        "all 2 events of 1 recordings within 2 steps of 0.5 ms"
    )
    seconds_as_microseconds = coverage(np.array([0, 9]), np.array([0, 2]), steps=100, ticks_per_bin=1e4, bin_ms=10.0)
    assert "all lie in the first 1 of 100: is the unit of the times right, bin_ms?" in str(seconds_as_microseconds)


def write(path, unit, scale=1, **changes):
    """40 samples of 200 events over a million times `scale`, in units that are declared to be `unit` seconds."""
    rng = np.random.default_rng(0)
    count = np.full(40, 200)
    arrays = {
        "times": rng.integers(1000, 1_000_000, count.sum()) * scale,
        "units": rng.integers(0, 8, count.sum()),
        "offsets": np.r_[0, count.cumsum()],
        "time_unit_s": unit,
        "channels": 8,
        "label": np.arange(40) % 4,
    } | changes
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("unit", "declared"), [(1.0, "seconds"), (1e-3, "milliseconds"), (60.0, "units of 60 s")], ids=str
)
def test_a_wrong_unit_is_named(tmp_path, unit, declared, stream):
    path = write(tmp_path / "mine.h5", unit)
    with pytest.raises(
        ValueError, match=rf"mine.h5: 8,000 of 8,000 events \(100 %\).*; 40 recordings .* declared as {declared} "
    ) as error:
        load(path, stream=stream)
    text = str(error.value)
    assert "times look like microseconds declared as" in text
    assert "(time_unit_s=1e-06 in the file if so" in text
    assert text.endswith("accept_loss=true (--data-option) takes the data as they are")
    assert load(path, stream=stream, accept_loss=True).coverage.late == 8000


@pytest.mark.parametrize("stream", [False, True])
def test_the_proposed_options_hold_every_event(tmp_path, stream):
    path = write(tmp_path / "mine.h5", 1e-6, scale=3)
    with pytest.raises(ValueError, match=r"recordings are longer than the steps \(steps=300 or bin_ms=30 would hold"):
        load(path, stream=stream)
    for options in ({"steps": 300}, {"bin_ms": 30}):
        data = load(path, stream=stream, **options)
        assert data.coverage.late == 0
        assert data.coverage.longest <= data.steps


def test_a_tenth_may_be_cut(tmp_path):
    times = np.tile(np.r_[np.arange(180), np.full(20, 999)], 40)
    path = write(tmp_path / "mine.h5", 1e-3, times=times)
    assert load(path, steps=18).coverage.late_share == 0.1
    times[0] = 999
    with pytest.raises(ValueError, match=r"801 of 8,000 events .*more than 10% of the events would be lost"):
        load(write(path, 1e-3, times=times), steps=18)


def test_most_recordings_without_events_are_refused_whatever_the_cause(tmp_path):
    path = write(tmp_path / "mine.h5", 1e-6, offsets=np.r_[np.zeros(22, int), np.linspace(0, 8000, 19).astype(int)])
    with pytest.raises(ValueError, match=r"22 of 40 recordings have no event at all: look at `offsets`"):
        load(path)
    assert load(path, accept_loss=True).coverage.silent == 22
    with pytest.raises(TypeError, match=r"accept_loss=1: expected True or False"):
        load(path, accept_loss=1)


def test_spoken_digits_say_what_is_cut():
    digits = load("spoken_digits")
    assert digits.notes == [
        "3,108 of 12,178,255 events (0.026 %) in 20 of 3,000 recordings (0.67 %) past the last of 100 steps of 10 ms, "
        "and left out"
    ]
    assert digits.describe()["coverage"]["late"] == 3108
    short = load("spoken_digits", steps=43).coverage
    whole, kept = (
        sum(int(part.inputs.counts().sum()) for part in load("spoken_digits", steps=t).parts.values())
        for t in (100, 43)
    )
    assert (short.events, short.events - short.late, short.counted) == (whole, kept, "spikes")


def test_fewer_steps_shorten_as_many_recordings_as_in_the_full_file(data_file):
    full = spoken_digits.bin_recordings(data_file("spoken_digits/spoken_digits_700ch.npz"), 140, 10.0, 43)
    assert load("spoken_digits", steps=43).coverage.shortened == int((full.late > 0).sum())


def test_small_nmnist_says_what_is_cut(data_file):
    data_file("nmnist_small/nmnist_small.npz")
    found = load("nmnist_small", steps=10).coverage
    assert (found.late, found.shortened, found.bin_ms) == (88, 1, 32.0)


def test_converted_originals_say_what_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    folder = str(write_shd(tmp_path / "shd", samples=100))
    whole = load("shd", folder=folder, steps=200, bin_ms=10)
    short = load("shd", folder=folder, steps=20, bin_ms=10)
    assert whole.coverage.late == 0
    assert short.coverage.late > 0.1 * whole.coverage.events  # said, but the files' unit is known and steps were chosen
    assert short.coverage.longest == whole.coverage.longest
    with pytest.raises(
        ValueError, match=r"shd: .*; most recordings would be lost: recordings are longer than the steps"
    ):
        load("shd", folder=folder, steps=2, bin_ms=0.001)


def test_streamed_and_loaded_files_count_alike(tmp_path):
    path = write_own_events(tmp_path / "own.h5")
    options = {"steps": 7, "bin_ms": 11.0, "accept_loss": True}
    assert load(path, **options).coverage == load(path, stream=True, **options).coverage
    assert isinstance(load(path, **options).coverage, Coverage)


def test_what_is_left_of_spikes_is_counted_by_sample():
    spikes = load("spoken_digits").test.take(torch.arange(3)).inputs
    assert spikes.counts().tolist() == spikes.gather(torch.arange(3)).sum((0, 2)).tolist()
