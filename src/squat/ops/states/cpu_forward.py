"""Forward loop over several states, compiled with numba for every neuron of `squat.ops.states.EQUATIONS`.

A task walks one sample, or `BLOCK` neurons of it, through time with its states in the first-level cache. Which neuron
it is is known to the compiler from the class of its options. No fused multiply-add and no reordering, see `jit`.
"""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit, overload
from squat.ops.encoder import encode_row, lookup_row
from squat.ops.lif.rows import copy_row, list_above, note_not_finite
from squat.ops.row_sums import sum_rows_of
from squat.ops.simd import LANES
from squat.ops.states.registry import EQUATIONS

BLOCK = 512
"""Neurons of a task without recurrence; their states, parameters and currents fit the first-level cache."""
MOST_STATES = 3
"""Encoders that the loop takes."""


def update(o, k, p, x, r, s, fired, before, now, raw):
    """Stands for the neuron's `update`."""


@overload(update)
def _update(o, k, p, x, r, s, fired, before, now, raw):
    return EQUATIONS[o.instance_class].update


def margin(o, p, now):
    """Stands for the neuron's `margin`."""


@overload(margin)
def _margin(o, p, now):
    return EQUATIONS[o.instance_class].margin


def column(o, rows, n):
    """Stands for the entries `rows[:, n]` as a tuple, which stays in registers."""


TUPLES = {
    2: lambda o, rows, n: (rows[0, n], rows[1, n]),
    3: lambda o, rows, n: (rows[0, n], rows[1, n], rows[2, n]),
}


@overload(column)
def _column(o, rows, n):
    return TUPLES[len(EQUATIONS[o.instance_class].states)]


def parameters_of(o, p, n):
    """Stands for the parameters of a neuron as a tuple."""


PARAMETERS = {
    1: lambda o, p, n: (p[0, n], p[1, n], p[2, n]),
    2: lambda o, p, n: (p[0, n], p[1, n], p[2, n], p[3, n]),
    3: lambda o, p, n: (p[0, n], p[1, n], p[2, n], p[3, n], p[4, n]),
}


@overload(parameters_of)
def _parameters_of(o, p, n):
    return PARAMETERS[len(EQUATIONS[o.instance_class].parameters)]


@jit
def zeros(rows, room, like):
    """Zeros `[rows, room]` of the dtype of `like`."""
    return np.zeros((rows, room), like.dtype)


@jit
def fire(o, p, states, s):
    """`s = (margin > 0)` for a row of neurons."""
    for n in range(p.shape[1]):
        s[n] = s.dtype.type(margin(o, parameters_of(o, p, n), column(o, states, n)) > 0)


@jit
def update_row(o, k, p, x, r, s, fired, before, now, raw):
    """`raw[k] = update(...)` for a row of neurons."""
    for n in range(p.shape[1]):
        raw[k, n] = update(
            o, k, parameters_of(o, p, n), x[n], r[n], s[n], fired[n], column(o, before, n), column(o, now, n),
            column(o, raw, n),
        )  # fmt: skip


@jit
def reset_at_once(o, p, s, fired, now):
    """The reset without delay; `fired` becomes what the next step resets."""
    u = now[now.shape[0] - 1]
    for n in range(p.shape[1]):
        u[n] = u[n] - (s[n] - fired[n]) * (p[1, n] + o.zero * u[n])
    fire(o, p, now, fired)


@jit
def accumulate_row(grid, begin, z, r, s, code, started, acc, raw):
    """`acc` of a state that takes up sums, see `tables.Grid`, and the same in units of the state, `raw`."""
    own, own_unit, shift = grid.table.shape[1] > 1, grid.unit.size > 1, np.int32(grid.shift)
    for n in range(z.size):
        fired = np.int32(s[n] > 0)
        total = ((np.int32(z[n]) + np.int32(r[n])) << shift) + grid.bias[begin + n]
        kept = grid.table[fired, begin + n if own else 0, code[n]] if started else np.int32(0)
        acc[n] = grid.gain[fired] * total + kept
        raw[n] = acc[n] / grid.unit[begin + n if own_unit else 0]


@jit
def encode_integers(grid, begin, size, acc, code, near, pair):
    """Codes of a row of accumulators; behind its last neuron some valid code, which tables are read with."""
    if grid.bound.shape[0] > 1:
        for n in range(code.size):
            code[n] = np.searchsorted(grid.bound[begin + n], acc[n]) if n < size else 0
    else:
        encode_row(acc, grid.encoder, code, near, pair)


