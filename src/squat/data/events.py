"""From lists of events to binary frames: which bin of time, which channel, any event or none."""

from __future__ import annotations

import numpy as np
import torch

from squat.checks import check_int, check_memory
from squat.data.inputs import STEPS_PER_BYTE, PackedSpikes, pack_spikes

CELLS_AT_ONCE = 1 << 22
"""Unpacked cells (one byte each) that are held at a time while packing."""
MOST_STEPS = 10**6
FEWER = "use fewer steps or channels"
LAST_BIN = 2.0**62
"""Later bins than int64 holds count as this one."""


def check_steps(steps: int) -> int:
    """`steps` if it is a number of steps that can be held, else TypeError or ValueError."""
    return check_int("steps", steps, 1, MOST_STEPS)


def whole_ticks(ticks_per_bin: float) -> int:
    """The width of a bin as a whole number if it is one within 1e-9 of itself, else 0."""
    whole = round(ticks_per_bin)
    return whole if 0 < whole < LAST_BIN and abs(ticks_per_bin - whole) <= 1e-9 * whole else 0


def bin_of(times: np.ndarray, ticks_per_bin: float) -> np.ndarray:
    """Bin of each event: `floor(times / ticks_per_bin)`, exact at the edges.

    Args:
        times: numbers from 0 to below 2**53, in ticks.
        ticks_per_bin: width of a bin. Within 1e-9 of a whole number it is taken to be whole (a width of 0.01 s in
            ticks of 1/24000 s is 240 but for rounding), so an event on an edge always opens the next bin.

    Returns:
        int64, the shape of `times`.

    Example:
        >>> bin_of(np.array([0, 239, 240, 480]), 0.01 / (1 / 24000)).tolist()
        [0, 0, 1, 2]
    """
    if whole := whole_ticks(ticks_per_bin):
        if times.dtype.kind in "iu":
            return times.astype(np.int64) // whole
        ticks_per_bin = float(whole)
    bins = np.floor_divide(times.astype(np.float64), ticks_per_bin)
    return np.minimum(bins, LAST_BIN).astype(np.int64)


def bin_events(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, *, steps: int, channels: int, ticks_per_bin: float
) -> PackedSpikes:
    """Binary frames of recordings given as events; several events in one cell are one spike.

    Args:
        times: `[E]`, numbers >= 0, in ticks since the start of the recording.
        units: `[E]`, integers in `0 .. channels-1`.
        offsets: `[N + 1]`, integers: events of recording n are `offsets[n] : offsets[n+1]`.
        steps: bins `T` to keep; later events are dropped (`squat.data.coverage` counts them).
        channels: number of channels `C`.
        ticks_per_bin: width of a bin in ticks.

    Returns:
        The frames `[N, T, C]`, packed.

    Example:
        >>> times, units, offsets = np.array([0, 5, 11, 40]), np.array([0, 0, 1, 1]), np.array([0, 2, 4])
        >>> spikes = bin_events(times, units, offsets, steps=2, channels=2, ticks_per_bin=10)
        >>> spikes.gather(torch.arange(2)).tolist()
        [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]
    """
    samples = len(offsets) - 1
    what = f"{samples} recordings of {steps} steps and {channels} channels"
    check_memory(what, max(samples * steps * channels // 8, steps * channels), FEWER)
    padded = -(-steps // STEPS_PER_BYTE) * STEPS_PER_BYTE
    packed = np.empty((samples, padded // STEPS_PER_BYTE, channels), dtype=np.uint8)
    chunk = max(1, CELLS_AT_ONCE // (padded * channels))
    for first in range(0, samples, chunk):
        last = min(first + chunk, samples)
        events = slice(int(offsets[first]), int(offsets[last]))
        step = bin_of(times[events], ticks_per_bin)
        cell = np.repeat(np.arange(last - first) * padded, np.diff(offsets[first : last + 1]))
        cell = (cell + step) * channels + units[events].astype(np.int64)
        frames = np.zeros((last - first, padded, channels), dtype=np.uint8)
        frames.reshape(-1)[cell[step < steps]] = 1
        packed[first:last] = pack_spikes(torch.from_numpy(frames)).values.numpy()
    return PackedSpikes(torch.from_numpy(packed), steps)
