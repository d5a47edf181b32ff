"""Backward loop over several states, compiled with numba; the derivation is in `ops/README.md`.

Per step, from the last to the first, with `g[k]` the gradient of state `k` as stored:

    g_s    gradient of the spike: of the output, of the recurrent currents of the step after, and `gs` of its update
    g[k]  += adjoint of the margin of `g_s * surrogate'`
    ga[k]  = STE of g[k], from the membrane down; `pull` hands it to the currents, the states before, and to the states
             of this step that it was computed from
"""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit, overload
from squat.ops.lif.rows import copy_row
from squat.ops.row_sums import SAMPLES, add_products_of
from squat.ops.simd import LANES
from squat.ops.states.cpu_forward import BLOCK, fire, zeros
from squat.ops.states.registry import EQUATIONS


def pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    """Stands for the neuron's `pull`."""


@overload(pull)
def _pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    return EQUATIONS[o.instance_class].pull


def pull_parameters(o, k, p, g, fired, before, now, n, gp):
    """Stands for the neuron's `pull_parameters`."""


@overload(pull_parameters)
def _pull_parameters(o, k, p, g, fired, before, now, n, gp):
    return EQUATIONS[o.instance_class].pull_parameters


def pull_margin(o, p, now, n, g, g_now):
    """Stands for the neuron's `pull_margin`."""


@overload(pull_margin)
def _pull_margin(o, p, now, n, g, g_now):
    return EQUATIONS[o.instance_class].pull_margin


def pull_margin_parameters(o, now, n, g, gp):
    """Stands for the neuron's `pull_margin_parameters`."""


@overload(pull_margin_parameters)
def _pull_margin_parameters(o, now, n, g, gp):
    return EQUATIONS[o.instance_class].pull_margin_parameters


@jit(close=True)
def pull_row(o, k, p, g, fired, before, now, gx, gs, g_before, g_now, g_raw):
    """`pull` for a row of neurons."""
    for n in range(g.size):
        pull(o, k, p, g[n], fired, before, now, n, gx, gs, g_before, g_now, g_raw)


@jit(close=True)
def pull_parameters_row(o, k, p, g, fired, before, now, gp):
    """`pull_parameters` for a row of neurons."""
    for n in range(g.size):
        pull_parameters(o, k, p, g[n], fired, before, now, n, gp)


@jit(close=True)
def pull_margin_row(o, p, now, g, g_now, gp):
    """Both adjoints of the margin for a row of neurons."""
    for n in range(p.shape[1]):
        pull_margin(o, p, now, n, g[n], g_now)
    if gp.size:
        for n in range(p.shape[1]):
            pull_margin_parameters(o, now, n, g[n], gp)


@jit(close=True)
def look_up(table, codes, out):
    """`out = table[codes]` for a row of bytes."""
    for n in range(codes.size):
        out[n] = table[codes[n]]


@jit(close=True)
def clear_row(row):
    """Zeros."""
    for n in range(row.size):
        row[n] = row.dtype.type(0)


@jit(close=True)
def settle(o, p, s, reset, states):
    """The reset without delay, as forward."""
    u = states[states.shape[0] - 1]
    for n in range(p.shape[1]):
        u[n] -= (s[n] - reset[n]) * (p[1, n] + o.zero * u[n])


@jit(close=True)
def load_states(codes, levels, values, t, b, begin, stop, states):
    """The states of a step, before a reset without delay."""
    for k in range(states.shape[0]):
        if levels[k].size:
            look_up(levels[k], codes[k][t, b, begin:stop], states[k])
        else:
            copy_row(values[k][t, b, begin:stop], states[k, : stop - begin])


@jit(close=True)
def pull_reset(o, p, due, u, g, gp):
    """Through the reset without delay, from the stored membrane to the one before it."""
    for n in range(u.size):
        if gp.size:
            gp[1, n] -= due[n] * g[n]
        g[n] -= due[n] * o.zero * g[n]


@jit(close=True)
def pull_quantizer(theta, now, raw, low, high, clipped, in_thresholds, g, gp):
    """Through the quantizer of a state: to the threshold that its levels follow, and the STE."""
    for n in range(raw.size):
        inside = g.dtype.type(raw[n] >= low and raw[n] <= high)
        if gp.size and in_thresholds:
            gp[0, n] += g[n] * (now[n] - inside * raw[n]) / theta[n]
        if clipped:
            g[n] *= inside


@jit(close=True)
def pull_states(
    o, p, where, levels, in_thresholds, clipped, raws, fired, before, now, gx, gs, g_before, g, g_raw, gp
):  # fmt: skip
    """Through quantizers and updates of one step of a sample, from the membrane down."""
    t, b, begin, stop = where
    for k in range(now.shape[0] - 1, -1, -1):
        ga = g[k, : stop - begin]
        if raws[k].size:
            raw, low, high = raws[k][t, b, begin:stop], levels[k][0], levels[k][-1]
            pull_quantizer(p[0], now[k], raw, low, high, clipped, in_thresholds[k], ga, gp)
        for n in range(ga.size):
            ga[n] += g_raw[k, n]
        pull_row(o, k, p, ga, fired, before, now, gx, gs, g_before, g, g_raw)
        if gp.size:
            pull_parameters_row(o, k, p, ga, fired, before, now, gp)


