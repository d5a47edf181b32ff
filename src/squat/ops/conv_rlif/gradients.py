"""Gradients of LIF neurons whose recurrence is a convolution, from the last step to the first."""

from __future__ import annotations

import torch
from torch import Tensor

from squat.ops.conv_rlif.recurrence import Recurrence
from squat.ops.lif.tables import LoopConfig
from squat.ops.lstm.reference import firing_threshold
from squat.quant.spec import level_tables

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor]


def gradients(
    g_out: Tensor, g_last: Tensor, states: Tensor, raw: Tensor, beta: Tensor, threshold: Tensor, recurrence: Recurrence,
    config: LoopConfig, fresh: bool,
) -> Gradients:  # fmt: skip
    """Gradients of x, beta, threshold, weight, bias, scale and u0.

    Args:
        g_out: gradient of the spikes `[T, B, N]`.
        g_last: gradient of the last membrane `[B, N]`.
        states: membranes `[T+1, B, N]`, from the start on.
        raw: membranes before the quantizer `[T, B, N]`; empty where no gradient needs them.
        beta: decay, 0-dim or `[N]`.
        threshold: 0-dim.
        recurrence: the convolution.
        config: constants of the loop.
        fresh: whether the start is no state of an earlier step, and passes no gradient.
    """
    theta, beta_ = threshold.detach().to(states.dtype), beta.detach().to(states.dtype)
    slope = _slope(states - theta, config)
    fired = (states[:-1] > firing_threshold(threshold, config.state)).to(states.dtype)
    kept = 1.0 - fired if config.reset == "zero" else torch.ones_like(fired)
    inside = _inside(raw, threshold, config)
    through = (inside if config.clipped else 1.0) * (kept if config.drop_input else torch.ones_like(kept))
    g_spikes, g_states = g_out.contiguous().clone(), torch.empty_like(states[1:])
    gx, g_u = torch.empty_like(g_states), g_last
    for t in reversed(range(len(gx))):
        torch.addcmul(g_u, g_spikes[t], slope[t + 1], out=g_states[t])
        torch.mul(g_states[t], through[t], out=gx[t])
        g_u, g_fired = beta_ * kept[t] * gx[t], recurrence.of_spikes(gx[t])
        if t:
            g_spikes[t - 1] += g_fired
    g_theta = -(g_spikes * slope[1:]).sum()
    if not fresh:
        g_u = g_u + g_fired * slope[0]
        g_theta = g_theta - (g_fired * slope[0]).sum()
    if config.reset == "subtract":
        g_theta = g_theta - (gx * fired).sum()
    if len(raw):
        g_theta = g_theta + (g_states * (states[1:] - inside * raw)).sum() / theta
    by_neuron = (gx * kept * states[:-1]).sum((0, 1))
    g_beta = by_neuron if beta.numel() > 1 else by_neuron.sum()
    of_parameters = recurrence.of_parameters(gx.flatten(0, 1), fired.flatten(0, 1))
    return gx, g_beta.reshape(beta.shape).to(beta.dtype), g_theta.to(threshold.dtype), *of_parameters, g_u


def _slope(x: Tensor, config: LoopConfig) -> Tensor:
    return torch.zeros_like(x) if config.surrogate is None else config.surrogate.derivative(x)


def _inside(raw: Tensor, threshold: Tensor, config: LoopConfig) -> Tensor:
    """1 where a membrane lay in the range of the levels, else 0; 1 everywhere if nobody asks."""
    if config.state is None or not len(raw):
        return raw.new_ones(())
    levels, _, _ = level_tables(config.state, float(threshold.detach()), raw.dtype)
    return ((raw >= levels[0]) & (raw <= levels[-1])).to(raw.dtype)
