"""The Heidelberg spiking data sets, SHD and SSC: spoken words as spikes of 700 cochlear channels, in HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from squat.checks import check_int, check_real
from squat.data.aer import LATEST, check_times
from squat.data.converted import Originals, Recording, converted, stream_converted
from squat.data.dataset import Dataset, Entry
from squat.data.events import check_steps
from squat.data.originals import original_folder
from squat.data.readers import AGAIN, unreadable
from squat.data.sources import Original
from squat.data.splits import TEST, TRAIN, VALIDATION, deal
from squat.data.stream import Grid

ADDRESS = "https://zenkelab.org/datasets"
MD5 = {
    "shd_train": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test": "1503a5064faa34311c398fb0a1ed0a6f",
    "ssc_train": "d102be95e7144fcc0553d1f45ba94170",
    "ssc_valid": "b4eee3516a4a90dd0c71a6ac23a8ae43",
    "ssc_test": "a35ff1e9cffdd02a20eb850c17c37748",
}
"""Of the `.h5.zip` archives at that address."""
CHANNELS = 700
PARTS = {"train": TRAIN, "valid": VALIDATION, "test": TEST}
VALIDATION_SHARE, VALIDATION_SEED = 10, 0
AT_ONCE = 256
"""Samples that are read at a time."""
LICENCE = "CC BY 4.0; B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke"
SHD_SUMMARY = "10,420 spoken digits in English and German as spikes of 700 cochlear channels, 20 classes"
SSC_SUMMARY = "105,829 spoken commands as spikes of 700 cochlear channels, 35 classes"


def _files(name: str, parts: tuple[str, ...]) -> tuple[Original, ...]:
    stems = [f"{name}_{part}" for part in parts]
    return tuple(Original(f"{name}/{stem}.h5", f"{ADDRESS}/{stem}.h5.zip", MD5[stem]) for stem in stems)


SHD_FILES, SSC_FILES = _files("shd", ("train", "test")), _files("ssc", ("train", "valid", "test"))


def load_shd(*, channels: int = CHANNELS, bin_ms: float = 10.0, steps: int = 100, folder: str | None = None) -> Dataset:
    """Spiking Heidelberg Digits from `shd_train.h5` and `shd_test.h5`, streamed from disk, 20 classes.

    Args:
        channels: 700, or a divisor of it: neighbouring channels are joined.
        bin_ms: duration of a step in milliseconds; an event on an edge opens the next bin.
        steps: time steps `T`; later spikes are left out.
        folder: with the two files; by default `shd` below `SQUAT_DATA` or the cache folder, or downloaded there.

    Returns:
        The data set. A tenth of the training file, by class, is validation.

    Raises:
        TypeError, ValueError: an option out of range; a file is missing or damaged, or holds what SHD cannot.

    Source: B. Cramer et al. 2022, "The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking Neural
    Networks", IEEE TNNLS 33.

    Example:
        >>> digits = load_shd(channels=140, folder="/data/shd")  # doctest: +SKIP
        >>> digits.train.batch(torch.arange(8))[0].shape         # doctest: +SKIP
        torch.Size([100, 8, 140])
    """
    rule = "the published test file; a tenth of the training file, dealt by class with a fixed seed, is validation"
    texts = {"name": "shd", "description": "Spoken digits in English and German as cochlear spikes", "split_rule": rule}
    return _load(SHD_FILES, 20, channels, bin_ms, steps, folder, texts)


def load_ssc(*, channels: int = CHANNELS, bin_ms: float = 10.0, steps: int = 100, folder: str | None = None) -> Dataset:
    """Spiking Speech Commands from `ssc_train.h5`, `ssc_valid.h5` and `ssc_test.h5`, streamed from disk, 35 classes.

    Args, returns and errors are those of `load_shd`; the parts are the three published files.

    Example:
        >>> words = load_ssc(channels=140, folder="/data/ssc")  # doctest: +SKIP
    """
    texts = {"name": "ssc", "description": "Spoken commands as cochlear spikes", "split_rule": "the three files"}
    return _load(SSC_FILES, 35, channels, bin_ms, steps, folder, texts)


def _load(
    files: tuple[Original, ...], classes: int, channels: int, bin_ms: float, steps: int, folder: str | None, texts: Any
) -> Dataset:
    check_int("channels", channels, 1, CHANNELS)
    if CHANNELS % channels:
        raise ValueError(f"channels={channels}: expected a divisor of {CHANNELS}, such as 140 or 700")
    bin_ms = check_real("bin_ms", bin_ms, 0.0, open_low=True)
    check_steps(steps)
    root = original_folder(files, folder)
    paths = [root / Path(file.path).name for file in files]

    def recordings() -> Iterator[Recording]:
        for path in paths:
            yield from read_heidelberg(path, classes, PARTS[path.stem.split("_")[1]])

    def held_out(labels: Tensor, _groups: Tensor) -> Tensor:
        return (deal(labels, VALIDATION_SHARE, VALIDATION_SEED) == 0) & (len(files) == 2)

    path = converted(Originals(root, paths, recordings, held_out), CHANNELS)
    texts["description"] += f": {channels} channels, {steps} steps of {bin_ms:g} ms, any spike is 1."
    grid = Grid((1, 1, CHANNELS), (1, CHANNELS // channels))
    texts |= {"licence": LICENCE, "source": str(root)}
    return stream_converted(path, grid, (channels,), steps, bin_ms, classes=classes, **texts)


def read_heidelberg(path: Path, classes: int, part: int) -> Iterator[Recording]:
    """Recordings of one file: `spikes/times` (seconds) and `spikes/units`, a list a sample, and `labels`.

    Raises:
        ValueError: damaged, an array missing, of another length or out of range, times that fall.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            times, units, labels = (_array(path, file, name) for name in ("spikes/times", "spikes/units", "labels"))
            if not len(times) == len(units) == len(labels):
                came = f"{len(times)} lists in spikes/times, {len(units)} in spikes/units and {len(labels)} labels"
                raise unreadable(path, f"{came}; expected as many of each", AGAIN)
            label = _checked_labels(path, labels[()], classes)
            for first in range(0, len(label), AT_ONCE):
                several = zip(times[first : first + AT_ONCE], units[first : first + AT_ONCE], strict=True)
                for sample, events in enumerate(several, first):
                    yield Recording(*_checked_events(path, sample, *events), int(label[sample]), part)
    except (OSError, RuntimeError) as error:
        raise unreadable(path, f"truncated, damaged, or not an HDF5 file ({error})", AGAIN) from error


