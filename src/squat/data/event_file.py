"""Event lists that stay on disk: an HDF5 file in the layout of `docs/how-to/your-data.md`, mapped batch by batch.

`times` and `units` lie in one piece each. A map lives as long as one batch is made: pages that were read count as the
process's memory while they are mapped, and so that is never more than a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from squat.data.readers import AGAIN, unreadable
from squat.text import brief

REWRITE = "write it with h5py as a plain array (no chunks, no compression), or leave `stream` out and it is read whole"


class Extent(NamedTuple):
    """Where an array lies in a file: its first byte, number of values and dtype."""

    start: int
    length: int
    dtype: np.dtype

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True, eq=False)
class EventFile:
    """Events of `N` samples on disk.

    Args:
        path: the HDF5 file.
        times: where its array of times lies.
        units: where its array of channels lies.
        offsets: int64 `[N + 1]`: events of sample n are `offsets[n] : offsets[n+1]`.

    Example:
        >>> import h5py, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["times"], file["units"] = np.array([3, 8, 1], np.uint32), np.array([0, 2, 1], np.uint16)
        >>> file = EventFile(path, locate_array(path, "times"), locate_array(path, "units"), np.array([0, 2, 3]))
        >>> [array.tolist() for array in file.mapped()], file.sample_of(2)
        ([[3, 8, 1], [0, 2, 1]], 1)
    """

    path: Path
    times: Extent
    units: Extent
    offsets: np.ndarray

    __repr__ = brief

    def mapped(self) -> tuple[np.ndarray, np.ndarray]:
        """All times and channels, mapped into memory: only what is looked at is read.

        Raises:
            ValueError: the file is gone or has become shorter since it was opened.
        """
        try:
            return self._map(self.times), self._map(self.units)
        except (OSError, ValueError) as error:
            raise unreadable(self.path, f"has changed since it was opened ({error})", "leave it alone") from error

    def _map(self, extent: Extent) -> np.ndarray:
        if extent.length == 0:
            return np.empty(0, extent.dtype)
        return np.memmap(self.path, extent.dtype, "r", extent.start, (extent.length,))

    def sample_of(self, event: int) -> int:
        """The sample to which an event belongs."""
        return int(np.searchsorted(self.offsets, event, side="right")) - 1


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
