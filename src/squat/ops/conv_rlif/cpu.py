"""What torch does not fuse of a step of LIF neurons with recurrent currents, compiled (numba)."""

from __future__ import annotations

import numpy as np

from squat.kernels.jit import jit
from squat.ops.quantizer import quantize_row
from squat.ops.simd import LANES


@jit
def finish_step(leak, x, recurrent, fired, subtracted, drop, fires, encoder, levels, raw, u, codes, out):
    """Fills membranes before (`raw`) and after the quantizer (`u`), codes (if there are `levels`) and spikes `out`.

    `a = ((leak + x) + recurrent) - subtracted*fired`, all `[B, N]`; with `drop` 0 where a neuron fired before. It fires
    above `fires`. False if a membrane is not finite.
    """
    batch, neurons = x.shape
    room = (neurons + LANES - 1) // LANES * LANES
    row, value, near = np.zeros(room, x.dtype), np.zeros(room, x.dtype), np.zeros(room, x.dtype)
    code, pair = np.zeros(room, np.int32), np.zeros(room, np.int32)
    poison = x.dtype.type(0)
    for b in range(batch):
        for n in range(neurons):
            a = ((leak[b, n] + x[b, n]) + recurrent[b, n]) - subtracted * fired[b, n]
            poison += a - a
            row[n] = x.dtype.type(0) if drop and fired[b, n] != 0 else a
            raw[b, n] = row[n]
        quantize_row(row, encoder, levels, value, code, near, pair, u[b], codes[b : b + 1])
        for n in range(neurons):
            out[b, n] = x.dtype.type(u[b, n] > fires)
    return poison == 0
