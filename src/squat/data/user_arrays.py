"""Arrays of a user's file with their first checks: present, numeric, of the right number of axes, finite."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squat.data.readers import read_h5, read_npz, unreadable
from squat.text import brief

READERS = {".npz": read_npz, ".h5": read_h5, ".hdf5": read_h5}
EVENTS = ("times", "units", "offsets", "time_unit_s")
STREAMED = ("times", "units")
NAMES = ("x", *EVENTS, "label", "split", "classes", "channels", "input_scale")
GUIDE = "docs/how-to/your-data.md describes the layout"
NUMBERS, INTEGERS = "biuf", "iu"


@dataclass(frozen=True, eq=False)
class UserFile:
    """The arrays of a file, by name.

    Args:
        path: the file.
        arrays: those of its arrays that the layout knows.
        names: all its arrays.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    names: list[str]

    __repr__ = brief

    def refuse(self, name: str, problem: str, expected: str) -> ValueError:
        """The error about one array: what came, what is accepted, where it is explained."""
        return unreadable(self.path, f"`{name}`: {problem}; expected {expected}", GUIDE)

    def array(self, name: str, kinds: str, axes: tuple[int, ...], expected: str) -> np.ndarray:
        """The array `name`: its dtype of one of `kinds` (numpy's letters), its number of axes one of `axes`, finite."""
        if name not in self.arrays:
            raise self.refuse(name, f"missing; the file has {', '.join(self.names) or 'no array'}", expected)
        array = self.arrays[name]
        if array.dtype.kind not in kinds or array.ndim not in axes:
            raise self.refuse(name, f"dtype {array.dtype} and shape {array.shape}", expected)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.refuse(name, "has NaN or infinity", expected)
        return array

    def scalar(self, name: str, default: float) -> float:
        """The number `name`, or `default` if the file has none; must be positive."""
        if name not in self.arrays:
            return default
        value = self.array(name, NUMBERS, (0,), "one positive number").item()
        if value <= 0:
            raise self.refuse(name, f"{value}", "one positive number")
        return value

    def count(self, name: str, default: int, least: int) -> int:
        """The whole number `name`, or `default` if the file has none; must be at least `least`."""
        expected = f"one integer >= {least}"
        value = int(self.array(name, INTEGERS, (0,), expected)) if name in self.arrays else default
        if value < least:
            raise self.refuse(name, f"{value}", expected)
        return value


def open_user_file(path: Path, stream: bool = False, names: Collection[str] = NAMES) -> UserFile:
    """Read the arrays `names` out of an `.npz`, `.h5` or `.hdf5` file, all but the events if they are streamed.

    Raises:
        ValueError: another ending (streamed: no HDF5 ending), or the file is missing or damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise unreadable(path, f"ending {path.suffix!r}; expected one of {', '.join(READERS)}", GUIDE)
    if stream and reader is not read_h5:
        raise unreadable(path, f"stream=True with the ending {path.suffix!r}; expected .h5 or .hdf5", GUIDE)
    return UserFile(path, *reader(path, [name for name in names if not (stream and name in STREAMED)]))
