"""The compiled loops of the engine (numba): adds of weight rows for each event, accumulators, codes as bytes.

All arrays are C-contiguous; rows of weights are padded to whole vectors, rows of a task to whole groups of `LANES`.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from squat.kernels.jit import jit
from squat.ops.encoder import encode_and_look_up, encode_row, lookup_row
from squat.ops.row_sums import sum_rows_of
from squat.ops.simd import LANES, append_places, at_least


@jit
def list_spikes(row, size, first, base, places, at):
    """`base + n` for every `row[n] >= first`, in order, to `places[at:]`; returns how many.

    `places` has room for `LANES` more.
    """
    count, whole = 0, size // LANES * LANES
    for n in range(0, whole, LANES):
        count += append_places(at_least(row, n, row.dtype.type(first)), base + n, places, at + count)
    for n in range(whole, size):
        places[at + count] = base + n
        count += np.int64(row[n] >= first)
    return count


@jit(parallel=True)
def spiking_layer(x, first, inputs, weight, z, codes0, fresh, shift, table, encoder, bound, bias, fires, drop, codes):
    """Codes of a layer through time; each task is a sample.

    Sums are those of the events in `x [T, B, inputs]`, or `z [T or 1, B, N]` where `x` has no size. `weight` has a row
    for each input that `x` has, then one for each recurrent spike; its size is 0 without either. `bound` has size only
    where neurons have bounds of their own; else `encoder` has them. `bias` is `[N]`.
    """
    steps, batch, neurons = codes.shape
    recurrent = weight.shape[0] > inputs
    room = (neurons + LANES - 1) // LANES * LANES
    for b in prange(batch):
        acc, value, code = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.int32)
        near, pair = np.empty(room, np.int32), np.empty(room, np.int32)
        total, places = np.zeros(weight.shape[1], weight.dtype), np.empty(inputs + room + LANES, np.int32)
        if not fresh:
            for n in range(neurons):
                code[n] = codes0[b, n]
            _by_code(table, code, value, neurons)
        for t in range(steps):
            started = t > 0 or not fresh
            count = 0
            if x.size:
                count = list_spikes(x[t, b], inputs, first, 0, places, 0)
            if recurrent and started:
                count += list_spikes(code, neurons, fires, inputs, places, count)
            if z.size:
                row = z[min(t, z.shape[0] - 1), b]
                if count:
                    sum_rows_of(total, 0, weight, places, 0, count, 0, weight.shape[1])
                    for n in range(neurons):
                        acc[n] = ((row[n] + np.int32(total[n])) << shift) + (bias[n] + value[n])
                else:
                    for n in range(neurons):
                        acc[n] = (row[n] << shift) + (bias[n] + value[n])
            else:
                sum_rows_of(total, 0, weight, places, 0, count, 0, weight.shape[1])
                for n in range(neurons):
                    acc[n] = (np.int32(total[n]) << shift) + (bias[n] + value[n])
            if drop and started:
                for n in range(neurons):
                    acc[n] = acc[n] if code[n] < fires else np.int32(0)
            if bound.size:
                for n in range(neurons):
                    code[n] = np.searchsorted(bound[n], acc[n])
                _by_code(table, code, value, neurons)
            elif table.shape[0] > 1:
                encode_row(acc, encoder, code, near, pair)
                _by_code(table, code, value, neurons)
            else:
                encode_and_look_up(acc, encoder, table[0], code, value, near, pair)
            row_out = codes[t, b]
            for n in range(neurons):
                row_out[n] = np.uint8(code[n])


@jit
def _by_code(table, code, value, size):
    """`value = table[0 or neuron, code]`."""
    if table.shape[0] > 1:
        for n in range(size):
            value[n] = table[n, code[n]]
    else:
        lookup_row(table[0], code, value)


@jit(parallel=True)
def event_sums(x, first, weight, out):
    """`out[r] = sum of the weight rows of the spikes in x[r]`, for `x [R, inputs]` and `out [R, N]` int32."""
    tasks = (x.shape[0] + LANES - 1) // LANES
    for task in prange(tasks):
        places, total = np.empty(x.shape[1] + LANES, np.int32), np.empty(weight.shape[1], weight.dtype)
        for r in range(task * LANES, min((task + 1) * LANES, x.shape[0])):
            count = list_spikes(x[r], x.shape[1], first, 0, places, 0)
            sum_rows_of(total, 0, weight, places, 0, count, 0, weight.shape[1])
            for n in range(out.shape[1]):
                out[r, n] = total[n]


@jit(parallel=True)
def convolution_sums(x, first, weight, stride, padding, out):
    """Sums of a convolution, event by event: `x [R, C, H, W]`, `weight [C, rows, columns, C']`, `out [R, H', W', C']`.

    Spikes are the entries from `first` on; with `first` 0 entries count as they are.
    """
    channels, rows, columns, outputs = weight.shape
    for r in prange(x.shape[0]):
        out[r] = 0
        for c in range(channels):
            for i in range(x.shape[2]):
                for j in range(x.shape[3]):
                    amount = np.int32(x[r, c, i, j])
                    if first:
                        amount = np.int32(amount >= first)
                    if amount == 0:
                        continue
                    for k in range(rows):
                        down = i + padding[0] - k
                        if down < 0 or down % stride[0] or down // stride[0] >= out.shape[1]:
                            continue
                        for m in range(columns):
                            right = j + padding[1] - m
                            if right < 0 or right % stride[1] or right // stride[1] >= out.shape[2]:
                                continue
                            target = out[r, down // stride[0], right // stride[1]]
                            for n in range(outputs):
                                target[n] += amount * weight[c, k, m, n]
