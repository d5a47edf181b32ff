"""One time step of an integer layer, product and neurons in one call (numba), for streams of few samples."""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit
from squat.ops.encoder import encode_and_look_up
from squat.ops.lif.rows import clear_fired, list_firing
from squat.ops.row_sums import sum_rows_of
from squat.ops.simd import LANES, append_places, differs


@jit
def list_spikes(x, places):
    """Places of the ones in a row, in order; -1 if an entry is neither 0 nor 1. `places` has room for `LANES` more."""
    count, other = 0, np.uint32(0)
    whole = x.size // LANES * LANES
    for at in range(0, whole, LANES):
        bits = differs(x, at, x.dtype.type(0))
        if bits:
            other |= bits & differs(x, at, x.dtype.type(1))
            count += append_places(bits, at, places, count)
    for at in range(whole, x.size):
        if x[at] != 0:
            other |= np.uint32(x[at] != 1)
            places[count] = at
            count += 1
    return -1 if other else count


@jit
def step_integer(
    x, codes0, fresh, columns, w_rec, shift, table, encoder, bias, first, drop, levels, spiking, out, u, codes
):
    """As `forward_integer` for one step, the sums of spikes `x` `[B, in]` included; `table` is shared by all neurons.

    False, with nothing of use written, where `x` is no spikes or a carried code is beyond the table.
    """
    neurons = bias.size
    room = (neurons + LANES - 1) // LANES * LANES
    acc, leak, code = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.int32)
    near, pair = np.empty(room, np.int32), np.empty(room, np.int32)
    sums, total = np.empty(columns.shape[1], columns.dtype), np.zeros(w_rec.shape[1], w_rec.dtype)
    places = np.empty(max(x.shape[1], neurons) + 2 * LANES, np.int32)
    for b in range(x.shape[0]):
        count = list_spikes(x[b], places)
        if count < 0:
            return False
        sum_rows_of(sums, 0, columns, places, 0, count, 0, columns.shape[1])
        highest = 0
        if fresh:
            leak[:] = 0
        else:
            for n in range(neurons):
                code[n] = codes0[b, n]
                highest = max(highest, code[n])
            if highest >= levels.size:
                return False
            if w_rec.size:
                sum_rows_of(total, 0, w_rec, places, 0, list_firing(code, neurons, first, places), 0, w_rec.shape[1])
            for n in range(neurons):
                leak[n] = table[code[n]]
        for n in range(neurons):
            acc[n] = (np.int32(sums[n]) << shift) + (bias[n] + leak[n])
        if w_rec.size:
            for n in range(neurons):
                acc[n] += np.int32(total[n]) << shift
        if drop and not fresh:
            clear_fired(acc, code, first)
        encode_and_look_up(acc, encoder, table, code, leak, near, pair)
        for n in range(neurons):
            codes[b, n] = code[n]
            u[b, n] = levels[code[n]]
            out[b, n] = np.float32(code[n] >= first) if spiking else u[b, n]
    return True
