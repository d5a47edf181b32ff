"""LIF loops compiled with numba: one task per sample and block of neurons walks through time with its state in cache.

Forward kernels are compiled without fast-math, so no multiply-add is fused and values equal `reference.py` bit for bit;
the backward ones may fuse and reorder. All arrays are C-contiguous; `x` has one time step if the input is constant.
`w_rec` is `[presynaptic, postsynaptic]` forward, `[postsynaptic, presynaptic]` backward, of size 0 without recurrence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

BLOCK = 1024
"""Neurons of a task without recurrence: its rows stay in the first-level cache."""
LINEAR_SEARCH = 15
"""Up to this many boundaries counting all of them (vectorised) beats a binary search."""

_exact: dict[str, Any] = {"cache": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}
_close = {**_exact, "fastmath": {"contract", "reassoc", "nsz"}}


@njit(**_exact)
def encode_row(values, bounds, inverse_step, codes):
    """`codes[n] = #{k : values[n] > bounds[., k]}`; `inverse_step > 0` says that the bounds are evenly spaced."""
    size, count = values.size, bounds.shape[1]
    if bounds.shape[0] > 1:
        for n in range(size):
            codes[n] = np.searchsorted(bounds[n], values[n])
        return
    row = bounds[0]
    if count <= LINEAR_SEARCH:
        for n in range(size):
            codes[n] = 0
        for k in range(count):
            bound = row[k]
            for n in range(size):
                codes[n] += np.int32(values[n] > bound)
    elif inverse_step > 0:
        for n in range(size):
            guess = (np.float32(values[n]) - np.float32(row[0])) * np.float32(inverse_step)
            code = np.int32(min(max(guess + np.float32(1), np.float32(0)), np.float32(count)))
            code = min(max(code, np.int32(0)), np.int32(count))  # NaN must not become a wild index
            code -= np.int32(code > 0 and values[n] <= row[max(code - 1, 0)])
            code += np.int32(code < count and values[n] > row[min(code, count - 1)])
            codes[n] = code
    else:
        for n in range(size):
            codes[n] = 0
        step = (count + 1) // 2
        while step > 0:
            for n in range(size):
                codes[n] += np.int32(step) * np.int32(values[n] > row[codes[n] + step - 1])
            step //= 2


@njit(**_exact)
def pack_row(flags, packed):
    """Eight flags a byte, lowest bit first."""
    for k in range(packed.size):
        byte = 0
        for bit in range(min(8, flags.size - 8 * k)):
            byte |= np.int32(flags[8 * k + bit]) << bit
        packed[k] = byte


@njit(**_exact)
def sum_spiking_rows(spikers, count, w_rec, total):
    """`total = sum of the rows of w_rec that spiked`, in index order."""
    total[:] = 0
    for k in range(count):
        row = w_rec[spikers[k]]
        for n in range(total.size):
            total[n] += row[n]


@njit(parallel=True, **_exact)
def forward_integer(
    x, codes0, fresh, shift, table, bound, inverse_step, bias, ends, w_rec, limit, first, drop, level_out, out, codes,
    inside, acc_out,
):  # fmt: skip
    """Integer rule. Writes outputs, codes, packed in-range flags and (if `acc_out` has size) accumulators.

    Returns one flag per task: False if a current was no integer within `limit`.
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
        acc, code = np.zeros(size, np.int32), np.zeros(size, np.int32)
        total, spikers = np.zeros(size, np.int32), np.zeros(size, np.int32)
        own_table = table[start:stop] if table.shape[0] > 1 else table
        own_bound = bound[start:stop] if bound.shape[0] > 1 else bound
        own_bias = bias[start:stop]
        code[:] = codes0[b, start:stop]
        count, valid = 0, True
        for t in range(steps):
            started = t > 0 or not fresh
            current = x[min(t, x.shape[0] - 1), b, start:stop]
            wrong = 0
            for n in range(size):
                z = np.int32(current[n])
                wrong += np.int32(x.dtype.type(z) != current[n]) + np.int32(not abs(current[n]) <= limit)
                acc[n] = z
            valid = valid and wrong == 0
            if recurrent and started:
                if t == 0:
                    count = 0
                    for n in range(size):
                        spikers[count] = n
                        count += np.int32(code[n] >= first)
                sum_spiking_rows(spikers, count, w_rec, total)
                for n in range(size):
                    acc[n] += total[n]
            if own_bias.size:
                for n in range(size):
                    acc[n] = (acc[n] << shift) + own_bias[n]
            else:
                for n in range(size):
                    acc[n] = acc[n] << shift
            if started:
                if own_table.shape[0] > 1:
                    for n in range(size):
                        acc[n] += own_table[n, code[n]]
                else:
                    row = own_table[0]
                    for n in range(size):
                        acc[n] += row[code[n]]
                if drop:
                    for n in range(size):
                        acc[n] *= np.int32(code[n] < first)
            encode_row(acc, own_bound, inverse_step, code)
            count = _write_row(
                code, first, level_out, out[t, b, start:stop], codes[t, b, start:stop], spikers, recurrent
            )
            if inside.size:
                for n in range(size):
                    e = n + start if ends.shape[0] > 1 else 0
                    total[n] = acc[n] >= ends[e, 0] and acc[n] <= ends[e, 1]
                pack_row(total, inside[t, b, start // 8 : (stop + 7) // 8])
            if acc_out.size:
                acc_out[t, b, start:stop] = acc
        good[task] = valid
    return good


@njit(parallel=True, **_exact)
def forward_float(
    x, codes0, fresh, leak, reset, bound, inverse_step, w_rec, rec_scale, ends, first, drop, level_out, out, codes,
    inside, a_out,
):  # fmt: skip
    """Float rule with quantized states. Returns one flag per task: False if a membrane was not finite."""
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    good = np.ones(batch * blocks, np.bool_)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        a, total = np.zeros(size, x.dtype), np.zeros(size, x.dtype)
        code, spikers = np.zeros(size, np.int32), np.zeros(size, np.int32)
        flags = np.zeros(size, np.int32)
        own_leak = leak[start:stop] if leak.shape[0] > 1 else leak
        code[:] = codes0[b, start:stop]
        count, valid = 0, True
        for t in range(steps):
            started = t > 0 or not fresh
            current = x[min(t, x.shape[0] - 1), b, start:stop]
            if not started:
                a[:] = current
            elif own_leak.shape[0] > 1:
                for n in range(size):
                    a[n] = own_leak[n, code[n]] + current[n]
            else:
                row = own_leak[0]
                for n in range(size):
                    a[n] = row[code[n]] + current[n]
            if recurrent and started:
                if t == 0:
                    count = 0
                    for n in range(size):
                        spikers[count] = n
                        count += np.int32(code[n] >= first)
                sum_spiking_rows(spikers, count, w_rec, total)
                for n in range(size):
                    a[n] += total[n] * rec_scale[n]
            if started:
                for n in range(size):
                    a[n] -= reset[code[n]]
                if drop:
                    for n in range(size):
                        a[n] = a[n] if code[n] < first else 0
            wrong = 0
            for n in range(size):
                wrong += np.int32(not abs(a[n]) < np.inf)
            valid = valid and wrong == 0
            encode_row(a, bound, inverse_step, code)
            count = _write_row(
                code, first, level_out, out[t, b, start:stop], codes[t, b, start:stop], spikers, recurrent
            )
            if inside.size:
                for n in range(size):
                    flags[n] = a[n] >= ends[0] and a[n] <= ends[1]
                pack_row(flags, inside[t, b, start // 8 : (stop + 7) // 8])
            if a_out.size:
                a_out[t, b, start:stop] = a
        good[task] = valid
    return good


@njit(**_exact)
def _write_row(code, first, level_out, out, codes, spikers, recurrent):
    """Store codes and outputs of one step; list the spiking neurons if the layer is recurrent."""
    size = code.size
    for n in range(size):
        codes[n] = code[n]
    if level_out.size:
        for n in range(size):
            out[n] = level_out[code[n]]
    else:
        for n in range(size):
            out[n] = code[n] >= first
    count = 0
    if recurrent:
        for n in range(size):
            spikers[count] = n
            count += np.int32(code[n] >= first)
    return count


@njit(parallel=True, **_exact)
def forward_membrane(x, u0, beta, theta, subtract, zero, drop, w_rec, rec_scale, spiking, out, u_out):
    """Float states. Returns one flag per task: False if a membrane was not finite."""
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
        spikers = np.zeros(size, np.int32)
        own_beta = beta[start:stop] if beta.size > 1 else beta
        u[:] = u0[b, start:stop]
        wrong = 0
        for t in range(steps):
            current = x[min(t, x.shape[0] - 1), b, start:stop]
            if own_beta.size > 1:
                for n in range(size):
                    kept = x.dtype.type(0) if zero and u[n] > theta else u[n]
                    a[n] = own_beta[n] * kept + current[n]
            else:
                decay = own_beta[0]
                for n in range(size):
                    kept = x.dtype.type(0) if zero and u[n] > theta else u[n]
                    a[n] = decay * kept + current[n]
            if recurrent:
                count = 0
                for n in range(size):
                    spikers[count] = n
                    count += np.int32(u[n] > theta)
                sum_spiking_rows(spikers, count, w_rec, total)
                for n in range(size):
                    a[n] += total[n] * rec_scale[n]
            for n in range(size):
                if subtract:
                    a[n] = a[n] - theta if u[n] > theta else a[n]
                if drop:
                    a[n] = x.dtype.type(0) if u[n] > theta else a[n]
                u[n] = a[n]
                wrong += np.int32(not abs(a[n]) < np.inf)
            u_out[t, b, start:stop] = u
            if spiking:
                for n in range(size):
                    out[t, b, start + n] = u[n] > theta
        good[task] = wrong == 0
    return good
