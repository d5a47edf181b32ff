"""The loop of spiking LSTM cells as one differentiable operation.

`reference.py` states the equations. On the CPU gates and products are torch's, one step after the other, since their
rounding depends on the shape; the rest of a step is one compiled call. What is kept for the backward pass are the
activated gates and the codes (values of float states).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.ops.dispatch import current_backend
from squat.ops.lif.loop import check_threshold
from squat.ops.lstm import reference
from squat.ops.lstm.reference import LSTMConfig, LSTMResult, LSTMWeights, firing_threshold
from squat.quant.spec import StateSpec, level_tables


def lstm(x: Tensor, u0: Tensor, cell0: Tensor, weights: LSTMWeights, theta: Tensor, config: LSTMConfig) -> LSTMResult:
    """Run spiking LSTM cells through time; `ops/lstm/reference.py` states the equations.

    Args:
        x: inputs `[T, B, in]`, float32 or float64, finite.
        u0: hidden state before the first step `[B, N]`.
        cell0: cell state before the first step `[B, N]`.
        weights: of the input and of the hidden state, in the dtype of `x`.
        theta: threshold, 0-dim; levels of both states are in its units.
        config: constants of the loop.

    Returns:
        Spikes, last states, and their codes.

    Raises:
        ValueError: if a state is not finite, or the threshold is not positive.
    """
    check_threshold(theta)
    with torch.autocast(x.device.type, enabled=False):
        if x.device.type != "cpu" or current_backend(x.device) != "cpu":
            result = reference.lstm(x, u0, cell0, weights, theta, config)
            _check(bool(torch.isfinite(result.u.detach() + result.cell.detach()).all()))
            return result
        spikes, u, cell, *codes = _Loop.apply(x, u0, cell0, *weights, theta, config)
    last = [None if spec is None else code for spec, code in zip((config.state, config.cell), codes, strict=True)]
    return LSTMResult(spikes, u, cell, *last)


class _Kept(NamedTuple):
    """What a forward pass leaves: codes where a state is quantized, its values `[T+1, B, N]` from the start on."""

    spikes: Tensor
    gates: Tensor
    u: Tensor
    cell: Tensor
    codes: Tensor
    cell_codes: Tensor


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, u0: Tensor, cell0: Tensor, w_in: Tensor, w_rec: Tensor, b_in: Tensor | None,
        b_rec: Tensor | None, theta: Tensor, config: LSTMConfig,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        kept = _forward(x, u0, cell0, LSTMWeights(w_in, w_rec, b_in, b_rec), theta, config, any(ctx.needs_input_grad))
        values = (
            stored if spec is None else None
            for stored, spec in ((kept.u, config.state), (kept.cell, config.cell))
        )  # fmt: skip
        ctx.save_for_backward(x, u0, cell0, w_in, w_rec, theta, kept.gates, kept.codes, kept.cell_codes, *values)
        ctx.config = config
        last = tuple(codes[-1].clone() if len(codes) else codes.clone() for codes in (kept.codes, kept.cell_codes))
        ctx.mark_non_differentiable(*last)
        return kept.spikes, kept.u[-1].clone(), kept.cell[-1].clone(), *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_u: Tensor, g_cell: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, u0, cell0, w_in, w_rec, theta, gates, codes, cell_codes, u, cell = ctx.saved_tensors
        config: LSTMConfig = ctx.config
        u = _values(u, codes, u0, config.state, theta)
        cell = _values(cell, cell_codes, cell0, config.cell, theta)
        need = ctx.needs_input_grad
        g_gates, g_u, g_cell, g_theta = _backward(g_out, g_u, g_cell, gates, u, cell, w_rec, theta, config, need[7])
        sums = g_gates.flatten(0, 1)
        return (
            (sums @ w_in).view(x.shape) if need[0] else None, g_u, g_cell,
            sums.T @ x.flatten(0, 1) if need[3] else None, sums.T @ u[:-1].flatten(0, 1) if need[4] else None,
            *(sums.sum(0) if wanted else None for wanted in need[5:7]), g_theta, None,
        )  # fmt: skip


def _forward(
    x: Tensor, u0: Tensor, cell0: Tensor, weights: LSTMWeights, theta: Tensor, config: LSTMConfig, keep: bool
) -> _Kept:
    from squat.ops.lstm.cpu import NONE, SUBTRACT, ZERO, finish_step
    from squat.ops.quantizer import row_tables

    steps, batch, neurons = x.shape[0], *u0.shape
    gates = x.new_empty(steps if keep else 0, batch, 4 * neurons)
    u, cell = x.new_empty(steps + 1, batch, neurons), x.new_empty(steps + 1, batch, neurons)
    u[0], cell[0] = u0, cell0
    codes, cell_codes = (
        torch.empty(0 if spec is None else steps, batch, neurons, dtype=torch.uint8)
        for spec in (config.state, config.cell)
    )
    none = np.zeros((batch, 0), np.uint8)
    spikes, row = x.new_empty(steps, batch, neurons), x.new_empty(batch, 4 * neurons)
    thresholds = [value.detach().to(x.dtype).numpy()[()] for value in (theta, firing_threshold(theta, config.state))]
    reset = {"none": NONE, "subtract": SUBTRACT, "zero": ZERO}[config.reset]
    tables = (*row_tables(config.state, theta, x.dtype), *row_tables(config.cell, theta, x.dtype))
    for t in range(steps):
        raw = _gates_and_cell(x[t], u[t], cell[t], weights, row)
        if keep:
            gates[t] = row
        good = finish_step(
            row.numpy(), raw.tanh().numpy(), raw.numpy(), u[t].numpy(), *thresholds, reset, *tables, u[t + 1].numpy(),
            cell[t + 1].numpy(), codes[t].numpy() if len(codes) else none,
            cell_codes[t].numpy() if len(cell_codes) else none, spikes[t].numpy(),
        )  # fmt: skip
        _check(good)
    return _Kept(spikes, gates, u, cell, codes, cell_codes)


def _gates_and_cell(x: Tensor, u: Tensor, cell: Tensor, weights: LSTMWeights, gates: Tensor) -> Tensor:
    """Fills the activated `gates`; returns the raw cell state. The same operations on the same shapes as in torch.

    Factors are copied to memory of their own, where every start is aligned alike: products round by that too.
    """
    sums = F.linear(u.clone(), weights.w_rec, weights.b_rec)
    torch.add(sums, F.linear(x.clone(), weights.w_in, weights.b_in), out=gates)
    i, f, g, o = gates.chunk(4, 1)
    i.sigmoid_(), f.sigmoid_(), g.tanh_(), o.sigmoid_()
    return (f * cell).add_(i * g)


def _values(values: Tensor | None, codes: Tensor, start: Tensor, spec: StateSpec | None, theta: Tensor) -> Tensor:
    """A state `[T+1, B, N]` from the start on: as kept, or looked up by code."""
    if values is not None or spec is None:
        return values if values is not None else start
    levels, _, _ = level_tables(spec, float(theta.detach()), start.dtype)
    return torch.cat((start[None], levels[codes.int()]))


class _Steps(NamedTuple):
    """What the gradients need of every step `[T, B, N]`, computed again: raw states, who fired before, and masks."""

    raw: Tensor
    raw_cell: Tensor
    tanh: Tensor
    fired: Tensor
    inside: Tensor
    inside_cell: Tensor
    through: Tensor
    through_cell: Tensor


def _steps(gates: Tensor, u: Tensor, cell: Tensor, theta: Tensor, config: LSTMConfig) -> _Steps:
    i, f, g, o = gates.chunk(4, 2)
    threshold = theta.to(u.dtype)
    raw_cell = (f * cell[:-1]).addcmul_(i, g)
    tanh, fired = raw_cell.tanh(), (u[:-1] > firing_threshold(theta, config.state)).to(u.dtype)
    kept = 1.0 - fired if config.reset == "zero" else torch.ones_like(fired)
    raw = o * tanh * kept - (threshold * fired if config.reset == "subtract" else 0.0)
    inside, inside_cell = _inside(raw, config.state, theta), _inside(raw_cell, config.cell, theta)
    through = (kept * inside, inside_cell) if config.clipped else (kept, torch.ones_like(kept))
    return _Steps(raw, raw_cell, tanh, fired, inside, inside_cell, *through)


def _backward(
    g_out: Tensor, g_u: Tensor, g_cell: Tensor, gates: Tensor, u: Tensor, cell: Tensor, w_rec: Tensor, theta: Tensor,
    config: LSTMConfig, need_theta: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Gradients of the gates' sums, of the first hidden and cell state, and of the threshold."""
    from squat.ops.lstm.cpu import gradients_of_step

    threshold = theta.detach().to(u.dtype)
    steps = _steps(gates, u, cell, theta.detach(), config)
    g_states = (g_out * config.surrogate.derivative(u[1:] - threshold)).contiguous()
    g_theta = -g_states.sum()
    g_cells = torch.empty_like(g_states) if need_theta else None
    g_gates, g_u, g_cell = torch.empty_like(gates), g_u.contiguous().clone(), g_cell.contiguous().clone()
    for t in reversed(range(len(gates))):
        g_states[t] += g_u
        if g_cells is not None:
            g_cells[t] = g_cell
        gradients_of_step(
            gates[t].numpy(), steps.tanh[t].numpy(), cell[t].numpy(), steps.through[t].numpy(),
            steps.through_cell[t].numpy(), g_states[t].numpy(), g_cell.numpy(), g_gates[t].numpy(),
        )  # fmt: skip
        torch.mm(g_gates[t], w_rec, out=g_u)
    if g_cells is None:
        return g_gates, g_u, g_cell, None
    if config.reset == "subtract":
        g_theta = g_theta - (g_states * steps.through * steps.fired).sum()
    if config.state is not None:
        g_theta = g_theta + (g_states * (u[1:] - steps.inside * steps.raw)).sum() / threshold
    if config.cell is not None:
        g_theta = g_theta + (g_cells * (cell[1:] - steps.inside_cell * steps.raw_cell)).sum() / threshold
    return g_gates, g_u, g_cell, g_theta.to(theta.dtype)


def _inside(raw: Tensor, spec: StateSpec | None, theta: Tensor) -> Tensor:
    """1 where a value lies in the range of the levels, else 0; 1 for a float state."""
    if spec is None:
        return torch.ones_like(raw)
    levels, _, _ = level_tables(spec, float(theta), raw.dtype)
    return ((raw >= levels[0]) & (raw <= levels[-1])).to(raw.dtype)


def _check(finite: bool) -> None:
    if not finite:
        raise ValueError("a state contains NaN or infinity: expected finite inputs and weights; check both")
