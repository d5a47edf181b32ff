"""LIF loops compiled with numba: one task per sample and block of neurons walks through time with its state in cache.

The forward kernels are compiled without fast-math, so no multiply-add is fused and values equal `reference.py` bit for
bit. All arrays are C-contiguous; `x` has one time step if the input is constant; `w_rec` is presynaptic first
and of size 0 without recurrence. Each kernel returns one flag per task: False if an input was not as promised.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from squat.ops.lif.rows import (
    EXACT,
    add_by_code,
    add_rows,
    add_scaled,
    clear_above,
    clear_fired,
    decay_row,
    encode_row,
    leak_row,
    list_above,
    list_firing,
    note_not_finite,
    pack_in_range,
    read_integers,
    reset_row,
    shift_row,
    subtract_fired,
    sum_rows,
    write_codes,
    write_output,
    write_spikes,
)

BLOCK = 1024
"""Neurons of a task without recurrence (a multiple of 8): its rows stay in the first-level cache."""


@njit(parallel=True, **EXACT)
def forward_integer(
    x, codes0, fresh, shift, table, bound, inverse_step, bias, ends, w_rec, limit, first, drop, levels, out, codes,
    inside, acc_out,
):  # fmt: skip
    """Integer rule. Writes outputs, codes, packed in-range bits and accumulators (the last two if they have size).

    Fails where a current is no integer within `limit`.
    """
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    good = np.ones(batch * blocks, np.bool_)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        acc, total, wrong = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)
        peak, code, spikers = np.zeros(size, x.dtype), np.zeros(size, np.uint32), np.zeros(size + 1, np.int64)
        own_table = table[start:stop] if table.shape[0] > 1 else table
        own_bound = bound[start:stop] if bound.shape[0] > 1 else bound
        for n in range(size):
            code[n] = codes0[b, start + n]
        for t in range(steps):
            read_integers(x[min(t, x.shape[0] - 1), b, start:stop], acc, wrong, peak)
            started = t > 0 or not fresh
            if recurrent and started:
                sum_rows(spikers, list_firing(code, first, spikers), w_rec, total)
                add_rows(acc, total)
            shift_row(acc, shift, bias[start:stop])
            if started:
                add_by_code(acc, own_table, code)
                if drop:
                    clear_fired(acc, code, first)
            encode_row(acc, own_bound, inverse_step, code)
            write_codes(code, codes[t, b, start:stop])
            write_output(code, first, levels, out[t, b, start:stop])
            if inside.size and ends.shape[0] == 1:
                pack_in_range(acc, ends[0, 0], ends[0, 1], inside[t, b, start // 8 : (stop + 7) // 8])
            elif inside.size:
                for n in range(size):  # per-channel ends: 1 where in range, which the packer then tests
                    total[n] = acc[n] >= ends[start + n, 0] and acc[n] <= ends[start + n, 1]
                pack_in_range(total, 1, 1, inside[t, b, start // 8 : (stop + 7) // 8])
            if acc_out.size:
                acc_out[t, b, start:stop] = acc
        good[task] = wrong.max() == 0 and peak.max() <= limit
    return good


@njit(parallel=True, **EXACT)
def forward_float(
    x, codes0, fresh, leak, reset, bound, inverse_step, w_rec, rec_scale, ends, first, drop, levels, out, codes, inside,
    a_out,
):  # fmt: skip
    """Float rule with quantized states. Writes as `forward_integer`; fails where a membrane is not finite."""
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    good = np.ones(batch * blocks, np.bool_)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        a, total, poison = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.zeros(size, x.dtype)
        code, spikers = np.zeros(size, np.uint32), np.zeros(size + 1, np.int64)
        own_leak = leak[start:stop] if leak.shape[0] > 1 else leak
        for n in range(size):
            code[n] = codes0[b, start + n]
        for t in range(steps):
            current = x[min(t, x.shape[0] - 1), b, start:stop]
            if t > 0 or not fresh:
                leak_row(a, own_leak, code, current)
                if recurrent:
                    sum_rows(spikers, list_firing(code, first, spikers), w_rec, total)
                    add_scaled(a, total, rec_scale)
                reset_row(a, reset, code)
                if drop:
                    clear_fired(a, code, first)
            else:
                a[:] = current
            note_not_finite(a, poison)
            encode_row(a, bound, inverse_step, code)
            write_codes(code, codes[t, b, start:stop])
            write_output(code, first, levels, out[t, b, start:stop])
            if inside.size:
                pack_in_range(a, ends[0], ends[1], inside[t, b, start // 8 : (stop + 7) // 8])
            if a_out.size:
                a_out[t, b, start:stop] = a
        good[task] = poison.sum() == 0
    return good


@njit(parallel=True, **EXACT)
def forward_membrane(x, u0, beta, theta, subtract, zero, drop, w_rec, rec_scale, spiking, out, u_out):
    """Float states. Writes outputs and membranes; fails where a membrane is not finite."""
    steps, batch, neurons = u_out.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    good = np.ones(batch * blocks, np.bool_)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        u, a, total = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.zeros(size, x.dtype)
        poison, spikers = np.zeros(size, x.dtype), np.zeros(size + 1, np.int64)
        own_beta = beta[start:stop] if beta.size > 1 else beta
        u[:] = u0[b, start:stop]
        for t in range(steps):
            decay_row(a, u, theta, own_beta, x[min(t, x.shape[0] - 1), b, start:stop], zero)
            if recurrent:
                sum_rows(spikers, list_above(u, theta, spikers), w_rec, total)
                add_scaled(a, total, rec_scale)
            if subtract:
                subtract_fired(a, u, theta)
            if drop:
                clear_above(a, u, theta)
            note_not_finite(a, poison)
            u[:] = a
            u_out[t, b, start:stop] = a
            if spiking:
                write_spikes(a, theta, out[t, b, start:stop])
        good[task] = poison.sum() == 0
    return good
