"""Events on disk: binning and variation against plain specifications, and the errors of files that change or lie."""

from __future__ import annotations

import os
from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from event_formats import write_own_events
from squat.data import load
from squat.data.event_file import EventFile, locate_array
from squat.data.events import bin_of
from squat.data.stream import AS_RECORDED, EventStream, Grid, Variation

MASK = 2**64 - 1


def stream_of(folder, times, units, offsets, grid, steps, ticks, layout=None) -> EventStream:
    path = folder / "events.h5"
    with h5py.File(path, "w") as file:
        file["times"], file["units"] = times, units
    file = EventFile(path, locate_array(path, "times"), locate_array(path, "units"), np.asarray(offsets))
    samples = torch.arange(len(offsets) - 1)
    return EventStream(file, samples, grid, steps, ticks, grid.shape if layout is None else layout)


def draw(key: int, place: int) -> int:
    """SplitMix64, in Python's integers."""
    word = (key + (place + 1) * 0x9E3779B97F4A7C15) & MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


def whole(reach: int, bits: int) -> int:
    return (bits >> 33) % (2 * reach + 1) - reach


def plain_frames(times, units, offsets, grid: Grid, steps: int, ticks: float, vary: Variation = AS_RECORDED):
    """The specification: every event on its own, in numpy and Python."""
    planes, rows, columns = grid.shape
    frames = np.zeros((steps, len(offsets) - 1, planes, rows, columns), np.float32)
    for sample, (first, last) in enumerate(pairwise(offsets)):
        key = draw(draw(draw(vary.seed, 0), vary.epoch), sample)
        flip = vary.flip and draw(key, 0) & 1
        dx, dy = whole(vary.channel_shift, draw(key, 1)), whole(vary.channel_shift, draw(key, 2)) * (rows > 1)
        stretch = 1 + vary.time_warp * (2 * (draw(key, 3) >> 11) * 2.0**-53 - 1)
        for place, (time, unit) in enumerate(zip(times[first:last], units[first:last], strict=True)):
            step = int(bin_of(np.array([time]), ticks)[0] if stretch == 1 else int(time) * (stretch / ticks))
            step += whole(vary.time_shift, draw(key, 4))
            step += whole(vary.time_jitter, draw(draw(key, 5), place))
            plane, row, column = np.unravel_index(int(unit), grid.sensor)
            row, column = row // grid.block[0], column // grid.block[1]
            row, column = row + dy, (columns - 1 - column if flip else column) + dx
            kept = (draw(draw(key, 6), place) >> 11) * 2.0**-53 >= vary.event_drop
            if kept and 0 <= step < steps and 0 <= row < rows and 0 <= column < columns:
                frames[step, sample, plane, row, column] = 1
    return torch.from_numpy(frames)


