"""The compiled loop that puts the events of a batch into its frames, and varies them on the way (numba, CPU).

It releases Python's lock, so the next batch is binned while the present one trains. Random numbers are hashes of where
they are used, so a batch depends on nothing but seed, epoch and samples.
"""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit

GOLDEN, FIRST, SECOND = (np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
FLIP, SHIFT_X, SHIFT_Y, WARP, SHIFT_T, JITTER, DROP = range(7)
"""What a number is drawn for; the order is part of what makes runs repeatable."""


@jit
def draw(key, place):
    """64 random bits of a key and a place: SplitMix64's output number `place` from the state `key`."""
    word = key + (np.uint64(place) + np.uint64(1)) * GOLDEN
    word = (word ^ (word >> np.uint64(30))) * FIRST
    word = (word ^ (word >> np.uint64(27))) * SECOND
    return word ^ (word >> np.uint64(31))


@jit
def whole_within(reach, bits):
    """A whole number from `-reach` to `reach`."""
    return np.int64((bits >> np.uint64(33)) % np.uint64(2 * reach + 1)) - reach


@jit
def share(bits):
    """A number in [0, 1), a multiple of 2**-53."""
    return np.float64(bits >> np.uint64(11)) * 2.0**-53


@jit
def sample_change(vary, key, rows):
    """How one sample is varied: flipped or not, columns, rows and steps it moves, factor on its times."""
    flip = vary[2] and (draw(key, FLIP) & np.uint64(1)) == np.uint64(1)
    dx = whole_within(vary[3], draw(key, SHIFT_X))
    dy = whole_within(vary[3], draw(key, SHIFT_Y)) if rows > 1 else 0
    stretch = 1.0 + vary[4] * (2.0 * share(draw(key, WARP)) - 1.0) if vary[4] > 0 else 1.0
    return flip, dx, dy, stretch, whole_within(vary[5], draw(key, SHIFT_T))


@jit
def step_of(time, stretch, whole, width):
    """Bin of a time: `floor(time / width)`, exact where nothing is stretched, or `floor(time * (stretch / width))`."""
    if stretch != 1.0:
        return np.int64(time * (stretch / width))
    return time // whole if whole > 0 else np.int64(time // width)


@jit(nogil=True)
def bin_into(out, times, units, offsets, samples, places, grid, ticks, vary):
    """Set the cells of `out` that have an event to 1.

    Args:
        out: float32 `[T, B, cells]`, zeros.
        times: integers `[E]`, times of all events.
        units: integers `[E]`, their channels.
        offsets: int64 `[N + 1]`, where the events of each sample begin.
        samples: int64 `[B]`, the batch.
        places: int64 `[3, channels]`, cell of each channel, and the cell's row and column.
        grid: planes, rows and columns of the cells.
        ticks: width of a bin as an integer (0 if it is none) and as a float.
        vary: seed, epoch, flip, channel_shift, time_warp, time_shift, time_jitter, event_drop.

    Returns:
        -1, or the position of the first event with a channel or time out of range.
    """
    for b in range(len(samples)):
        key = draw(draw(draw(np.uint64(vary[0]), 0), vary[1]), samples[b])
        flip, dx, dy, stretch, dt = sample_change(vary, key, grid[1])
        jitters, drops = draw(key, JITTER), draw(key, DROP)
        begin = offsets[samples[b]]
        for event in range(begin, offsets[samples[b] + 1]):
            time, unit = np.int64(times[event]), np.int64(units[event])
            if time < 0 or unit < 0 or unit >= places.shape[1]:
                return event
            step = step_of(time, stretch, ticks[0], ticks[1]) + dt
            if vary[6] > 0:
                step += whole_within(vary[6], draw(jitters, event - begin))
            if step < 0 or step >= out.shape[0] or (vary[7] > 0 and share(draw(drops, event - begin)) < vary[7]):
                continue
            cell = places[0, unit]
            if flip or dx != 0 or dy != 0:
                row, column = places[1, unit], places[2, unit]
                moved = (grid[2] - 1 - column if flip else column) + dx
                if moved < 0 or moved >= grid[2] or row + dy < 0 or row + dy >= grid[1]:
                    continue
                cell += moved - column + dy * grid[2]
            out[step, b, cell] = 1.0
    return -1
