"""Steps of the LIF loops on one row of neurons, compiled with numba.

Each is a plain loop over few arrays without branches, so that the compiler vectorises it. Rows of codes (int32) and
accumulators may be longer than what is written from them. Nothing here uses fast-math, see `cpu_forward.py`.
"""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit
from squat.ops.simd import LANES, append_places, at_least


@jit
def copy_row(source, target):
    """The first entries of a row that is longer."""
    for n in range(target.size):
        target[n] = source[n]


@jit
def add_scaled(a, total, scale):
    """`a += total * scale`, rounded twice."""
    for n in range(scale.size):
        a[n] += total[n] * scale[n]


@jit
def clear_fired(a, code, first):
    """`a = 0` where the code fires."""
    for n in range(a.size):
        a[n] = a[n] if code[n] < first else a.dtype.type(0)


@jit
def note_not_finite(a, poison):
    """`poison` becomes NaN for good where `a` is NaN or infinite."""
    for n in range(a.size):
        poison[n] += a[n] * a.dtype.type(0)


@jit
def write_step(code, first, levels, codes, out):
    """Codes as bytes, and spikes, or levels if there are any."""
    if levels.size:
        for n in range(out.size):
            codes[n] = np.uint8(code[n])
            out[n] = levels[code[n]]
    else:
        for n in range(out.size):
            codes[n] = np.uint8(code[n])
            out[n] = out.dtype.type(code[n] >= first)


@jit
def list_firing(code, size, first, spikers):
    """Indices of the codes that fire, in order; returns how many. `spikers` has room for `LANES` more."""
    count = 0
    for at in range(0, code.size, LANES):
        bits = at_least(code, at, np.int32(first))
        if at + LANES > size:
            bits &= (np.uint32(1) << np.uint32(size - at)) - np.uint32(1)
        count += append_places(bits, at, spikers, count)
    return count


@jit
def list_above(u, theta, spikers):
    """Indices of the membranes above threshold, in order; returns how many."""
    count = 0
    for n in range(u.size):
        spikers[count] = n
        count += np.int64(u[n] > theta)
    return count


@jit
def pack_in_range(values, low, high, size, packed):
    """One bit a value, eight a byte, lowest bit first: whether it lies in `[low, high]`."""
    for k in range(packed.size):
        byte = np.uint32(0)
        for bit in range(min(8, size - 8 * k)):
            value = values[8 * k + bit]
            byte |= np.uint32(value >= low and value <= high) << np.uint32(bit)
        packed[k] = byte


@jit
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


@jit
def subtract_fired(a, u, theta):
    """`a -= theta` where the membrane `u` before was above threshold."""
    for n in range(a.size):
        a[n] -= theta if u[n] > theta else a.dtype.type(0)


@jit
def clear_above(a, u, theta):
    """`a = 0` where the membrane `u` before was above threshold."""
    for n in range(a.size):
        a[n] = a[n] if u[n] <= theta else a.dtype.type(0)


@jit
def write_spikes(u, theta, out):
    """`out = (u > theta)`."""
    for n in range(u.size):
        out[n] = out.dtype.type(u[n] > theta)
