"""Inputs that stay on disk as events: a batch is read, varied and binned when it is asked for."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from squat.data.event_file import EventFile
from squat.data.events import whole_ticks
from squat.data.inputs import Inputs
from squat.data.readers import AGAIN, unreadable
from squat.text import brief

AT_ONCE = 64
"""Samples that are binned at a time while the density is counted."""


@dataclass(frozen=True)
class Grid:
    """Channels in planes of rows and columns, and the blocks of them that are joined: the spatial downsampling.

    Args:
        sensor: planes, rows and columns; channel `(plane * rows + row) * columns + column`.
        block: rows and columns that become one cell, which has an event if any of them has; they divide the sensor's.

    Example:
        >>> Grid((1, 1, 6), (1, 2)).places()[0].tolist(), Grid((2, 4, 4), (2, 2)).shape
        ([0, 0, 1, 1, 2, 2], (2, 2, 2))
    """

    sensor: tuple[int, int, int]
    block: tuple[int, int] = (1, 1)

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns of the cells."""
        planes, rows, columns = self.sensor
        return planes, rows // self.block[0], columns // self.block[1]

    def places(self) -> np.ndarray:
        """Cell of each channel, and the cell's row and column, int64 `[3, channels]`."""
        planes, rows, columns = np.indices(self.sensor)
        rows, columns = rows // self.block[0], columns // self.block[1]
        cells = np.ravel_multi_index((planes, rows, columns), self.shape)
        return np.stack([cells, rows, columns]).reshape(3, -1)


@dataclass(frozen=True)
class Variation:
    """How the events of a batch are varied; what is drawn for a sample depends on seed, epoch and sample alone.

    Args:
        seed, epoch: integers >= 0.
        flip: mirror columns, every other sample on average.
        channel_shift: largest shift along columns and, where there are several, rows.
        time_warp: times are multiplied by a factor in `[1 - time_warp, 1 + time_warp]`.
        time_shift: largest shift of a sample in steps.
        time_jitter: largest shift of an event in steps.
        event_drop: probability that an event is dropped.
    """

    seed: int = 0
    epoch: int = 0
    flip: bool = False
    channel_shift: int = 0
    time_warp: float = 0.0
    time_shift: int = 0
    time_jitter: int = 0
    event_drop: float = 0.0

    __repr__ = brief


AS_RECORDED = Variation()


@dataclass(frozen=True, eq=False)
class EventStream(Inputs):
    """Events of `N` samples on disk, binned to binary frames batch by batch; several events in a cell are one spike.

    Args:
        file: where the events are.
        samples: int64 `[N]`, which of the file's samples.
        grid: how channels become cells.
        steps: bins `T`; later events are left out.
        ticks: width of a bin in units of the file's times.
        layout: shape of one step: the grid's, or any of as many cells.

    Example:
        >>> import h5py, tempfile
        >>> from pathlib import Path
        >>> from squat.data.event_file import locate_array
        >>> path = Path(tempfile.mkdtemp()) / "events.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["times"], file["units"] = np.array([3, 8, 1], np.uint32), np.array([0, 2, 1], np.uint16)
        >>> file = EventFile(path, locate_array(path, "times"), locate_array(path, "units"), np.array([0, 2, 3]))
        >>> stream = EventStream(file, torch.arange(2), Grid((1, 1, 3)), steps=2, ticks=5, layout=(3,))
        >>> stream.gather(torch.tensor([0])).squeeze(1).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    file: EventFile
    samples: Tensor
    grid: Grid
    steps: int
    ticks: float
    layout: tuple[int, ...]

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout

    def take(self, indices: Tensor) -> EventStream:
        """Only the samples `indices`; no event is read."""
        return replace(self, samples=self.samples.index_select(0, indices))

    @property
    def nbytes(self) -> int:
        return self.samples.nbytes + self.file.offsets.nbytes

    def gather(self, indices: Tensor, variation: Variation = AS_RECORDED) -> Tensor:
        """Inputs of the samples `indices` (int64 `[B]`) as float32 `[T, B, *shape]`, varied if asked for.

        Raises:
            ValueError: a time or channel out of range, named with its sample; the file has changed.
        """
        from squat.data.binning import bin_into

        self.check_batch(len(indices))
        samples = self.samples.index_select(0, indices).numpy()
        times, units = self.file.mapped()
        places = self.grid.places()
        frames = torch.zeros(self.steps, len(samples), int(np.prod(self.grid.shape)))
        ticks = (whole_ticks(self.ticks), float(self.ticks))
        events = (times, units, self.file.offsets, samples, places, self.grid.shape, ticks, astuple(variation))
        if (bad := bin_into(frames.numpy(), *events)) >= 0:
            came = f"sample {self.file.sample_of(bad)} has an event of time {times[bad]} in channel {units[bad]}"
            expected = f"expected times >= 0 and channels from 0 to {places.shape[1] - 1}"
            raise unreadable(self.file.path, f"{came}; {expected}", AGAIN)
        return frames.view(self.steps, len(samples), *self.shape)

    def density(self) -> float:
        """Share of non-zero cells; reads every sample once."""
        nonzero = sum(
            int(torch.count_nonzero(self.gather(some))) for some in torch.arange(len(self)).split(AT_ONCE) if len(some)
        )
        return nonzero / max(1, len(self) * self.steps * int(np.prod(self.shape)))
