"""Event lists that stay on disk: an HDF5 file in the layout of `docs/how-to/your-data.md`, read sample by sample.

`times` and `units` lie in one piece each, so a sample is two positional reads. Reads rather than a memory map: pages
of a map count as the process's memory until the system wants them back, and a file cut short under it is a crash.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from squat.data.readers import AGAIN, unreadable

REWRITE = "write it with h5py as a plain array (no chunks, no compression), or leave `stream` out and it is read whole"


class Extent(NamedTuple):
    """Where an array lies in a file: its first byte, number of values and dtype."""

    start: int
    length: int
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class EventFile:
    """Events of `N` samples on disk.

    Args:
        path: the HDF5 file.
        times, units: where its arrays of these names lie.
        offsets: int64 `[N + 1]`: events of sample n are `offsets[n] : offsets[n+1]`.

    Example:
        >>> import h5py, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["times"], file["units"] = np.array([3, 8, 1], np.uint32), np.array([0, 2, 1], np.uint16)
        >>> file = EventFile(path, locate_array(path, "times"), locate_array(path, "units"), np.array([0, 2, 3]))
        >>> [array.tolist() for array in file.read(np.array([1, 0]))]
        [[1, 3, 8], [1, 0, 2], [1, 2]]
    """

    path: Path
    times: Extent
    units: Extent
    offsets: np.ndarray

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Events of some samples.

        Args:
            samples: int64 `[B]`, positions in the file.

        Returns:
            `times` and `units` `[E]`, sample after sample, and int64 `[B]`, the number of events of each.

        Raises:
            ValueError: the file is gone or has become shorter since it was opened.
        """
        first = self.offsets[samples]
        counts = self.offsets[samples + 1] - first
        try:
            with self.path.open("rb", buffering=0) as file:
                times, units = (
                    _read_pieces(file.fileno(), extent, first, counts) for extent in (self.times, self.units)
                )
        except (OSError, EOFError) as error:
            raise unreadable(self.path, f"has changed since it was opened ({error})", "leave it alone") from error
        return times, units, counts


def _read_pieces(descriptor: int, extent: Extent, first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    values = np.empty(int(counts.sum()), dtype=extent.dtype)
    space = memoryview(values.view(np.uint8))  # type: ignore[arg-type]
    done, size = 0, extent.dtype.itemsize
    for start, count in zip((extent.start + first * size).tolist(), (counts * size).tolist(), strict=True):
        while count:
            got = os.preadv(descriptor, [space[done : done + count]], start)
            if got == 0:
                raise EOFError(f"no data at byte {start}")
            start, count, done = start + got, count - got, done + got
    return values


def locate_array(path: Path, name: str) -> Extent:
    """Where the integers `name` at the root of an HDF5 file lie in it.

    Raises:
        ValueError: no HDF5 file, no such array, or not one piece of native integers.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if not isinstance(array := file.get(name), h5py.Dataset):
                raise unreadable(path, f"`{name}`: missing; the file has {', '.join(file) or 'no array'}", REWRITE)
            if array.ndim != 1 or array.dtype.kind not in "iu" or not array.dtype.isnative:
                came = f"`{name}`: dtype {array.dtype} and shape {array.shape}"
                raise unreadable(path, f"{came}; expected integers in [E], to be streamed", REWRITE)
            start = array.id.get_offset()
            if start is None and array.size:
                raise unreadable(path, f"`{name}`: in chunks or compressed, which cannot be streamed", REWRITE)
            return Extent(start or 0, array.size, array.dtype)
    except OSError as error:
        raise unreadable(path, f"truncated, damaged, or not an HDF5 file ({error})", AGAIN) from error