def _array(path: Path, file: Any, name: str) -> Any:
    import h5py

    array = file.get(name)
    if not isinstance(array, h5py.Dataset) or array.ndim != 1:
        came = "missing" if array is None else f"of shape {getattr(array, 'shape', 'a group')}"
        raise unreadable(path, f"`{name}` is {came}; expected one entry a sample", AGAIN)
    return array


def _checked_labels(path: Path, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.dtype.kind not in "iu":
        raise unreadable(path, f"`labels` of dtype {labels.dtype}; expected integers from 0 to {classes - 1}", AGAIN)
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        came = f"from {labels.min()} to {labels.max()}" if len(labels) else "of no sample"
        raise unreadable(path, f"`labels` {came}; expected 0 to {classes - 1}", AGAIN)
    return labels


def _checked_events(path: Path, sample: int, times: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times in microseconds and units of one sample, if they are what the format says."""
    where = f" in sample {sample}"
    times, units = np.asarray(times), np.asarray(units)
    if times.shape != units.shape or times.dtype.kind != "f" or units.dtype.kind not in "iu":
        came = f"{times.shape} times of {times.dtype} and {units.shape} units of {units.dtype}{where}"
        raise unreadable(path, f"{came}; expected as many real times as integer units", AGAIN)
    if not np.isfinite(times).all():
        raise unreadable(path, f"times have NaN or infinity{where}", AGAIN)
    if len(units) and (units.min() < 0 or units.max() >= CHANNELS):
        came = f"units from {units.min()} to {units.max()}{where}"
        raise unreadable(path, f"{came}; expected 0 to {CHANNELS - 1}", AGAIN)
    # Clipped before they become integers; a time that was out of range stays so.
    microseconds = np.clip(np.rint(times.astype(np.float64) * 1e6), -1, LATEST)
    check_times(path, microseconds.astype(np.int64), where)
    return microseconds.astype(np.uint32), units


SHD = Entry(load_shd, SHD_SUMMARY, LICENCE, SHD_FILES)
SSC = Entry(load_ssc, SSC_SUMMARY, LICENCE, SSC_FILES)
