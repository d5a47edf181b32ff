"""DVS128 Gesture: eleven hand gestures of 29 people seen by an event camera."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from squat.data.aer import DVS128_SIDE, CameraEvents, read_aedat3
from squat.data.camera import View, camera_dataset
from squat.data.converted import Originals, Recording
from squat.data.dataset import Dataset, Entry
from squat.data.originals import original_folder
from squat.data.readers import AGAIN, unreadable
from squat.data.sources import Original
from squat.data.splits import TEST, TRAIN

LISTS = {"trials_to_train.txt": TRAIN, "trials_to_test.txt": TEST}
FILES = tuple(Original(f"dvs_gesture/{name}") for name in LISTS)
CLASSES = 11
HEADER = ["class", "startTime_usec", "endTime_usec"]
VALIDATION_SHARE, VALIDATION_SEED = 6, 0
LICENCE = "CC BY 4.0; IBM, A. Amir and others"
SUMMARY = "11 hand gestures by 29 people seen by an event camera, from the original files"


def load_dvs_gesture(
    *, steps: int = 100, bin_ms: float = 15.0, height: int = 32, layout: str = "image", folder: str | None = None
) -> Dataset:
    """DVS128 Gesture from its `.aedat` and `_labels.csv` files, streamed from disk, 11 classes.

    Args:
        steps: time steps `T`; later events are left out.
        bin_ms: duration of a step in milliseconds, from the labelled start of a gesture on.
        height: 128, or a divisor of it: any event in a block is 1.
        layout: "flat" `[T, B, 2*height**2]` or "image" `[T, B, 2, height, height]`; the axis of 2 is polarity.
        folder: the published `DvsGesture`; by default `dvs_gesture` below `SQUAT_DATA` or the cache folder.

    Returns:
        The data set. Of the training people a sixth is validation.

    Raises:
        TypeError, ValueError: an option out of range; a file is missing or damaged, or not of this data set.

    Source: A. Amir et al. 2017, "A Low Power, Fully Event-Based Gesture Recognition System", CVPR.

    Example:
        >>> gestures = load_dvs_gesture(steps=40, folder="/data/DvsGesture")  # doctest: +SKIP
        >>> gestures.train.batch(torch.arange(8))[0].shape                    # doctest: +SKIP
        torch.Size([40, 8, 2, 32, 32])
    """
    view = View(DVS128_SIDE, steps, bin_ms, height, layout)
    root = original_folder(FILES, folder)
    trials = [(path, part) for name, part in LISTS.items() for path in _trials(root / name)]

    def recordings() -> Iterator[Recording]:
        for path, part in trials:
            yield from _gestures(path, part)

    return camera_dataset(
        Originals(
            root,
            [root / name for name in LISTS] + [file for path, _ in trials for file in (path, _labels_of(path))],
            recordings,
            people_held_out,
        ),
        view,
        classes=CLASSES,
        name="dvs_gesture",
        about="Hand gestures seen by an event camera",
        split_rule="the published test list; the recordings of a sixth of the people in the training list, "
        "chosen with a fixed seed, are validation",
        licence=LICENCE,
    )


def people_held_out(_labels: Tensor, people: Tensor) -> Tensor:
    """Samples of the sixth of the people (at least one, if there are two) whose hashes of `seed/number` come first."""
    names = sorted(set(people.tolist()), key=lambda name: blake2b(f"{VALIDATION_SEED}/{name}".encode()).digest())
    count = max(len(names) // VALIDATION_SHARE, min(1, len(names) - 1))
    return torch.isin(people, torch.tensor(names[:count], dtype=torch.int64))


def _trials(path: Path) -> list[Path]:
    """The recordings that a list names, each with its labels beside it."""
    names = path.read_text(encoding="utf-8").split()
    if not names:
        raise unreadable(path, "names no recording; expected one .aedat file a line", AGAIN)
    for name in names:
        file = path.parent / name
        for wanted in (file, _labels_of(file)):
            if not wanted.is_file():
                raise unreadable(wanted, f"no such file, but {path.name} lists {name}", AGAIN)
    return [path.parent / name for name in names]


def _labels_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_labels.csv")


def _gestures(path: Path, part: int) -> Iterator[Recording]:
    """The gestures of one recording, cut out where its labels say."""
    number = path.name.removeprefix("user").split("_")[0]
    if not number.isdecimal():
        raise unreadable(path, "expected a name such as user01_fluorescent.aedat, with the number of the person", AGAIN)
    events = read_aedat3(path)
    for label, start, end in read_gesture_labels(_labels_of(path)):
        first, last = np.searchsorted(events.t, [start, end])
        cut = CameraEvents(*(values[first:last] for values in events))
        yield Recording(cut.t - start, cut.units(DVS128_SIDE), label - 1, part, int(number))


def read_gesture_labels(path: Path) -> list[tuple[int, int, int]]:
    """Rows of a labels file: class 1 to 11, start and end in microseconds.

    Raises:
        ValueError: another header, a row that is not three integers, a class out of range, an end before its start.
    """
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if [name.strip() for name in header] != HEADER:
        raise unreadable(path, f"begins with {','.join(header)!r}, expected {','.join(HEADER)!r}", AGAIN)
    gestures = []
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(HEADER) or not all(value.strip().isdecimal() for value in row):
            raise unreadable(path, f"line {line}: {','.join(row)!r}, expected three whole numbers", AGAIN)
        label, start, end = map(int, row)
        if not 1 <= label <= CLASSES or start >= end:
            expected = f"expected a class from 1 to {CLASSES} and an end after its start"
            raise unreadable(path, f"line {line}: class {label} from {start} to {end}, {expected}", AGAIN)
        gestures.append((label, start, end))
    if not gestures:
        raise unreadable(path, "labels no gesture; expected one a line", AGAIN)
    return gestures


ENTRY = Entry(load_dvs_gesture, SUMMARY, LICENCE, FILES)
