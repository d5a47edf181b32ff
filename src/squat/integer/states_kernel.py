"""The compiled loop of neurons of several states (numba); equal to `states.next_codes` step by step.

All arrays are C-contiguous; rows of weights are padded to whole vectors, rows of a task to whole groups of `LANES`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from squat.integer.kernels import list_spikes
from squat.integer.states import BEFORE, SPIKE
from squat.kernels.jit import jit
from squat.ops.encoder import Encoder, encode_row
from squat.ops.row_sums import sum_rows_of
from squat.ops.simd import LANES


class StateTables(NamedTuple):
    """A state as the loop reads it: `gain` to `shift` of one that takes up sums, the rest of one that is computed.

    `bound` has size only where neurons have bounds of their own; else `encoder` has them.
    """

    gain: np.ndarray
    values: np.ndarray
    bound: np.ndarray
    encoder: Encoder
    bias: np.ndarray
    shift: int
    sources: np.ndarray
    codes: np.ndarray
    fresh: int


@jit
def _take_up(state, total, spike, started, acc, code):
    """`acc` of a state that takes up sums; `code` holds the codes before."""
    own, shift = state.values.shape[1] > 1, np.int32(state.shift)
    for n in range(total.size):
        s = np.int64(spike[n])
        kept = state.values[s, n if own else 0, code[n]] if started else np.int32(0)
        acc[n] = state.gain[s] * ((total[n] << shift) + state.bias[n]) + kept


@jit
def _encode(state, size, acc, code, near, pair):
    if state.bound.size:
        for n in range(code.size):
            code[n] = np.searchsorted(state.bound[n], acc[n]) if n < size else 0
    else:
        encode_row(acc, state.encoder, code, near, pair)


@jit
def _source(kind, state, now, spike, started, code, n):
    """One index of a computed state's table."""
    if kind == SPIKE:
        return np.int64(spike[n])
    if kind == BEFORE:
        return np.int64(code[n]) if started else np.int64(state.fresh)
    return np.int64(now[kind, n])


@jit
def _compute(state, now, spike, started, size, code):
    """Codes of a computed state; `code` holds those before."""
    own, two = state.codes.shape[0] > 1, state.sources.size > 1
    for n in range(size):
        row = _source(state.sources[0], state, now, spike, started, code, n)
        column = _source(state.sources[1], state, now, spike, started, code, n) if two else np.int64(0)
        code[n] = state.codes[n if own else 0, row, column]


@jit(nogil=True)
def layer_of_states(begin, end, x, first, inputs, weight, z, start, states, fires, ruler, codes):
    """Codes `[S, T, B, N]` of a layer through time, of samples `begin` to `end`.

    Sums are those of the events in `x [T, B, inputs]`, or `z [T or 1, B, N]` where `x` has no size; `weight` has a row
    for each input that `x` has, then one for each recurrent spike. `start [S, B, N]` has no size for a fresh start.
    A neuron fires from the code `fires[code of the ruler]` on.
    """
    count_of_states, steps, _, neurons = codes.shape
    recurrent = weight.shape[0] > inputs
    room = (neurons + LANES - 1) // LANES * LANES
    for b in range(begin, end):
        acc, total = np.zeros(room, np.int32), np.zeros(neurons, np.int32)
        near, pair, code = np.empty(room, np.int32), np.empty(room, np.int32), np.zeros(room, np.int32)
        now, spike = np.zeros((count_of_states, neurons), np.uint8), np.zeros(neurons, np.uint8)
        sums, places = np.zeros(weight.shape[1], weight.dtype), np.empty(inputs + room + LANES, np.int32)
        started = start.size > 0
        if started:
            for k in range(count_of_states):
                for n in range(neurons):
                    now[k, n] = start[k, b, n]
            _fire(now, fires, ruler, spike)
        for t in range(steps):
            count = 0
            if x.size:
                count = list_spikes(x[t, b], inputs, first, 0, places, 0)
            if recurrent and started:
                count += list_spikes(spike, neurons, 1, inputs, places, count)
            for n in range(neurons):
                total[n] = z[min(t, z.shape[0] - 1), b, n] if z.size else np.int32(0)
            if count:
                sum_rows_of(sums, 0, weight, places, 0, count, 0, weight.shape[1])
                for n in range(neurons):
                    total[n] += np.int32(sums[n])
            for k in range(count_of_states):
                for n in range(neurons):
                    code[n] = now[k, n]
                if states[k].gain.size:
                    _take_up(states[k], total, spike, started, acc, code)
                    _encode(states[k], neurons, acc, code, near, pair)
                else:
                    _compute(states[k], now, spike, started, neurons, code)
                for n in range(neurons):
                    now[k, n] = codes[k, t, b, n] = np.uint8(code[n])
            _fire(now, fires, ruler, spike)
            started = True


@jit
def _fire(now, fires, ruler, spike):
    last = now.shape[0] - 1
    for n in range(spike.size):
        spike[n] = now[last, n] >= fires[now[ruler, n] if ruler >= 0 else 0]
