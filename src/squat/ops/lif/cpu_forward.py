"""Forward LIF loops compiled with numba: one task per sample and block of neurons walks through time with its state in
cache.

Compiled without fast-math, so no multiply-add is fused and values equal `reference.py` bit for bit. All arrays are
C-contiguous; `x` has one time step if the input is constant; `w_rec` is presynaptic first, padded to whole vectors, and
of size 0 without recurrence. Rows of a task have whole groups of `LANES` neurons; what lies behind the last neuron is
never read out.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from squat.kernels.jit import jit
from squat.ops.encoder import encode_and_look_up, encode_row, lookup_row
from squat.ops.lif.groups import step_row
from squat.ops.lif.rows import (
    add_scaled,
    clear_above,
    clear_fired,
    copy_row,
    decay_row,
    list_above,
    list_firing,
    note_not_finite,
    pack_in_range,
    subtract_fired,
    write_spikes,
    write_step,
)
from squat.ops.row_sums import sum_rows_of
from squat.ops.simd import LANES, no_integers

BLOCK = 1024
"""Neurons of a task without recurrence (a multiple of 8): its rows stay in the first-level cache."""


@jit(parallel=True)
def integers_within(x, low, high):
    """Whether every entry of a flat array is an integer from `low` to `high`."""
    tasks = (x.size + BLOCK - 1) // BLOCK
    good = np.ones(tasks, np.bool_)
    for task in prange(tasks):
        start, stop, wrong = task * BLOCK, min((task + 1) * BLOCK, x.size), np.uint32(0)
        whole = start + (stop - start) // LANES * LANES
        for n in range(start, whole, LANES):
            wrong |= no_integers(x, n, low, high)
        for n in range(whole, stop):
            wrong |= np.uint32(not (low <= x[n] <= high and np.trunc(x[n]) == x[n]))
        good[task] = wrong == 0
    return good.all()


@jit(parallel=True)
def forward_integer(
    x, codes0, fresh, shift, table, encoder, bound, bias, ends, w_rec, first, drop, levels, out, codes, inside, acc_out,
):  # fmt: skip
    """Integer rule. Writes outputs, codes, packed in-range bits and accumulators (the last two if they have size).

    `bound` has size only where neurons have bounds of their own; else `encoder` has them.
    """
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    rest, no_theta = np.zeros(table.shape[1], np.int32), out.dtype.type(0)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size, room = stop - start, (stop - start + LANES - 1) // LANES * LANES
        acc, value, code = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.int32)
        near, pair = np.empty(room, np.int32), np.empty(room, np.int32)
        total, spikers = np.zeros(w_rec.shape[1], w_rec.dtype), np.empty(room + LANES, np.int32)
        offset = np.zeros(room, np.int32)
        offset[:size] = bias[start:stop]
        own_table = table[start:stop] if table.shape[0] > 1 else table
        common = not (drop or levels.size or inside.size or acc_out.size or bound.size) and own_table.shape[0] == 1
        common = common and out.itemsize == 4
        short_codes, short_out = np.empty(room, np.uint8), np.empty(room, out.dtype)
        if not fresh:
            for n in range(size):
                code[n] = codes0[b, start + n]
            _by_code(own_table, code, value, size)
        for t in range(steps):
            started = t > 0 or not fresh
            leak = own_table[0] if started else rest
            now, at = min(t, x.shape[0] - 1), (t * batch + b) * neurons + start
            here, sums = (now * batch + b) * neurons + start, recurrent and started
            if (common and size == room and not sums) and step_row(
                x, here, offset, code, shift, leak, no_theta, encoder, first, codes, out, at
            ):
                continue
            row = x[now, b, start:stop]
            for n in range(size):
                acc[n] = np.int32(row[n])
            if sums:
                sum_rows_of(total, 0, w_rec, spikers, 0, list_firing(code, size, first, spikers), 0, w_rec.shape[1])
                for n in range(size):
                    acc[n] += np.int32(total[n])
            if common and size == room:
                if step_row(acc, 0, offset, code, shift, leak, no_theta, encoder, first, codes, out, at):
                    continue
            elif common and step_row(
                acc, 0, offset, code, shift, leak, no_theta, encoder, first, short_codes, short_out, 0
            ):
                copy_row(short_codes, codes[t, b, start:stop])
                copy_row(short_out, out[t, b, start:stop])
                continue
            for n in range(size):
                acc[n] = (acc[n] << shift) + (offset[n] + value[n])
            if drop and started:
                clear_fired(acc, code, first)
            if bound.shape[0] > 1:
                for n in range(size):
                    code[n] = np.searchsorted(bound[start + n], acc[n])
                _by_code(own_table, code, value, size)
            elif own_table.shape[0] > 1:
                encode_row(acc, encoder, code, near, pair)
                _by_code(own_table, code, value, size)
            else:
                encode_and_look_up(acc, encoder, own_table[0], code, value, near, pair)
            write_step(code, first, levels, codes[t, b, start:stop], out[t, b, start:stop])
            if inside.size and ends.shape[0] == 1:
                pack_in_range(acc, ends[0, 0], ends[0, 1], size, inside[t, b, start // 8 : (stop + 7) // 8])
            elif inside.size:
                for n in range(size):  # per-channel ends: 1 where in range, which the packer then tests
                    pair[n] = acc[n] >= ends[start + n, 0] and acc[n] <= ends[start + n, 1]
                pack_in_range(pair, np.int32(1), np.int32(1), size, inside[t, b, start // 8 : (stop + 7) // 8])
            if acc_out.size:
                acc_out[t, b, start:stop] = acc[:size]


@jit(parallel=True)
def forward_float(
    x, codes0, fresh, leak, theta, encoder, w_rec, rec_scale, ends, first, drop, levels, out, codes, inside, a_out,
):  # fmt: skip
    """Float rule with quantized states; `theta` is subtracted after a spike. Writes as `forward_integer`.

    Returns one flag per task: False where a membrane is not finite.
    """
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    good = np.ones(batch * blocks, np.bool_)
    rest = np.zeros(leak.shape[1], leak.dtype)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size, room = stop - start, (stop - start + LANES - 1) // LANES * LANES
        a, value, poison = np.zeros(room, x.dtype), np.zeros(room, x.dtype), np.zeros(room, x.dtype)
        code, near, pair = np.zeros(room, np.int32), np.empty(room, x.dtype), np.empty(room, np.int32)
        total, spikers = np.zeros(w_rec.shape[1], w_rec.dtype), np.empty(room + LANES, np.int32)
        own_leak = leak[start:stop] if leak.shape[0] > 1 else leak
        common = not (drop or recurrent or levels.size or inside.size or a_out.size) and own_leak.shape[0] == 1
        common = common and out.itemsize == 4
        short_codes, short_out = np.empty(room, np.uint8), np.empty(room, out.dtype)
        if not fresh:
            for n in range(size):
                code[n] = codes0[b, start + n]
            _by_code(own_leak, code, value, size)
        for t in range(steps):
            started = t > 0 or not fresh
            if common:
                now, at = min(t, x.shape[0] - 1), (t * batch + b) * neurons + start
                here, lost = (now * batch + b) * neurons + start, theta if started else x.dtype.type(0)
                table, no_shift = own_leak[0] if started else rest, np.int32(0)
                if size == room:
                    if step_row(x, here, poison, code, no_shift, table, lost, encoder, first, codes, out, at):
                        continue
                else:
                    a[:size] = x[now, b, start:stop]
                    if step_row(a, 0, poison, code, no_shift, table, lost, encoder, first, short_codes, short_out, 0):
                        copy_row(short_codes, codes[t, b, start:stop])
                        copy_row(short_out, out[t, b, start:stop])
                        continue
            row = x[min(t, x.shape[0] - 1), b, start:stop]
            if started:
                for n in range(size):
                    a[n] = value[n] + row[n]
                if recurrent:
                    sum_rows_of(total, 0, w_rec, spikers, 0, list_firing(code, size, first, spikers), 0, w_rec.shape[1])
                    add_scaled(a, total, rec_scale)
                if theta != 0:
                    for n in range(size):
                        a[n] -= theta if code[n] >= first else x.dtype.type(0)
                if drop:
                    clear_fired(a, code, first)
            else:
                a[:size] = row
            note_not_finite(a, poison)
            if own_leak.shape[0] > 1:
                encode_row(a, encoder, code, near, pair)
                _by_code(own_leak, code, value, size)
            else:
                encode_and_look_up(a, encoder, own_leak[0], code, value, near, pair)
            write_step(code, first, levels, codes[t, b, start:stop], out[t, b, start:stop])
            if inside.size:
                pack_in_range(a, ends[0], ends[1], size, inside[t, b, start // 8 : (stop + 7) // 8])
            if a_out.size:
                a_out[t, b, start:stop] = a[:size]
        good[task] = poison.sum() == 0
    return good


@jit
def _by_code(table, code, value, size):
    """`value = table[0 or neuron, code]`."""
    if table.shape[0] > 1:
        for n in range(size):
            value[n] = table[n, code[n]]
    else:
        lookup_row(table[0], code, value)


@jit(parallel=True)
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
        u, a, poison = np.zeros(size, x.dtype), np.zeros(size, x.dtype), np.zeros(size, x.dtype)
        total, spikers = np.zeros(w_rec.shape[1], x.dtype), np.empty(size + 1, np.int32)
        own_beta = beta[start:stop] if beta.size > 1 else beta
        u[:] = u0[b, start:stop]
        for t in range(steps):
            decay_row(a, u, theta, own_beta, x[min(t, x.shape[0] - 1), b, start:stop], zero)
            if recurrent:
                sum_rows_of(total, 0, w_rec, spikers, 0, list_above(u, theta, spikers), 0, w_rec.shape[1])
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
