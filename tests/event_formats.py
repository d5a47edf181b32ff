"""Small event files in the true formats of SHD, SSC, N-MNIST, CIFAR10-DVS and DVS128 Gesture, and of a user's own."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

AEDAT2_HEADER = (
    b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
    b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    b"# Timestamps tick is 1 us\r\n"
)
AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: DVS128\r\n#!END-HEADER\r\n"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def spoken(samples: int, classes: int, seed: int = 0) -> tuple[list, list, np.ndarray]:
    """Times (float16 seconds), units and labels of `samples` words: recordings of the spoken digits, or made up.

    Labels are dealt in turn, so that every class of SHD occurs; the events are real where the data are at hand.
    """
    path = Path(os.environ.get("SQUAT_DATA", "")) / "spoken_digits" / "spoken_digits_700ch.npz"
    labels = np.arange(samples) % classes
    rng = np.random.default_rng(seed)
    if path.is_file():
        with np.load(path) as file:
            offsets, times, units = file["offsets"], file["times"], file["units"]
            pieces = [slice(*offsets[n : n + 2]) for n in rng.permutation(len(offsets) - 1)[:samples]]
            seconds = [(times[piece] * float(file["time_unit_s"])).astype(np.float16) for piece in pieces]
            return seconds, [units[piece] for piece in pieces], labels
    seconds = [np.sort(rng.random(400)).astype(np.float16) for _ in labels]
    return seconds, [((rng.integers(0, 200, 400) + label * 20) % 700).astype(np.uint16) for label in labels], labels


def write_heidelberg(path: Path, times: list, units: list, labels: np.ndarray | None) -> None:
    """A file of SHD or SSC: lists of variable length, labels, and the speakers beside them."""
    with h5py.File(path, "w") as file:
        for name, lists, kind in (("times", times, np.float16), ("units", units, np.uint16)):
            array = file.create_dataset(f"spikes/{name}", (len(lists),), h5py.vlen_dtype(np.dtype(kind)))
            for sample, values in enumerate(lists):
                array[sample] = values
        if labels is not None:
            file["labels"] = labels
        file["extra/speaker"] = np.zeros(len(times), np.uint16)


def write_shd(folder: Path, samples: int = 200) -> Path:
    """`samples` words in `shd_train.h5`, a fifth as many in `shd_test.h5`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_heidelberg(folder / "shd_train.h5", *spoken(samples, 20))
    write_heidelberg(folder / "shd_test.h5", *spoken(samples // 5, 20, seed=1))
    return folder


def atis(events: list[tuple[int, int, int, int]]) -> bytes:
    """An N-MNIST file of events `(t, x, y, p)`."""
    words = (x << 32 | y << 24 | p << 23 | t for t, x, y, p in events)
    return b"".join(word.to_bytes(5, "big") for word in words)


def aedat2(events: list[tuple[int, int]], header: bytes = AEDAT2_HEADER) -> bytes:
    """An AEDAT 2.0 file of `(t, address)`."""
    return header + b"".join(address.to_bytes(4, "big") + t.to_bytes(4, "big") for t, address in events)


def packet(events: list[tuple[int, int, int, int, int]], kind: int = 1, size: int = 8, overflow: int = 0) -> bytes:
    """A packet of AEDAT 3.1 of events `(t, x, y, p, valid)`."""
    header = np.array([kind, 1], "<i2").tobytes()
    header += np.array([size, 4, overflow, len(events), len(events), len(events)], "<i4").tobytes()
    words = [(x << 17 | y << 2 | p << 1 | valid, t) for t, x, y, p, valid in events]
    return header + np.array(words, "<u4").tobytes()


def write_gestures(folder: Path, events: list[tuple[int, int, int, int, int]], rows: list[str]) -> Path:
    """Recordings of users 1, 2 and 3 for training and of user 24 for test, all with these events and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2, 3, 24):
        (folder / f"user{number:02d}_led.aedat").write_bytes(AEDAT3_HEADER + packet(events))
        labels = "\n".join(["class,startTime_usec,endTime_usec", *rows, ""])
        (folder / f"user{number:02d}_led_labels.csv").write_text(labels)
    (folder / "trials_to_train.txt").write_text("user01_led.aedat\nuser02_led.aedat\nuser03_led.aedat\n")
    (folder / "trials_to_test.txt").write_text("user24_led.aedat\n")
    return folder


def write_by_class(folder: Path, classes: list[str], content: bytes, count: int, ending: str) -> Path:
    """`count` equal files in a folder per class."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:05d}{ending}").write_bytes(content)
    return folder


def write_own_events(path: Path, samples: int = 60, events: int = 300, **changes: object) -> Path:
    """A user's file of events that can be streamed: 3 classes, each mostly on its own third of 12 channels."""
    rng = np.random.default_rng(0)
    label = np.arange(samples) % 3
    own = rng.integers(0, 4, (samples, events)) + 4 * label[:, None]
    anywhere = rng.integers(0, 12, (samples, events))
    arrays = {
        "times": np.sort(rng.integers(0, 100_000, (samples, events)), 1).astype(np.uint32).reshape(-1),
        "units": np.where(rng.random(own.shape) < 0.8, own, anywhere).astype(np.uint16).reshape(-1),
        "offsets": np.arange(samples + 1) * events,
        "time_unit_s": 1e-6,
        "channels": 12,
        "label": label,
        "split": np.repeat([0, 1, 2], [samples - 2 * (samples // 5), samples // 5, samples // 5]),
    }
    with h5py.File(path, "w") as file:
        for name, array in (arrays | changes).items():
            if array is not None:
                file[name] = array
    return path