@jit(close=True, nogil=True)
def backward(
    begin, end, o, parameters, start, levels, in_thresholds, w_rec, delayed, clipped, slope_table, slope, slope0,
    codes, values, raws, resets, g_out, g_last, gx_out, g_start, gp_out,
):  # fmt: skip
    """Tasks `begin` to `end` of the gradients of `forward`.

    They are of the currents `gx_out` `[T, B, N]`, of the start, and of the parameters for each sample. The surrogate
    derivative is a table over the codes of the membrane, or `slope` for every value; `slope0` belongs to the start.
    `w_rec` holds scaled weights, postsynaptic first, padded to groups of four vectors. `raws` and `gp_out` are empty
    where not wanted.
    """
    for task in range(begin, end):
        walk_back(
            task, o, parameters, start, levels, in_thresholds, w_rec, delayed, clipped, slope_table, slope, slope0,
            codes, values, raws, resets, g_out, g_last, gx_out, g_start, gp_out,
        )  # fmt: skip


@jit(close=True)
def walk_back(
    task, o, parameters, start, levels, in_thresholds, w_rec, delayed, clipped, slope_table, slope, slope0, codes,
    values, raws, resets, g_out, g_last, gx_out, g_start, gp_out,
):  # fmt: skip
    """`SAMPLES` samples of a recurrent layer, or `BLOCK` neurons of one sample, from the last step to the first."""
    steps, batch, neurons = g_out.shape
    states, recurrent = start.shape[0], w_rec.size > 0
    group, width = SAMPLES if recurrent else 1, neurons if recurrent else BLOCK
    blocks = (neurons + width - 1) // width
    b0, begin = task // blocks * group, (task % blocks) * width
    stop, count = min(neurons, begin + width), min(group, batch - b0)
    size = stop - begin
    room = w_rec.shape[1] if recurrent else (size + LANES - 1) // LANES * LANES
    p = parameters[:, begin:stop]
    rows = zeros(2 * group + 4, states * room, g_out).reshape(2 * group + 4, states, room)
    now, g = rows[:group], rows[group : 2 * group]
    earlier, before, g_before, g_raw = rows[-4], rows[-3], rows[-2], rows[-1]
    gs, gx, single = zeros(group, room, g_out), zeros(group, room, g_out), zeros(3, room, g_out)
    s, fired, rate = single[0], single[1], single[2]
    nothing = np.zeros((0, 0), np.float64)
    for i in range(count):
        load_states(codes, levels, values, steps - 1, b0 + i, begin, stop, now[i])
        for k in range(states):
            copy_row(g_last[k, b0 + i, begin:stop], g[i, k, :size])
    for t in range(steps - 1, -1, -1):
        if recurrent and t < steps - 1:
            add_products_of(gs, gx, w_rec, size)
        for i in range(count):
            b = b0 + i
            gp = gp_out[b, :, begin:stop] if gp_out.size else nothing
            if t > 0:
                load_states(codes, levels, values, t - 1, b, begin, stop, earlier)
            else:
                for k in range(states):
                    copy_row(start[k, b, begin:stop], earlier[k, :size])
            for k in range(states):
                copy_row(earlier[k], before[k])
                clear_row(g_before[k])
                clear_row(g_raw[k])
            fire(o, p, earlier, fired)
            if not delayed:
                if t > 0:
                    settle(o, p, fired, resets[t - 1, b, begin:stop], before)
                fire(o, p, now[i], s)
                for n in range(size):
                    fired[n] = resets[t, b, begin + n]
                    s[n] -= fired[n]
                pull_reset(o, p, s[:size], now[i, states - 1, :size], g[i, states - 1], gp)
            if slope.size:
                rates = slope[t, b, begin:stop]
            else:
                look_up(slope_table, codes[states - 1][t, b, begin:stop], rate)
                rates = rate
            for n in range(size):
                gs[i, n] = (gs[i, n] + g_out[t, b, begin + n]) * rates[n]
            pull_margin_row(o, p, now[i], gs[i], g[i], gp)
            clear_row(gs[i])
            clear_row(gx[i])
            pull_states(
                o, p, (t, b, begin, stop), levels, in_thresholds, clipped, raws, fired, before, now[i], gx[i],
                gs[i], g_before, g[i], g_raw, gp,
            )  # fmt: skip
            copy_row(gx[i], gx_out[t, b, begin:stop])
            for k in range(states):
                copy_row(g_before[k], g[i, k])
                copy_row(earlier[k], now[i, k])
    if slope0.size:
        if recurrent:
            add_products_of(gs, gx, w_rec, size)
        for i in range(count):
            for n in range(size):
                gs[i, n] *= slope0[b0 + i, begin + n]
            pull_margin_row(o, p, now[i], gs[i], g[i], gp_out[b0 + i, :, begin:stop] if gp_out.size else nothing)
    for i in range(count):
        for k in range(states):
            copy_row(g[i, k], g_start[k, b0 + i, begin:stop])
