"""Backward LIF loops in Triton; the derivation is in `ops/README.md`, the names are those of `cpu_backward.py`.

`carry` is what the membrane `u[t]` gets from the step after: `beta*keep[t]*ga[t+1]`, or the gradient of the last state.
Sums over time are float64, one for each sample and neuron, and torch adds them up: no atomics, so the same inputs give
the same bits.
"""

import triton
import triton.language as tl

from squat.ops.lif.gpu_forward import load_state


@triton.jit
def backward(
    g_out, state, start, slope, keep, levels, beta, x_scale, inside, membrane, unit, theta, gx, carry, g_beta, g_bias,
    g_theta, steps, batch, neurons, plane, packed, gx_stride, unit_stride, first, fresh,
    RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr, SPIKING: tl.constexpr, CLIPPED: tl.constexpr,
    PACK: tl.constexpr, CONSTANT: tl.constexpr, BETA: tl.constexpr, BIAS: tl.constexpr, THETA: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Without recurrence. Pointers with a time axis come at the last step; `carry` becomes the gradient of `u0`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mask = (row < batch) & (column < neurons)
    tile = row.to(tl.int64) * neurons + column
    scale = tl.load(x_scale + column, mask=column < neurons, other=0.0)
    carried = tl.load(carry + tile, mask=mask, other=0.0)
    sum_x = tl.zeros([ROWS, COLUMNS], carry.dtype.element_ty)
    sum_beta, sum_bias = tl.zeros([ROWS, COLUMNS], tl.float64), tl.zeros([ROWS, COLUMNS], tl.float64)
    sum_theta = tl.zeros([ROWS, COLUMNS], tl.float64)
    after = load_state(state + tile, mask, RULE)
    for back in range(steps):
        t = steps - 1 - back
        before = load_state(state - plane + tile, mask & (t > 0), RULE)
        before += load_state(start + tile, mask & (t == 0), RULE)
        ga, carried, to_beta, to_theta = step_back(
            tl.load(g_out + tile, mask=mask, other=0.0), carried, after, before, t >= fresh, row, column, tile, mask,
            neurons, slope, keep, levels, beta, inside, packed, membrane, unit, unit_stride, theta, first, RULE, RESET,
            DROP, SPIKING, CLIPPED, PACK, THETA,
        )  # fmt: skip
        if CONSTANT:
            sum_x += ga * scale
        else:
            tl.store(gx + tile, ga * scale, mask=mask)
        if BETA:
            sum_beta += to_beta.to(tl.float64)
        if BIAS:
            sum_bias += ga.to(tl.float64)
        if THETA:
            sum_theta += to_theta
        after = before
        g_out, state, gx, membrane = g_out - plane, state - plane, gx - gx_stride, membrane - plane
        inside = inside - batch * packed
        if RULE == "membrane":
            slope = slope - plane
    tl.store(carry + tile, carried, mask=mask)
    if CONSTANT:
        tl.store(gx + tile, sum_x, mask=mask)
    if BETA:
        tl.store(g_beta + tile, sum_beta, mask=mask)
    if BIAS:
        tl.store(g_bias + tile, sum_bias, mask=mask)
    if THETA:
        tl.store(g_theta + tile, sum_theta, mask=mask)


@triton.jit
def backward_recurrent(
    g_out, state, start, slope, keep, levels, beta, w_rec, inside, membrane, unit, theta, ga, carry, g_beta, g_bias,
    g_theta, slope0, steps, batch, neurons, plane, packed, unit_stride, first, fresh,
    RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr, SPIKING: tl.constexpr, CLIPPED: tl.constexpr,
    PACK: tl.constexpr, BETA: tl.constexpr, BIAS: tl.constexpr, THETA: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """With recurrence: a program has all neurons of its samples, and keeps `carry` and the sums in memory."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    for back in range(steps):
        t = steps - 1 - back
        for left in range(0, neurons, COLUMNS):
            column = left + tl.arange(0, COLUMNS)[None, :]
            mask = (row < batch) & (column < neurons)
            tile = row.to(tl.int64) * neurons + column
            before = load_state(state - plane + tile, mask & (t > 0), RULE)
            before += load_state(start + tile, mask & (t == 0), RULE)
            g = tl.load(g_out + tile, mask=mask, other=0.0)
            g += from_next_step(ga + plane, row, column, batch, neurons, back > 0, w_rec, ROWS, COLUMNS, DEPTH)
            g_a, carried, to_beta, to_theta = step_back(
                g, tl.load(carry + tile, mask=mask, other=0.0), load_state(state + tile, mask, RULE), before,
                t >= fresh, row, column, tile, mask, neurons, slope, keep, levels, beta, inside, packed, membrane, unit,
                unit_stride, theta, first, RULE, RESET, DROP, SPIKING, CLIPPED, PACK, THETA,
            )  # fmt: skip
            tl.store(ga + tile, g_a, mask=mask)
            tl.store(carry + tile, carried, mask=mask)
            if BETA:
                add(g_beta + tile, to_beta, mask)
            if BIAS:
                add(g_bias + tile, g_a, mask)
            if THETA:
                add(g_theta + tile, to_theta, mask)
        tl.debug_barrier()
        g_out, state, ga, membrane = g_out - plane, state - plane, ga - plane, membrane - plane
        inside = inside - batch * packed
        if RULE == "membrane":
            slope = slope - plane
    if fresh == 0:  # the carried state's own spikes
        for left in range(0, neurons, COLUMNS):
            column = left + tl.arange(0, COLUMNS)[None, :]
            mask = (row < batch) & (column < neurons)
            tile = row.to(tl.int64) * neurons + column
            g = from_next_step(ga + plane, row, column, batch, neurons, steps > 0, w_rec, ROWS, COLUMNS, DEPTH)
            code = load_state(start + tile, mask, RULE)
            through_spike = g * spike_slope(code, slope0, tile, mask, RULE, SPIKING)
            add(carry + tile, through_spike, mask)
            if THETA and SPIKING:
                add(g_theta + tile, -through_spike, mask)


@triton.jit
def add(pointers, values, mask):
    """Adds to memory that only this program writes."""
    total = tl.load(pointers, mask=mask, other=0.0)
    tl.store(pointers, total + values.to(total.dtype), mask=mask)


@triton.jit
def from_next_step(
    ga, row, column, batch, neurons, valid, w_rec, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    """`ga[t+1] @ w_rec`; zeros where there is no next step (`valid` is False)."""
    total = tl.zeros([ROWS, COLUMNS], ga.dtype.element_ty)
    for top in range(0, neurons, DEPTH):
        post = top + tl.arange(0, DEPTH)
        rows = tl.load(
            ga + row.to(tl.int64) * neurons + post[None, :],
            mask=(row < batch) & (post[None, :] < neurons) & valid,
            other=0.0,
        )
        known = (post[:, None] < neurons) & (column < neurons)
        weights = tl.load(w_rec + post[:, None] * neurons + column, mask=known, other=0.0)
        total = tl.dot(rows, weights, total, input_precision="ieee", out_dtype=ga.dtype.element_ty)
    return total


@triton.jit
def spike_slope(after, slope, tile, mask, RULE: tl.constexpr, SPIKING: tl.constexpr):
    """Derivative of the output with respect to the membrane: by code, or given for each membrane."""
    if RULE != "membrane":
        rate = tl.load(slope + after)
    elif SPIKING:
        rate = tl.load(slope + tile, mask=mask, other=0.0)
    else:
        rate = 1.0
    return rate


@triton.jit
def step_back(
    g, carried, after, before, started, row, column, tile, mask, neurons, slope, keep, levels, beta, inside, packed,
    membrane, unit, unit_stride, theta, first, RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr,
    SPIKING: tl.constexpr, CLIPPED: tl.constexpr, PACK: tl.constexpr, THETA: tl.constexpr,
):  # fmt: skip
    """One step: `ga`, the carry to the step before, and this step's share of the gradients of beta and threshold."""
    neuron = tl.minimum(column, neurons - 1)
    through_spike = g * spike_slope(after, slope, tile, mask, RULE, SPIKING)
    gu = through_spike + carried
    ga = gu
    if RULE == "membrane":
        fired = before > tl.load(theta)
        kept, value = 1.0, before
        if RESET == "zero":
            kept = tl.where(fired, 0.0, tl.full(before.shape, 1.0, before.dtype))
    else:
        fired = (before >= first) & started
        kept, value = tl.load(keep + before), tl.where(started, tl.load(levels + before), 0.0)
        if PACK:
            byte = tl.load(inside + row.to(tl.int64) * packed + column // 8, mask=mask, other=0)
            flags = ((byte.to(tl.int32) >> (column % 8)) & 1).to(g.dtype)
            if CLIPPED:
                ga = gu * flags
    to_theta = tl.zeros(g.shape, tl.float64)
    if THETA:
        if SPIKING:
            to_theta -= through_spike
        if RULE != "membrane":
            reach = tl.load(membrane + tile, mask=mask, other=0) * tl.load(unit + neuron * unit_stride) * flags
            to_theta += gu * (tl.load(levels + after) - reach) / tl.load(theta)
        if RESET == "subtract":
            to_theta -= tl.where(fired, ga, 0.0)
    if DROP:
        ga = tl.where(fired, 0.0, ga)
    carried = tl.load(beta + neuron) * kept * ga
    return ga, carried, ga * kept * value, to_theta
