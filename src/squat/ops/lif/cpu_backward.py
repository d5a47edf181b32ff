"""Backward LIF loops compiled with numba; the derivation is in `ops/README.md`.

`g` is the gradient of the output (of the spike, for spiking neurons), `gu` of the membrane, `ga` of the update before
the quantizer, already zero where the zero reset dropped the step's input. Rows have whole groups of vectors.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from squat.kernels.jit import jit
from squat.ops.encoder import lookup_row
from squat.ops.lif.cpu_forward import BLOCK
from squat.ops.lif.groups import back_row
from squat.ops.row_sums import SAMPLES, add_products_of
from squat.ops.simd import HAS_AVX512, LANES

WORTH_SKIPPING = 6
"""Where fewer than one neuron in so many has a surrogate above zero, only those get the recurrent gradient."""


@jit(close=True)
def _dot(left, right):
    total = right.dtype.type(0)
    for n in range(right.size):
        total += left[n] * right[n]
    return total


@jit(close=True)
def add_recurrent(g, ga, w_rec, w_back, rate, size):
    """`g += ga @ w_rec`; neurons whose surrogate is zero are left out if they are most, and `w_back` has size."""
    active = g.size
    if w_back.size:
        active = 0
        for s in range(g.shape[0]):
            for n in range(size):
                active += rate[s, n] != 0
    if active * WORTH_SKIPPING > g.size:
        add_products_of(g, ga, w_rec, size)
        return
    for s in range(g.shape[0]):
        for n in range(size):
            if rate[s, n] != 0:
                g[s, n] += _dot(ga[s], w_back[n])


@jit(close=True)
def unpack_row(packed, flags):
    """Inverse of `pack_in_range`."""
    for n in range(flags.size):
        flags[n] = (packed[n >> 3] >> (n & 7)) & 1


@jit(close=True, parallel=True)
def backward_codes(
    g_out, g_last, codes, codes0, fresh, beta, levels, slope, first, zero, drop, subtract, spiking, w_rec, w_back,
    x_scale, inside, clipped, a, unit, theta, gx, gu0, g_beta, g_bias, g_theta,
):  # fmt: skip
    """Gradients of a loop over codes, both rules.

    `g_beta`, `g_bias` are `[batch or 0, N]`, `g_theta` `[batch * blocks or 0]`, float64: partial sums, so that the
    result does not depend on the number of threads. `a` is the membrane before the quantizer in units of `unit`, for
    `g_theta`. `w_rec` is padded to groups of four vectors, `w_back` its transpose where the surrogate is compact.
    """
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    group = SAMPLES if recurrent else 1
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    plain = not (zero or clipped or g_theta.size or g_beta.size) and x_scale.size == 1 and gx.shape[0] == steps > 1
    plain = plain and HAS_AVX512 and gx.itemsize == 4
    for task in prange((batch + group - 1) // group * blocks):
        b0, start = task // blocks * group, (task % blocks) * width
        stop, count = min(neurons, start + width), min(group, batch - b0)
        size = stop - start
        room = w_rec.shape[1] if recurrent else (size + LANES - 1) // LANES * LANES
        g, ga = np.zeros((group, room), g_out.dtype), np.zeros((group, room), g_out.dtype)
        rate, code = np.zeros((group, room), g_out.dtype), np.zeros((group, room), np.int32)
        decay, kept = np.zeros(room, g_out.dtype), np.zeros(room, g_out.dtype)
        sum_bias, flags = np.zeros((group, room), g_out.dtype), np.ones(size, np.uint8)
        up0, bias0 = ga[0], sum_bias[0]
        short_codes, short_gx = np.zeros(room, np.uint8), np.empty(room, gx.dtype)
        for n in range(size):
            decay[n] = beta[start + n] if beta.size > 1 else beta[0]
        for back in range(steps + 1):
            t = steps - 1 - back
            if t < 0 and fresh:
                break
            common = plain and back > 0 and t >= 0
            if common and not recurrent and size % LANES == 0:
                at = (t * batch + b0) * neurons + start
                back_row(g_out, at, codes, at, slope, decay, up0, x_scale[0], gx, bias0, size)
                continue
            if common and not recurrent:
                g[0, :size], short_codes[:size] = g_out[t, b0, start:stop], codes[t, b0, start:stop]
                back_row(g, 0, short_codes, 0, slope, decay, up0, x_scale[0], short_gx, bias0, room)
                gx[t, b0, start:stop] = short_gx[:size]
                continue
            for s in range(count):
                now, row = code[s], g[s]
                from_ = codes[t, b0 + s, start:stop] if t >= 0 else codes0[b0 + s, start:stop]
                for n in range(size):
                    now[n] = from_[n]
                lookup_row(slope, now, rate[s])
                if t >= 0:
                    row[:size] = g_out[t, b0 + s, start:stop]
                else:
                    row[:] = 0
            if recurrent:
                add_recurrent(g, ga, w_rec, w_back, rate, size)
            for s in range(count):
                b, now, up = b0 + s, code[s], ga[s]
                if common and size % LANES == 0:
                    at = (t * batch + b) * neurons + start
                    back_row(g, s * room, codes, at, slope, decay, up, x_scale[0], gx, sum_bias[s], size)
                    continue
                if zero:  # a membrane that the reset cleared is not passed on
                    for n in range(size):
                        kept[n] = decay[n] if now[n] < first else g.dtype.type(0)
                else:
                    kept[:] = decay
                if g_theta.size and spiking:
                    total = g.dtype.type(0)
                    for n in range(size):
                        total += g[s, n] * rate[s, n]
                    g_theta[b * blocks + task % blocks] -= total
                for n in range(size):  # ga still is that of the step after, gu takes its place
                    up[n] = g[s, n] * rate[s, n] + kept[n] * up[n]
                if back == 0:
                    for n in range(size):
                        up[n] += g_last[b, start + n]
                if t < 0:
                    gu0[b, start:stop] = up[:size]
                    continue
                if inside.size:
                    unpack_row(inside[t, b, start // 8 : (stop + 7) // 8], flags)
                if g_theta.size:
                    total = g.dtype.type(0)
                    for n in range(size):
                        reach = a[t, b, start + n] * unit[start + n if unit.size > 1 else 0] * flags[n]
                        total += up[n] * (levels[now[n]] - reach) / theta
                    g_theta[b * blocks + task % blocks] += total
                if clipped:
                    for n in range(size):
                        up[n] *= flags[n]
                if t > 0 or not fresh:
                    before = codes[t - 1, b, start:stop] if t > 0 else codes0[b, start:stop]
                    if g_theta.size and subtract:
                        total = g.dtype.type(0)
                        for n in range(size):
                            total += up[n] * (before[n] >= first)
                        g_theta[b * blocks + task % blocks] -= total
                    if drop:
                        for n in range(size):
                            up[n] *= before[n] < first
                    if g_beta.size:
                        for n in range(size):
                            passes = not (zero and before[n] >= first)
                            g_beta[b, start + n] += up[n] * passes * levels[before[n]]
                _write_input_gradient(up, x_scale, start, gx[min(t, gx.shape[0] - 1), b, start:stop], gx.shape[0] == 1)
                if g_bias.size:
                    for n in range(size):
                        sum_bias[s, n] += up[n]
        if g_bias.size:
            for s in range(count):
                g_bias[b0 + s, start:stop] = sum_bias[s, :size]


@jit(close=True)
def _write_input_gradient(ga, x_scale, start, row, constant):
    """`gx[t] = scale * ga`, or its sum over time where the input was constant."""
    if constant:
        for n in range(row.size):
            row[n] += ga[n] * x_scale[start + n if x_scale.size > 1 else 0]
    elif x_scale.size > 1:
        for n in range(row.size):
            row[n] = ga[n] * x_scale[start + n]
    else:
        factor = x_scale[0]
        for n in range(row.size):
            row[n] = ga[n] * factor


@jit(close=True, parallel=True)
def backward_membrane(
    g_out, g_last, u, u0, fresh, slope, slope0, beta, theta, subtract, zero, drop, spiking, w_rec, w_back, gx, gu0,
    g_beta, g_theta,
):  # fmt: skip
    """Gradients of a loop with float states; `slope` `[T, B, N]` is the surrogate at each membrane (size 0: ones)."""
    steps, batch, neurons = u.shape
    recurrent = w_rec.size > 0
    group = SAMPLES if recurrent else 1
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    one = np.ones(1, g_out.dtype)
    for task in prange((batch + group - 1) // group * blocks):
        b0, start = task // blocks * group, (task % blocks) * width
        stop, count = min(neurons, start + width), min(group, batch - b0)
        size = stop - start
        room = w_rec.shape[1] if recurrent else size
        g, ga = np.zeros((group, room), g_out.dtype), np.zeros((group, room), g_out.dtype)
        rate, decay = np.ones((group, room), g_out.dtype), np.empty(size, g_out.dtype)
        for n in range(size):
            decay[n] = beta[start + n] if beta.size > 1 else beta[0]
        for back in range(steps + 1):
            t = steps - 1 - back
            if t < 0 and fresh:
                break
            for s in range(count):
                row, b = g[s], b0 + s
                if t >= 0:
                    row[:size] = g_out[t, b, start:stop]
                else:
                    row[:] = 0
                if spiking:
                    rate[s, :size] = slope[t, b, start:stop] if t >= 0 else slope0[b, start:stop]
            if recurrent:
                add_recurrent(g, ga, w_rec, w_back, rate, size)
            for s in range(count):
                b, up = b0 + s, ga[s]
                now = u[t, b, start:stop] if t >= 0 else u0[b, start:stop]
                if g_theta.size and spiking:
                    total = g.dtype.type(0)
                    for n in range(size):
                        total += g[s, n] * rate[s, n]
                    g_theta[b * blocks + task % blocks] -= total
                for n in range(size):  # ga still is that of the step after, gu takes its place
                    passed = decay[n] * up[n]
                    up[n] = g[s, n] * rate[s, n] + (g.dtype.type(0) if zero and now[n] > theta else passed)
                if back == 0:
                    for n in range(size):
                        up[n] += g_last[b, start + n]
                if t < 0:
                    gu0[b, start:stop] = up[:size]
                    continue
                before = u[t - 1, b, start:stop] if t > 0 else u0[b, start:stop]
                if subtract and g_theta.size:
                    total = g.dtype.type(0)
                    for n in range(size):
                        total += up[n] * (before[n] > theta)
                    g_theta[b * blocks + task % blocks] -= total
                if drop:
                    for n in range(size):
                        up[n] *= not before[n] > theta
                if g_beta.size:
                    for n in range(size):
                        g_beta[b, start + n] += up[n] * before[n] * (not (zero and before[n] > theta))
                _write_input_gradient(up, one, start, gx[min(t, gx.shape[0] - 1), b, start:stop], gx.shape[0] == 1)
