"""Backward LIF loops compiled with numba; the derivation is in `ops/README.md`.

`g` is the gradient of the output (of the spike, for spiking neurons), `gu` of the membrane, `ga` of the update before
the quantizer, already zero where the zero reset dropped the step's input.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from squat.ops.lif.cpu_forward import BLOCK
from squat.ops.lif.rows import EXACT

CLOSE = {**EXACT, "fastmath": {"contract", "reassoc", "nsz"}}
"""Gradients have a tolerance: multiply-adds may fuse and sums may be reordered."""


@njit(**CLOSE)
def add_recurrent(g, ga, w_rec):
    """`g += ga @ w_rec`, four rows at a time; rows without gradient (compact surrogates) are skipped."""
    size, k = ga.size, 0
    while k + 4 <= size:
        g0, g1, g2, g3 = ga[k], ga[k + 1], ga[k + 2], ga[k + 3]
        if g0 != 0 or g1 != 0 or g2 != 0 or g3 != 0:
            r0, r1, r2, r3 = w_rec[k], w_rec[k + 1], w_rec[k + 2], w_rec[k + 3]
            for n in range(g.size):
                g[n] += g0 * r0[n] + g1 * r1[n] + g2 * r2[n] + g3 * r3[n]
        k += 4
    while k < size:
        row, g0 = w_rec[k], ga[k]
        for n in range(g.size):
            g[n] += g0 * row[n]
        k += 1


@njit(**CLOSE)
def unpack_row(packed, flags):
    """Inverse of `pack_row`."""
    for n in range(flags.size):
        flags[n] = (packed[n >> 3] >> (n & 7)) & 1


@njit(parallel=True, **CLOSE)
def backward_codes(
    g_out, g_last, codes, codes0, fresh, beta, levels, slope, keep, first, drop, subtract, spiking, w_rec, x_scale,
    inside, clipped, a, unit, theta, gx, gu0, g_beta, g_bias, g_theta,
):  # fmt: skip
    """Gradients of a loop over codes, both rules.

    `g_beta`, `g_bias` are `[batch or 0, N]`, `g_theta` `[tasks or 0]`, float64: partial sums, so that the result does
    not depend on the number of threads. `a` is the membrane before the quantizer in units of `unit`, for `g_theta`.
    """
    steps, batch, neurons = codes.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        g, ga = np.zeros(size, g_out.dtype), np.zeros(size, g_out.dtype)
        gu = np.zeros(size, g_out.dtype)
        flags = np.ones(size, np.uint8)
        decay = np.empty(size, g_out.dtype)
        for n in range(size):
            decay[n] = beta[start + n] if beta.size > 1 else beta[0]
        sum_theta = 0.0
        for back in range(steps + 1):
            t = steps - 1 - back
            if t < 0 and fresh:
                break
            code = codes[t, b, start:stop] if t >= 0 else codes0[b, start:stop]
            if t >= 0:
                g[:] = g_out[t, b, start:stop]
            else:
                g[:] = 0
            if recurrent:
                add_recurrent(g, ga, w_rec)
            for n in range(size):
                gu[n] = g[n] * slope[code[n]] + decay[n] * keep[code[n]] * ga[n]
            if g_theta.size and spiking:
                for n in range(size):
                    sum_theta -= g[n] * slope[code[n]]
            if back == 0:
                for n in range(size):
                    gu[n] += g_last[b, start + n]
            if t < 0:
                gu0[b, start:stop] = gu
                break
            if inside.size:
                unpack_row(inside[t, b, start // 8 : (stop + 7) // 8], flags)
            if g_theta.size:
                for n in range(size):
                    reach = a[t, b, start + n] * unit[start + n if unit.size > 1 else 0] * flags[n]
                    sum_theta += gu[n] * (levels[code[n]] - reach) / theta
            if clipped:
                for n in range(size):
                    ga[n] = gu[n] * flags[n]
            else:
                ga[:] = gu
            if t > 0 or not fresh:
                before = codes[t - 1, b, start:stop] if t > 0 else codes0[b, start:stop]
                if g_theta.size and subtract:
                    for n in range(size):
                        sum_theta -= ga[n] * (before[n] >= first)
                if drop:
                    for n in range(size):
                        ga[n] *= before[n] < first
                if g_beta.size:
                    for n in range(size):
                        g_beta[b, start + n] += ga[n] * keep[before[n]] * levels[before[n]]
            _write_input_gradient(ga, x_scale, start, gx, t, b)
            if g_bias.size:
                for n in range(size):
                    g_bias[b, start + n] += ga[n]
        if g_theta.size:
            g_theta[task] = sum_theta


@njit(**CLOSE)
def _write_input_gradient(ga, x_scale, start, gx, t, b):
    """`gx[t] = scale * ga`, or its sum over time where the input was constant."""
    row = gx[min(t, gx.shape[0] - 1), b, start : start + ga.size]
    if gx.shape[0] == 1:
        for n in range(ga.size):
            row[n] += ga[n] * x_scale[start + n if x_scale.size > 1 else 0]
    elif x_scale.size > 1:
        for n in range(ga.size):
            row[n] = ga[n] * x_scale[start + n]
    else:
        for n in range(ga.size):
            row[n] = ga[n] * x_scale[0]


@njit(parallel=True, **CLOSE)
def backward_membrane(
    g_out, g_last, u, u0, fresh, slope, slope0, beta, theta, subtract, zero, drop, spiking, w_rec, gx, gu0, g_beta,
    g_theta,
):  # fmt: skip
    """Gradients of a loop with float states; `slope` `[T, B, N]` is the surrogate at each membrane (size 0: ones)."""
    steps, batch, neurons = u.shape
    recurrent = w_rec.size > 0
    width = neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    one = np.ones(1, g_out.dtype)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * width
        stop = min(neurons, start + width)
        size = stop - start
        g, ga = np.zeros(size, g_out.dtype), np.zeros(size, g_out.dtype)
        gu, before = np.zeros(size, g_out.dtype), np.empty(size, g_out.dtype)
        rate = np.ones(size, g_out.dtype)
        decay = np.empty(size, g_out.dtype)
        for n in range(size):
            decay[n] = beta[start + n] if beta.size > 1 else beta[0]
        before[:] = u[steps - 1, b, start:stop]
        sum_theta = 0.0
        for back in range(steps + 1):
            t = steps - 1 - back
            if t < 0 and fresh:
                break
            if t >= 0:
                g[:] = g_out[t, b, start:stop]
            else:
                g[:] = 0
            if recurrent:
                add_recurrent(g, ga, w_rec)
            if spiking:
                rate[:] = slope[t, b, start:stop] if t >= 0 else slope0[b, start:stop]
            for n in range(size):
                kept = 0 if zero and before[n] > theta else 1
                gu[n] = g[n] * rate[n] + decay[n] * kept * ga[n]
            if g_theta.size and spiking:
                for n in range(size):
                    sum_theta -= g[n] * rate[n]
            if back == 0:
                for n in range(size):
                    gu[n] += g_last[b, start + n]
            if t < 0:
                gu0[b, start:stop] = gu
                break
            ga[:] = gu
            before[:] = u[t - 1, b, start:stop] if t > 0 else u0[b, start:stop]
            for n in range(size):
                fired = before[n] > theta
                if subtract and g_theta.size:
                    sum_theta -= ga[n] * fired
                if drop and fired:
                    ga[n] = 0
                if g_beta.size and not (zero and fired):
                    g_beta[b, start + n] += ga[n] * before[n]
            _write_input_gradient(ga, one, start, gx, t, b)
        if g_theta.size:
            g_theta[task] = sum_theta
