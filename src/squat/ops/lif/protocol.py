"""What a backend of the LIF loop is: a module with four functions on torch tensors. `cpu.py` is one.

    forward_codes(x, w_rec, rec_scale, scale, codes0, fresh, tables, config, steps, input_bound, keep_membrane)
        -> CodesForward
    backward_codes(g_out, g_last, codes, codes0, fresh, inside, membrane, unit, beta, threshold, scale, w_rec,
                   rec_scale, tables, config, x_steps, needs) -> CodesBackward
    forward_membrane(x, u0, fresh, beta, threshold, w_rec, rec_scale, config, steps) -> MembraneForward
    backward_membrane(g_out, g_last, u, u0, fresh, beta, threshold, w_rec, rec_scale, config, x_steps, needs)
        -> MembraneBackward

Tensors may need gradients and have any strides; a backend looks at their values only. Results are new, contiguous, and
on the device of `x`. Forward results equal those of `reference.py`, gradients are close to its.

    x               [T, B, N], or [1, B, N] where the current is constant; float32 or float64, the loop's dtype
    w_rec           [N, N], postsynaptic first, integer-valued if quantized; None without recurrence
    rec_scale       its scale, 0-dim or [N]; None for 1. Not to be applied by the forward integer rule
    scale           weight scale, 0-dim or [N]; None under the float rule
    codes0          uint8 [B, N]; read only if not fresh
    u0              membrane [B, N]; zero if fresh
    fresh           the first step has no leak and no reset
    tables          `CodeTables`
    config          `LoopConfig`
    steps           T
    input_bound     what |x| must keep under the integer rule; None if x is known to be such integers
    keep_membrane   whether the gradient of the threshold will be wanted
    unit            what one unit of `membrane` is worth, float64 0-dim or [N]
    beta            decay, 0-dim or [N];  threshold  0-dim
    x_steps         time steps of x: 1 or T
    needs           `Needs`
    g_out, g_last   gradients of the output [T, B, N] and of the last membrane [B, N]
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Needs(NamedTuple):
    """Which gradients are wanted beside those of the current and of the initial membrane."""

    beta: bool
    bias: bool
    theta: bool


class CodesForward(NamedTuple):
    """What a loop with quantized states leaves.

    Attributes:
        out: `[T, B, N]` spikes, or levels where the neuron does not spike.
        codes: uint8 `[T, B, N]`.
        inside: uint8 `[T, B, ceil(N/8)]`, one bit a neuron, lowest first: whether the membrane before the quantizer lay
            in the range of the levels. `[T, B, 0]` unless `config.clipped` or `keep_membrane`.
        membrane: `[T, B, N]`, the membrane before the quantizer (int32 under the integer rule) with `keep_membrane`;
            else `[0, 0, 0]`.
        good: whether every current was as promised: finite, or an integer within the bound.
    """

    out: Tensor
    codes: Tensor
    inside: Tensor
    membrane: Tensor
    good: bool | Tensor


class CodesBackward(NamedTuple):
    """Gradients of a loop with quantized states.

    Attributes:
        gx: of the current, `[1, B, N]` (the sum over time) if `x_steps == 1` and nothing recurs, else `[T, B, N]`.
        gu0: of the initial membrane, `[B, N]`; of no meaning if fresh.
        g_beta: of the decay, `[N]` in float64, or None if not needed.
        g_bias: of the bias, `[N]` in float64, or None if not needed.
        g_theta: of the threshold, 0-dim in float64, or None if not needed.
    """

    gx: Tensor
    gu0: Tensor
    g_beta: Tensor | None
    g_bias: Tensor | None
    g_theta: Tensor | None


class MembraneForward(NamedTuple):
    """What a loop with float states leaves: output `[T, B, N]` (`u` itself where nothing spikes), membranes, `good`."""

    out: Tensor
    u: Tensor
    good: bool | Tensor


class MembraneBackward(NamedTuple):
    """Gradients of a loop with float states; as in `CodesBackward`."""

    gx: Tensor
    gu0: Tensor
    g_beta: Tensor | None
    g_theta: Tensor | None