@jit(nogil=True)
def forward(
    begin, end, o, parameters, x, start, start_codes, encoders, levels, grids, w_rec, rec_scale, delayed, out, codes,
    values, raws, resets, last,
):  # fmt: skip
    """Tasks `begin` to `end`; whether every value was finite.

    Fills spikes `out` `[T, B, N]`, the last states `last`, and for each state `k` codes or values. `codes[k]`,
    `values[k]` (float states before a reset without delay), `raws[k]` (before the quantizer) and `resets` (what each
    step reset) are `[T, B, N]` where they are wanted, else empty. Under the integer rule `x` holds the sums,
    `grids[k]` the tables of a state that takes them up, and `start_codes` `[S, B, N]` the codes to start from, if any.
    """
    finite = True
    for task in range(begin, end):
        finite &= walk(
            task, o, parameters, x, start, start_codes, encoders, levels, grids, w_rec, rec_scale, delayed, out, codes,
            values, raws, resets, last,
        )  # fmt: skip
    return finite


@jit
def walk(
    task, o, parameters, x, start, start_codes, encoders, levels, grids, w_rec, rec_scale, delayed, out, codes, values,
    raws, resets, last
):  # fmt: skip
    """One sample, or `BLOCK` neurons of it, through time; whether every value was finite."""
    steps, _, neurons = out.shape
    states, recurrent = start.shape[0], w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    b, begin = task // blocks, (task % blocks) * width
    stop = min(neurons, begin + width)
    size = stop - begin
    room = ((w_rec.shape[1] if recurrent else size) + LANES - 1) // LANES * LANES
    p = parameters[:, begin:stop]
    before, now, raw = zeros(states, room, x), zeros(states, room, x), zeros(states, room, x)
    rows = zeros(5, room, x)
    s, fired, r, near, poison = rows[0], rows[1], rows[2], rows[3], rows[4]
    code, pair, spikers = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room + LANES, np.int32)
    acc, near_acc = np.zeros(room, np.int32), np.zeros(room, np.int32)
    for k in range(states):
        copy_row(start[k, b, begin:stop], before[k, :size])
    fire(o, p, before, s)
    copy_row(s, fired)
    for t in range(steps):
        current = x[t if x.shape[0] > 1 else 0, b, begin:stop]
        if recurrent:
            count = list_above(s[:size], x.dtype.type(0), spikers)
            sum_rows_of(near, 0, w_rec, spikers, 0, count, 0, w_rec.shape[1])
            for n in range(size):
                r[n] = near[n] * rec_scale[n]
        started = t > 0 or start_codes.size > 0
        for k in range(states):
            integer = grids[k].table.size > 0
            if integer:
                if started:
                    earlier = codes[k][t - 1] if t else start_codes[k]
                    for n in range(size):
                        code[n] = earlier[b, begin + n]
                accumulate_row(grids[k], begin, current, r, s, code, started, acc, raw[k])
                encode_integers(grids[k], begin, size, acc, code, near_acc, pair)
            else:
                update_row(o, k, p, current, r, s, fired, before, now, raw)
            note_not_finite(raw[k, :size], poison)
            if levels[k].size:
                if not integer:
                    encode_row(raw[k], encoders[k], code, near, pair)
                lookup_row(levels[k], code, now[k])
                row = codes[k][t, b, begin:stop]
                for n in range(size):
                    row[n] = np.uint8(code[n])
            else:
                copy_row(raw[k], now[k])
            if raws[k].size:
                copy_row(raw[k], raws[k][t, b, begin:stop])
        fire(o, p, now, s)
        copy_row(s, out[t, b, begin:stop])
        if resets.size:
            for n in range(size):
                resets[t, b, begin + n] = np.uint8(fired[n])
        for k in range(states):
            if values[k].size:
                copy_row(now[k], values[k][t, b, begin:stop])
        if delayed:
            copy_row(s, fired)
        else:
            reset_at_once(o, p, s, fired, now)
        for k in range(states):
            copy_row(now[k], before[k])
    total = x.dtype.type(0)
    for n in range(size):
        total += poison[n]
    for k in range(states):
        copy_row(now[k], last[k, b, begin:stop])
    return total == 0
