"""Steps of the LIF loops on one row of neurons, compiled with numba.

Each is a plain loop over few arrays without branches, so that the compiler vectorises it. Codes are `uint32` in these
rows: an unsigned index needs no test for negative values. Nothing here uses fast-math, see `cpu_forward.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LINEAR_SEARCH = 15
"""Up to this many boundaries counting all of them (vectorised) beats a binary search."""

EXACT: dict[str, Any] = {"cache": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}


@njit(**EXACT)
def encode_row(values, bounds, inverse_step, code):
    """`code[n] = #{k : values[n] > bounds[., k]}`; `inverse_step > 0` says that the bounds are evenly spaced."""
    count = bounds.shape[1]
    if bounds.shape[0] > 1:
        for n in range(code.size):
            code[n] = np.searchsorted(bounds[n], values[n])
    elif count <= LINEAR_SEARCH:
        code[:] = 0
        for k in range(count):
            _count_above(values, bounds[0, k], code)
    elif inverse_step > 0:
        _guess_and_repair(values, bounds[0], inverse_step, code)
    else:
        code[:] = 0
        step = (count + 1) // 2
        while step > 0:
            _half(values, bounds[0], np.uint32(step), code)
            step //= 2


@njit(**EXACT)
def _count_above(values, bound, code):
    for n in range(code.size):
        code[n] += np.uint32(values[n] > bound)


@njit(**EXACT)
def _half(values, bounds, step, code):
    """One step of a binary search for `2**bits - 1` bounds."""
    for n in range(code.size):
        code[n] += step * np.uint32(values[n] > bounds[code[n] + step - np.uint32(1)])


@njit(**EXACT)
def _guess_and_repair(values, bounds, inverse_step, code):
    """A guess by arithmetic is off by one code at most; two comparisons with the true bounds repair it."""
    first, scale, count = np.float32(bounds[0]), np.float32(inverse_step), np.float32(bounds.size)
    for n in range(code.size):
        guess = (np.float32(values[n]) - first) * scale + np.float32(1)
        # In this order NaN becomes 0, not a wild index.
        guess = guess if guess > np.float32(0) else np.float32(0)
        guess = guess if guess < count else count
        code[n] = np.uint32(np.int32(guess))
    last = np.uint32(bounds.size - 1)
    for n in range(code.size):
        below = max(code[n], np.uint32(1)) - np.uint32(1)
        code[n] -= np.uint32(code[n] > 0) & np.uint32(values[n] <= bounds[below])
    for n in range(code.size):
        code[n] += np.uint32(code[n] <= last) & np.uint32(values[n] > bounds[min(code[n], last)])


@njit(**EXACT)
def read_integers(current, acc, wrong, peak):
    """`acc = int(current)`; notes what was no integer, and the largest magnitude."""
    for n in range(acc.size):
        z = np.int32(current[n])
        acc[n] = z
        wrong[n] |= np.int32(current.dtype.type(z) != current[n])
        magnitude = abs(current[n])
        peak[n] = magnitude if magnitude > peak[n] else peak[n]


@njit(**EXACT)
def add_rows(acc, other):
    """`acc += other`."""
    for n in range(acc.size):
        acc[n] += other[n]


@njit(**EXACT)
def add_scaled(a, total, scale):
    """`a += total * scale`, rounded twice."""
    for n in range(a.size):
        a[n] += total[n] * scale[n]


@njit(**EXACT)
def shift_row(acc, shift, bias):
    """`acc = (acc << shift) + bias`."""
    if bias.size:
        for n in range(acc.size):
            acc[n] = (acc[n] << shift) + bias[n]
    else:
        for n in range(acc.size):
            acc[n] = acc[n] << shift


@njit(**EXACT)
def add_by_code(acc, table, code):
    """`acc += table[0 or n, code]`."""
    if table.shape[0] > 1:
        for n in range(acc.size):
            acc[n] += table[n, code[n]]
    else:
        row = table[0]
        for n in range(acc.size):
            acc[n] += row[code[n]]


@njit(**EXACT)
def leak_row(a, leak, code, current):
    """`a = leak[0 or n, code] + current`."""
    if leak.shape[0] > 1:
        for n in range(a.size):
            a[n] = leak[n, code[n]] + current[n]
    else:
        row = leak[0]
        for n in range(a.size):
            a[n] = row[code[n]] + current[n]


@njit(**EXACT)
def reset_row(a, reset, code):
    """`a -= reset[code]`."""
    for n in range(a.size):
        a[n] -= reset[code[n]]


@njit(**EXACT)
def clear_fired(a, code, first):
    """`a = 0` where the code fires."""
    for n in range(a.size):
        a[n] = a[n] if code[n] < first else a.dtype.type(0)


@njit(**EXACT)
def note_not_finite(a, poison):
    """`poison` becomes NaN for good where `a` is NaN or infinite."""
    for n in range(a.size):
        poison[n] += a[n] * a.dtype.type(0)


@njit(**EXACT)
def write_codes(code, codes):
    """Codes as bytes."""
    for n in range(code.size):
        codes[n] = np.uint8(code[n])


@njit(**EXACT)
def write_output(code, first, levels, out):
    """Spikes, or levels if there are any."""
    if levels.size:
        for n in range(code.size):
            out[n] = levels[code[n]]
    else:
        for n in range(code.size):
            out[n] = out.dtype.type(code[n] >= first)


@njit(**EXACT)
def list_firing(code, first, spikers):
    """Indices of the codes that fire, in order; returns how many."""
    count = 0
    for n in range(code.size):
        spikers[count] = n
        count += np.int64(code[n] >= first)
    return count


@njit(**EXACT)
def list_above(u, theta, spikers):
    """Indices of the membranes above threshold, in order; returns how many."""
    count = 0
    for n in range(u.size):
        spikers[count] = n
        count += np.int64(u[n] > theta)
    return count


@njit(**EXACT)
def sum_rows(spikers, count, w_rec, total):
    """`total = sum of the rows of w_rec that spiked`, in index order."""
    total[:] = 0
    for k in range(count):
        add_rows(total, w_rec[spikers[k]])


@njit(**EXACT)
def pack_in_range(values, low, high, packed):
    """One bit a value, eight a byte, lowest bit first: whether it lies in `[low, high]`."""
    for k in range(packed.size):
        byte = np.uint32(0)
        for bit in range(min(8, values.size - 8 * k)):
            value = values[8 * k + bit]
            byte |= np.uint32(value >= low and value <= high) << np.uint32(bit)
        packed[k] = byte


@njit(**EXACT)
def decay_row(a, u, theta, decay, current, zero):
    """`a = decay * u + current`; under the zero reset a membrane above threshold counts as 0. `decay` is `[1 or N]`."""
    if zero:
        for n in range(a.size):
            a[n] = u[n] if u[n] <= theta else a.dtype.type(0)
    else:
        a[:] = u
    if decay.size > 1:
        for n in range(a.size):
            a[n] = decay[n] * a[n] + current[n]
    else:
        factor = decay[0]
        for n in range(a.size):
            a[n] = factor * a[n] + current[n]


@njit(**EXACT)
def subtract_fired(a, u, theta):
    """`a -= theta` where the membrane `u` before was above threshold."""
    for n in range(a.size):
        a[n] -= theta if u[n] > theta else a.dtype.type(0)


@njit(**EXACT)
def clear_above(a, u, theta):
    """`a = 0` where the membrane `u` before was above threshold."""
    for n in range(a.size):
        a[n] = a[n] if u[n] <= theta else a.dtype.type(0)


@njit(**EXACT)
def write_spikes(u, theta, out):
    """`out = (u > theta)`."""
    for n in range(u.size):
        out[n] = out.dtype.type(u[n] > theta)
