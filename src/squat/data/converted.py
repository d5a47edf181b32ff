"""Original event files, converted once to one file that is streamed.

The converted file lies in squat's cache folder, in the layout of `docs/how-to/your-data.md`. Its name carries a
fingerprint of the originals (folder, names, sizes, times of change) and of the code that reads, splits and writes them,
so other originals, and those that were converted by other code, are converted anew.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from squat.atomic import atomic_path
from squat.data import sources
from squat.data.coverage import coverage
from squat.data.dataset import Dataset, cut
from squat.data.event_file import EventFile, locate_array
from squat.data.readers import read_h5
from squat.data.splits import TRAIN, VALIDATION
from squat.data.stream import EventStream, Grid
from squat.kernels.sources import hash_sources
from squat.text import brief

MICROSECOND = 1e-6
BLOCK = 1 << 22
"""Bytes that are copied at a time."""

HeldOut = Callable[[Tensor, Tensor], Tensor]
"""From labels and groups of the training samples, int64 `[n]`, to those set aside for validation, bool `[n]`."""


class Recording(NamedTuple):
    """One sample.

    Args:
        times: uint32 `[E]`, microseconds.
        units: uint16 `[E]`, channels.
        label: its class.
        part: 0 training, 1 validation, 2 test, as the originals say.
        group: who or what was recorded, where a split may go by it.
    """

    times: np.ndarray
    units: np.ndarray
    label: int
    part: int
    group: int = 0

    def __repr__(self) -> str:
        return brief(self)


class Originals(NamedTuple):
    """What is converted.

    Args:
        root: the folder.
        files: the files below it, which the fingerprint is of.
        recordings: reads them, in a fixed order.
        held_out: the rule that takes validation samples from the training ones.
    """

    root: Path
    files: list[Path]
    recordings: Callable[[], Iterable[Recording]]
    held_out: HeldOut

    def __repr__(self) -> str:
        return brief(self)


def converted(originals: Originals, channels: int) -> Path:
    """The converted file of some originals with so many channels, made now if it does not exist yet."""
    root = originals.root
    code = hash_sources((write_events, originals.recordings, originals.held_out))
    mark = hashlib.sha256(f"{code}/{channels}/{root.resolve()}".encode())
    for file in originals.files:
        about = file.stat()
        mark.update(f"/{file.relative_to(root)}/{about.st_size}/{about.st_mtime_ns}".encode())
    path = sources.cache_folder() / "converted" / f"{mark.hexdigest()[:16]}.h5"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            write_events(temporary, channels, _watched(originals), originals.held_out)
    return path


def _watched(originals: Originals) -> Iterable[Recording]:
    """The recordings, counted on stderr where that is a terminal: thousands of files take a while."""
    if not sys.stderr.isatty():
        return originals.recordings()
    from rich.console import Console
    from rich.progress import track

    what = f"reading {originals.root.name} once"
    return track(originals.recordings(), what, console=Console(stderr=True), transient=True)


def write_events(path: Path, channels: int, recordings: Iterable[Recording], held_out: HeldOut) -> None:
    """Write recordings to an HDF5 file in the layout of a user's own, `times` and `units` in one piece each.

    One recording is in memory at a time: events go to two unnamed files first, since their number is known at the end.
    """
    import h5py

    about = []
    with tempfile.TemporaryFile(dir=path.parent) as times, tempfile.TemporaryFile(dir=path.parent) as units:
        for recording in recordings:
            times.write(np.ascontiguousarray(recording.times, np.uint32).data)
            units.write(np.ascontiguousarray(recording.units, np.uint16).data)
            about.append((len(recording.times), *recording[2:]))
        counts, labels, parts, groups = torch.tensor(about, dtype=torch.int64).view(-1, 4).unbind(1)
        training = torch.nonzero(parts == TRAIN).flatten()
        parts[training[held_out(labels[training], groups[training])]] = VALIDATION
        with h5py.File(path, "w") as file:
            _copy(times, file.create_dataset("times", (int(counts.sum()),), np.uint32))
            _copy(units, file.create_dataset("units", (int(counts.sum()),), np.uint16))
            file["offsets"] = np.concatenate([[0], np.cumsum(counts.numpy())])
            file["label"], file["split"] = labels.numpy(), parts.numpy()
            file["time_unit_s"], file["channels"] = MICROSECOND, channels


def _copy(spool: IO[bytes], array: Any) -> None:
    spool.seek(0)
    done = 0
    while block := spool.read(BLOCK):
        values = np.frombuffer(block, array.dtype)
        array[done : done + len(values)] = values
        done += len(values)


def stream_converted(
    path: Path, grid: Grid, layout: tuple[int, ...], steps: int, bin_ms: float, *, classes: int, **texts: str
) -> Dataset:
    """A data set that streams a converted file.

    Args:
        path: the file.
        grid: how its channels become cells.
        layout: shape of one step.
        steps: bins `T`; later events are left out.
        bin_ms: width of a bin in milliseconds.
        classes: number of classes.
        texts: the other fields of `Dataset`: name, description, split_rule, licence, source.

    Returns:
        The data set; in memory are two integers a sample.
    """
    arrays, _ = read_h5(path, ("offsets", "label", "split"))
    events = EventFile(path, locate_array(path, "times"), locate_array(path, "units"), arrays["offsets"])
    labels = torch.from_numpy(arrays["label"])
    ticks = bin_ms / 1000 / MICROSECOND
    stream = EventStream(events, torch.arange(len(labels)), grid, steps, ticks, layout)
    covered = coverage(events.mapped()[0], events.offsets, steps=steps, ticks_per_bin=ticks, bin_ms=bin_ms)
    train, validation, test = cut(stream, labels, torch.from_numpy(arrays["split"])).values()
    name = texts.pop("name")
    spikes: dict[str, Any] = {"input_max": 1, "input_scale": 1.0, **texts}
    return Dataset(name, train, validation, test, classes=classes, coverage=covered, **spikes)
