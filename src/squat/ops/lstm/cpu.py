"""What torch does not fuse of a step of spiking LSTM cells, compiled (numba): reset, quantizers and spike, and back.

The products and the gates stay torch's, whose rounding of sigmoid and tanh depends on where in a row a value lies.
"""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit
from squat.ops.quantizer import quantize_row
from squat.ops.simd import LANES

NONE, SUBTRACT, ZERO = range(3)


@jit
def finish_step(
    gates, tanh, raw_cell, before, theta, fires, reset, state_encoder, state_levels, cell_encoder, cell_levels, u, cell,
    codes, cell_codes, out,
):  # fmt: skip
    """Fills the states `u` and `cell`, codes (unless `levels` is empty) and spikes `out` of a step, all `[B, N]`.

    From activated gates `[B, 4N]`, the raw cell state and its tanh, and the hidden state `before`, which fires above
    `fires`. False if a state is not finite.
    """
    batch, neurons = before.shape
    room = (neurons + LANES - 1) // LANES * LANES
    raw, value, near = np.zeros(room, before.dtype), np.zeros(room, before.dtype), np.zeros(room, before.dtype)
    code, pair = np.zeros(room, np.int32), np.zeros(room, np.int32)
    poison = before.dtype.type(0)
    for b in range(batch):
        for n in range(neurons):
            fired = before[b, n] > fires
            h = gates[b, 3 * neurons + n] * tanh[b, n]
            if reset == SUBTRACT:
                h = h - theta * before.dtype.type(fired)
            elif reset == ZERO and fired:
                h = before.dtype.type(0)
            raw[n] = h
            poison += (h - h) + (raw_cell[b, n] - raw_cell[b, n])
        quantize_row(raw, state_encoder, state_levels, value, code, near, pair, u[b], codes[b : b + 1])
        for n in range(neurons):
            out[b, n] = before.dtype.type(u[b, n] > fires)
            raw[n] = raw_cell[b, n]
        quantize_row(raw, cell_encoder, cell_levels, value, code, near, pair, cell[b], cell_codes[b : b + 1])
    return poison == 0


@jit
def gradients_of_step(gates, tanh, cell_before, through_state, through_cell, g_state, g_cell, g_gates):
    """Gradients of the gates' sums `[B, 4N]`; `g_cell`, of the cell state after the step, becomes that before it.

    `through_*` is what the quantizer (and the zero reset) let through.
    """
    batch, neurons = tanh.shape
    one = tanh.dtype.type(1)
    for b in range(batch):
        for n in range(neurons):
            i, f = gates[b, n], gates[b, neurons + n]
            g, o = gates[b, 2 * neurons + n], gates[b, 3 * neurons + n]
            g_h = g_state[b, n] * through_state[b, n]
            g_c = g_cell[b, n] * through_cell[b, n] + g_h * o * (one - tanh[b, n] * tanh[b, n])
            g_gates[b, n] = g_c * g * i * (one - i)
            g_gates[b, neurons + n] = g_c * cell_before[b, n] * f * (one - f)
            g_gates[b, 2 * neurons + n] = g_c * i * (one - g * g)
            g_gates[b, 3 * neurons + n] = g_h * tanh[b, n] * o * (one - o)
            g_cell[b, n] = g_c * f
