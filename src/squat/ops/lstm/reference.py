"""Spiking LSTM cells in plain PyTorch: the specification of `ops/lstm`, and what runs where nothing is compiled.

torch's own LSTM cell in floating point, then reset, quantizers and spike, in snnTorch's order of operations:

    i, f, g, o = gates(W_in x[t] + b_in + W_rec h[t-1] + b_rec)      sigmoid; g: tanh
    a_c[t] = f*c[t-1] + i*g                                          a_h[t] = o*tanh(a_c[t]) - theta*s[t-1]
    c[t] = Q_c(a_c[t])          h[t] = Q_h(a_h[t])                   s[t] = (h[t] > theta)

With the zero reset `a_h = (1 - s[t-1]) * o*tanh(a_c)`; the cell state is never reset. Q is the nearest level, or
nothing for a float state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from squat.ops.lif.reference import straight_through
from squat.quant.encoder import count_below
from squat.quant.spec import StateSpec, level_tables
from squat.surrogate import Surrogate
from squat.text import brief


@dataclass(frozen=True)
class LSTMConfig:
    """Constants of the loop.

    Attributes:
        state: spec of the hidden state h, or None for a float one.
        cell: spec of the cell state c, or None.
        surrogate: surrogate gradient of the spike.
        reset: `"subtract"`, `"zero"` or `"none"`.
        clipped: STE passes gradients only inside the range of the levels.
    """

    state: StateSpec | None
    cell: StateSpec | None
    surrogate: Surrogate
    reset: str = "none"
    clipped: bool = False

    __repr__ = brief


class LSTMWeights(NamedTuple):
    """Weights `[4N, in]` and `[4N, N]` and biases `[4N]`; rows of gates i, f, g, o, as in `torch.nn.LSTMCell`."""

    w_in: Tensor
    w_rec: Tensor
    b_in: Tensor | None
    b_rec: Tensor | None

    def __repr__(self) -> str:
        return brief(self)


class LSTMResult(NamedTuple):
    """Spikes `[T, B, N]`; hidden and cell state after the last step `[B, N]`; their codes, None for float states."""

    spikes: Tensor
    u: Tensor
    cell: Tensor
    codes: Tensor | None
    cell_codes: Tensor | None


def lstm(x: Tensor, u0: Tensor, cell0: Tensor, weights: LSTMWeights, theta: Tensor, config: LSTMConfig) -> LSTMResult:
    """Run the loop; arguments and results as in `squat.ops.lstm.lstm`, differentiable by plain autograd."""
    u, cell, spikes = u0.clone(), cell0, []
    codes = cell_codes = None
    threshold = theta.to(x.dtype)
    # Copies of the first state and of every input: products round by how their factors are aligned in memory, too.
    for step in x:
        fired = (u > firing_threshold(theta, config.state)).to(x.dtype)
        h, c = torch.lstm_cell(step.clone(), (u, cell), *weights)
        if config.reset == "subtract":
            h = h - fired * threshold
        elif config.reset == "zero":
            h = h - fired * h
        cell, cell_codes = _quantized(c, config.cell, theta, config)
        u, codes = _quantized(h, config.state, theta, config)
        spikes.append(_spikes(u, theta, config))
    return LSTMResult(torch.stack(spikes), u, cell, codes, cell_codes)


def firing_threshold(theta: Tensor, spec: StateSpec | None) -> Tensor:
    """What a state fires above; levels are float32 numbers, and compared with the threshold as one."""
    return theta.detach() if spec is None else theta.detach().float()


def _spikes(u: Tensor, theta: Tensor, config: LSTMConfig) -> Tensor:
    x = u - theta.to(u.dtype)
    slope = config.surrogate.derivative(x.detach())
    return (u > firing_threshold(theta, config.state)).to(u.dtype) + slope * (x - x.detach())


def _quantized(a: Tensor, spec: StateSpec | None, theta: Tensor, config: LSTMConfig) -> tuple[Tensor, Tensor | None]:
    if spec is None:
        return a, None
    levels, bounds, _ = level_tables(spec, float(theta.detach()), a.dtype)
    levels = levels.to(a.device)
    codes = count_below(a.detach(), bounds.to(a.device)).to(torch.uint8)
    inside = (a.detach() >= levels[0]) & (a.detach() <= levels[-1])
    return straight_through(levels[codes.int()], a, inside, config.clipped, theta.to(a.dtype)), codes
