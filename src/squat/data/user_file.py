"""The user's own data: one `.npz` or `.h5` file in the layout of `docs/how-to/your-data.md`, checked array by array."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from squat.checks import check_real, check_type
from squat.data.coverage import Coverage, coverage
from squat.data.dataset import Dataset, cut
from squat.data.event_file import EventFile, locate_array
from squat.data.events import bin_events, check_steps
from squat.data.inputs import Constant, Inputs
from squat.data.labels import UNLABELLED
from squat.data.splits import AS_ASKED, TEST, TRAIN, VALIDATION, deal
from squat.data.stream import EventStream, Grid
from squat.data.user_arrays import EVENTS, INTEGERS, STREAMED, UserFile, open_user_file
from squat.data.user_dense import dense_inputs

FEW_CLASSES, CLASSES_PER_SAMPLE = 100, 10
"""More classes than this, altogether and for every sample, are taken for labels that are something else."""
OTHER_NAMES = ("labels", "y", "target", "targets", "class")
"""Arrays that look like labels: such a file is not taken for one without."""
LATEST = 2**53
"""Times that are not integers are binned in float64; beyond this it no longer tells neighbouring ticks apart."""
MANY_CHANNELS = 1 << 22
"""More must be stated."""
DEFAULT_STEPS, DEFAULT_BIN_MS = 100, 10.0
DEAL_PARTS, DEAL_SEED = 10, 0
DEALT = "dealt by class with a fixed seed: 70 % training, 10 % validation, 20 % test"
PART_OF_DEAL = (TEST, TEST, VALIDATION, *[TRAIN] * (DEAL_PARTS - 3))


def load_user_file(
    path: str | Path,
    *,
    steps: int | None = None,
    bin_ms: float | None = None,
    stream: bool = False,
    layout: str | None = None,
    whole: bool = False,
) -> Dataset:
    """A data set from one file: dense `x` or lists of events, and optionally `label` and `split`.

    Args:
        path: `.npz`, `.h5` or `.hdf5`.
        steps: time steps `T`: of events, by default 100; or how many steps the still samples of `x` are shown for.
        bin_ms: for events only: duration of a step in milliseconds, by default 10.
        stream: for events in HDF5 only: leave them on disk, and read and bin each batch when it is asked for.
        layout: for dense `x` only: "flat" takes images as flat features `[C*H*W]`, "image" insists on images; by
            default they are as the file has them, and still images `[N, H, W]` have one channel.
        whole: all samples are the test part, whatever the file says: to predict them.

    Returns:
        The data set. Without `split` in the file, samples are dealt by class: 70 % training, 10 % validation,
        20 % test; all are the test part if there are fewer than ten, or no labels.

    Raises:
        TypeError, ValueError: the file is missing or damaged, or an array is missing, of the wrong shape or kind, or
            out of range; the message names file and array.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(file, x=np.ones((20, 5, 3), dtype=np.uint8), label=np.arange(20) % 2)
        >>> mine = load_user_file(file)
        >>> len(mine.train), len(mine.validation), len(mine.test), mine.classes, mine.input_shape
        (14, 2, 4, 2, (3,))
    """
    check_type("stream", stream, bool, "True or False")
    check_type("whole", whole, bool, "True or False")
    file = open_user_file(Path(path), stream)
    dense = "x" in file.names
    if dense == any(name in file.names for name in EVENTS):
        either = "either dense `x`, or events in `times`, `units`, `offsets` and `time_unit_s`"
        raise file.refuse("x", f"the file has {', '.join(file.names) or 'no array'}", either)
    for option, given in (("stream", stream), ("bin_ms", bin_ms is not None)):
        if dense and given:
            raise file.refuse("x", f"dense, with the option `{option}`", "events in `times` and `units`")
    if layout is not None and not dense:
        raise file.refuse("units", "events, with the option `layout`", "dense images, `x`")
    inputs: Inputs
    covered, smallest, largest = None, 0, 1
    if dense:
        inputs, smallest, largest = dense_inputs(file, steps, layout)
    else:
        inputs, covered = (_streamed if stream else _events)(file, _bins(file, steps, bin_ms))
    still = f"still samples, each shown at every one of {inputs.steps} steps" if isinstance(inputs, Constant) else ""
    labels, classes = _labels(file, len(inputs))
    part, rule = _parts(file, labels, whole)
    return Dataset(
        name=str(path),
        **cut(inputs, labels, part),
        classes=classes,
        input_max=largest,
        input_min=smallest,
        input_scale=float(file.scalar("input_scale", 1.0)),
        description=f"The user's own data, {still or ('dense' if dense else 'events')}."
        + (" They are read batch by batch." if stream else ""),
        split_rule=rule,
        licence="the user's",
        source=str(path),
        coverage=covered,
    )


def options_for(path: str | Path, still: bool) -> tuple[str, ...]:
    """The options of `load_user_file` that fit what a file holds; `still` says that dense samples are still ones.

    Raises:
        ValueError: another ending, or the file is missing or damaged.
    """
    if "x" not in open_user_file(Path(path), names=()).names:
        return ("steps", "bin_ms", "stream", "whole")
    return ("steps", "layout", "whole") if still else ("layout", "whole")


class Bins(NamedTuple):
    """How a file's events are binned: number of bins, milliseconds and units of the file's times in a bin."""

    steps: int
    bin_ms: float
    ticks: float
    unit_s: float

    def coverage(self, times: np.ndarray, offsets: np.ndarray) -> Coverage:
        """What binning leaves of these events."""
        return coverage(
            times, offsets, steps=self.steps, ticks_per_bin=self.ticks, bin_ms=self.bin_ms, unit_s=self.unit_s
        )


def _events(file: UserFile, bins: Bins) -> tuple[Inputs, Coverage]:
    """Binned inputs from `times`, `units`, `offsets`, and what binning leaves out."""
    times = file.array("times", "iuf", (1,), "numbers in [E], in units of `time_unit_s`")
    units = file.array("units", INTEGERS, (1,), "integers in [E], one channel per event")
    if len(times) != len(units):
        raise file.refuse("units", f"{len(units)} events", f"{len(times)}, as many as in `times`")
    if len(times) and (times.min() < 0 or times.max() >= LATEST):
        raise file.refuse("times", f"values from {times.min()} to {times.max()}", f"0 to below {LATEST}")
    channels = file.count("channels", int(units.max(initial=0)) + 1, 1)
    if len(units) and (units.min() < 0 or units.max() >= channels):
        came = f"values from {units.min()} to {units.max()}"
        raise file.refuse("units", came, f"0 to {channels - 1} (`channels` - 1)")
    if "channels" not in file.arrays and channels > MANY_CHANNELS:
        came = f"{channels - 1}, of event {units.argmax()}"
        raise file.refuse(
            "units", came, f"channels from 0 to {MANY_CHANNELS - 1}, or their number stated as `channels`"
        )
    offsets = _offsets(file, len(times))
    spikes = bin_events(times, units, offsets, steps=bins.steps, channels=channels, ticks_per_bin=bins.ticks)
    return spikes, bins.coverage(times, offsets)


def _streamed(file: UserFile, bins: Bins) -> tuple[Inputs, Coverage]:
    """The same inputs, read when they are asked for; so is an event out of range only then found."""
    times, units = (locate_array(file.path, name) for name in STREAMED)
    if times.length != units.length:
        raise file.refuse("units", f"{units.length} events", f"{times.length}, as many as in `times`")
    if "channels" not in file.arrays:
        raise file.refuse("channels", "missing", "one integer, the number of channels, in a file that is streamed")
    channels = file.count("channels", 1, 1)
    offsets = _offsets(file, times.length)
    events = EventFile(file.path, times, units, offsets)
    samples, grid = torch.arange(len(offsets) - 1), Grid((1, 1, channels))
    stream = EventStream(events, samples, grid, bins.steps, bins.ticks, (channels,))
    return stream, bins.coverage(events.mapped()[0], offsets)


def _bins(file: UserFile, steps: int | None, bin_ms: float | None) -> Bins:
    steps = check_steps(DEFAULT_STEPS if steps is None else steps)
    bin_ms = check_real("bin_ms", DEFAULT_BIN_MS if bin_ms is None else bin_ms, 0.0, open_low=True)
    if "time_unit_s" not in file.arrays:
        raise file.refuse("time_unit_s", "missing", "one positive number, the seconds in a unit of `times`")
    unit_s = file.scalar("time_unit_s", 1.0)
    return Bins(steps, bin_ms, bin_ms / 1000 / unit_s, unit_s)


def _offsets(file: UserFile, events: int) -> np.ndarray:
    expected = f"integers in [N + 1] that start at 0, never fall and end at {events}, the number of events"
    offsets = file.array("offsets", INTEGERS, (1,), expected).astype(np.int64)
    if len(offsets) == 1:
        raise file.refuse("offsets", "1 value, so no recording", f"at least one recording, N >= 1: {expected}")
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        ends = f" from {offsets[0]} to {offsets[-1]}" if len(offsets) else ""
        raise file.refuse("offsets", f"{len(offsets)} values{ends}", expected)
    return offsets


def _labels(file: UserFile, samples: int) -> tuple[Tensor, int]:
    """Labels int64 `[N]` and the number of classes; 0 where neither labels nor `classes` say it."""
    if "label" not in file.arrays:
        if meant := [name for name in file.names if name.lower() in OTHER_NAMES]:
            raise file.refuse("label", f"missing, but the file has `{meant[0]}`", "labels under the name `label`")
        classes = file.count("classes", 2, 2) if "classes" in file.arrays else 0
        return torch.full((samples,), UNLABELLED), classes
    expected = f"{samples} integers, the class of each sample, from 0 on"
    label = file.array("label", INTEGERS, (1,), expected)
    if len(label) != samples:
        raise file.refuse("label", f"{len(label)} values", expected)
    if label.min() < 0:
        raise file.refuse("label", f"values from {label.min()} to {label.max()}", expected)
    largest = int(label.argmax())
    classes = file.count("classes", max(2, int(label[largest]) + 1), 2)
    came = f"{label[largest]}, of sample {largest}"
    if label[largest] >= classes:
        raise file.refuse("label", came, f"0 to {classes - 1} (`classes` - 1)")
    if "classes" not in file.arrays and classes > max(FEW_CLASSES, CLASSES_PER_SAMPLE * samples):
        way_out = (
            f"number the classes from 0, or state their number as `classes`, which {samples} samples do not suggest"
        )
        raise file.refuse("label", came, f"small integers, the class of each sample ({way_out})")
    return torch.from_numpy(label.astype(np.int64)), classes


def _parts(file: UserFile, labels: Tensor, whole: bool) -> tuple[Tensor, str]:
    """Part of each sample, from the file or dealt, and the rule in words."""
    everything = torch.full((len(labels),), TEST)
    if whole:
        return everything, AS_ASKED
    if "split" in file.arrays:
        expected = f"{len(labels)} integers: 0 training, 1 validation, 2 test"
        split = file.array("split", INTEGERS, (1,), expected)
        if len(split) != len(labels) or not np.isin(split, (TRAIN, VALIDATION, TEST)).all():
            values = ", ".join(str(value) for value in np.unique(split)[:8])
            raise file.refuse("split", f"{len(split)} integers with the values {values}", expected)
        return torch.from_numpy(split.astype(np.int64)), "as the file says"
    if "label" not in file.arrays:
        return everything, "all samples are the test part, without labels to deal them by"
    if len(labels) < DEAL_PARTS:
        return everything, f"all samples are the test part, since there are fewer than {DEAL_PARTS} to deal"
    return torch.tensor(PART_OF_DEAL)[deal(labels, DEAL_PARTS, DEAL_SEED)], DEALT