@st.composite
def recordings(draw_from):
    """Events of a few samples on a small sensor, with how they are binned."""
    blocks = draw_from(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    cells = draw_from(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4)))
    grid = Grid((cells[0], cells[1] * blocks[0], cells[2] * blocks[1]), blocks)
    counts = draw_from(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    total, channels = sum(counts), int(np.prod(grid.sensor))
    kind = draw_from(st.sampled_from([np.uint16, np.uint32, np.int64]))
    times = draw_from(st.lists(st.integers(0, 60_000), min_size=total, max_size=total))
    units = draw_from(st.lists(st.integers(0, channels - 1), min_size=total, max_size=total))
    ticks = draw_from(st.sampled_from([1.0, 7.0, 2.5, 5000.0, 9999.7, 0.01 / (1 / 24000)]))
    steps = draw_from(st.integers(1, 12))
    return np.array(times, kind), np.array(units, np.uint16), np.cumsum([0, *counts]), grid, steps, ticks


@settings(max_examples=60)
@given(recordings())
def test_binning_equals_the_specification(tmp_path_factory, case):
    stream = stream_of(tmp_path_factory.mktemp("events"), *case)
    frames = plain_frames(*case)
    order = torch.arange(len(stream)).flip(0)
    assert torch.equal(stream.gather(order), frames[:, order])
    assert torch.equal(stream.take(order).gather(torch.arange(len(stream))), frames[:, order])
    assert stream.density() == pytest.approx(frames.mean().item())


VARIATIONS = st.builds(
    Variation,
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    flip=st.booleans(),
    channel_shift=st.integers(0, 3),
    time_warp=st.sampled_from([0.0, 0.3, 0.99]),
    time_shift=st.integers(0, 4),
    time_jitter=st.integers(0, 2),
    event_drop=st.sampled_from([0.0, 0.5]),
)


@settings(max_examples=60)
@given(recordings(), VARIATIONS)
def test_varied_events_equal_the_specification(tmp_path_factory, case, variation):
    stream = stream_of(tmp_path_factory.mktemp("events"), *case)
    assert torch.equal(stream.gather(torch.arange(len(stream)), variation), plain_frames(*case, variation))


def test_a_variation_hangs_on_seed_epoch_and_sample_alone(tmp_path):
    path = write_own_events(tmp_path / "own.h5")
    stream = load(path, stream=True).train.inputs
    vary = Variation(3, 1, True, 2, 0.2, 2, 1, 0.3)
    whole_batch = stream.gather(torch.arange(20), vary)
    assert torch.equal(stream.gather(torch.tensor([7, 3]), vary), whole_batch[:, [7, 3]])
    for other in (Variation(4, 1, True, 2, 0.2, 2, 1, 0.3), Variation(3, 2, True, 2, 0.2, 2, 1, 0.3)):
        assert not torch.equal(stream.gather(torch.arange(20), other), whole_batch)
    fine = load(path, stream=True, steps=2000, bin_ms=0.05).train.inputs
    kept = fine.gather(torch.arange(20), Variation(event_drop=0.25)).sum() / fine.gather(torch.arange(20)).sum()
    assert float(kept) == pytest.approx(0.75, abs=0.03)


def test_a_streamed_file_gives_the_batches_of_the_file_in_memory(tmp_path):
    path = write_own_events(tmp_path / "own.h5")
    memory, disk = load(path, steps=13, bin_ms=7.7), load(path, steps=13, bin_ms=7.7, stream=True)
    assert (disk.train.streamed, memory.train.streamed) == (True, False)
    assert disk.describe()["bytes_in_memory"] < 3000
    for name, part in memory.parts.items():
        chosen = torch.arange(len(part)).flip(0)
        for first, second in zip(part.batch(chosen), disk.parts[name].batch(chosen), strict=True):
            assert torch.equal(first, second)
        assert disk.parts[name].inputs.density() == pytest.approx(part.inputs.density())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": None}, r"own.h5: `times`: missing; the file has channels, label, offsets"),
        (
            {"times": np.zeros(18000)},
            r"`times`: dtype float64 and shape \(18000,\); expected integers in \[E\], to be str",
        ),
        ({"times": np.zeros(18000, ">u4")}, r"`times`: dtype >u4 and shape \(18000,\); expected integers"),
        ({"times": np.zeros(17999, np.uint32)}, r"`units`: 18000 events; expected 17999, as many as in `times`"),
        ({"channels": None}, r"`channels`: missing; expected one integer, the number of channels"),
        ({"time_unit_s": None}, r"`time_unit_s`: missing; expected one positive number"),
        ({"offsets": np.arange(61)}, r"`offsets`: 61 values from 0 to 60; expected integers in \[N \+ 1\]"),
        ({"label": np.zeros(59, int)}, r"`label`: 59 values; expected 60 integers"),
    ],
)
def test_bad_files_are_refused_before_they_are_streamed(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(write_own_events(tmp_path / "own.h5", **changes), stream=True)


def test_what_cannot_be_streamed_is_refused(tmp_path):
    with h5py.File(write_own_events(tmp_path / "own.h5", units=None), "a") as file:
        file.create_dataset("units", data=np.zeros(18000, np.uint16), compression="gzip")
    with pytest.raises(ValueError, match=r"`units`: in chunks or compressed, which cannot be streamed; write it with"):
        load(tmp_path / "own.h5", stream=True)
    np.savez(tmp_path / "own.npz", x=np.zeros((20, 4, 3)))
    with pytest.raises(ValueError, match=r"own.npz: stream=True with the ending '.npz'; expected .h5 or .hdf5"):
        load(tmp_path / "own.npz", stream=True)
    with h5py.File(tmp_path / "dense.h5", "w") as file:
        file["x"], file["label"] = np.zeros((20, 4, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=r"`x`: dense, with the option `stream`; expected events in `times` and"):
        load(tmp_path / "dense.h5", stream=True)
    (tmp_path / "own.h5").write_bytes((tmp_path / "own.h5").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"own.h5: truncated, damaged, or not an HDF5 file"):
        load(tmp_path / "own.h5", stream=True)
    with pytest.raises(TypeError, match=r"stream=1: expected True or False"):
        load(tmp_path / "own.h5", stream=1)


@pytest.mark.parametrize(("name", "value", "shown"), [("units", 12, "channel 12"), ("times", -1, "time -1")])
def test_an_event_out_of_range_is_named_with_its_sample(tmp_path, name, value, shown):
    values = np.zeros(18000, np.int32)
    values[300 * 5 + 7] = value
    part = load(write_own_events(tmp_path / "own.h5", **{name: values}), stream=True).train
    assert part.batch(torch.tensor([4, 6]))[1].tolist() == [1, 0]
    with pytest.raises(
        ValueError, match=rf"sample 5 has an event of .*{shown}.*; expected times >= 0 and chan.* 0 to 11"
    ):
        part.batch(torch.tensor([4, 5]))


def test_a_file_that_shrinks_or_goes_is_no_crash(tmp_path):
    path = write_own_events(tmp_path / "own.h5")
    part = load(path, stream=True).test
    os.truncate(path, 5000)
    with pytest.raises(ValueError, match=r"own.h5: has changed since it was opened \(mmap length is greater than"):
        part.batch(torch.tensor([0]))
    path.unlink()
    with pytest.raises(ValueError, match=r"own.h5: has changed since it was opened \(.*No such file"):
        part.batch(torch.tensor([0]))


def test_no_event_at_all(tmp_path):
    stream = stream_of(tmp_path, np.zeros(0, np.uint32), np.zeros(0, np.uint16), [0, 0, 0], Grid((1, 1, 3)), 4, 1.0)
    assert stream.gather(torch.tensor([1, 0])).tolist() == torch.zeros(4, 2, 1, 1, 3).tolist()
