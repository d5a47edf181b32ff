"""Neurons of several states in plain PyTorch, from the equations in this folder: the specification of `ops/states`.

Every other backend must give the codes and spikes of this loop exactly, and its gradients closely. Per step, see
`equations.py`:

    raw[k] = update(k, ...)      c[k] = #{j : raw[k] > bound_k[j]}      now[k] = level_k[c[k]]      k = 0 .. membrane
    s      = (margin(now) > 0)

Without delay the reset follows behind the quantizer, so that the stored membrane lies off the grid, as in snnTorch:

    u -= (s - fired)*theta   or, to zero,   u -= (s - fired)*u

where `fired`, the membrane stored before being above the threshold, was reset with the step already. The reset is
detached. Float recurrent weights are summed in the order of the presynaptic neurons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from squat.ops.lif.reference import ordered_product
from squat.ops.states.equations import DROP, THETA
from squat.ops.states.tables import Quantizer, StatesConfig, quantizers
from squat.quant.encoder import count_below


def run(
    x: Tensor, parameters: Tensor, start: Tensor | None, w_rec: Tensor | None, rec_scale: Tensor | None,
    config: StatesConfig, steps: int, threshold: float,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...], bool]:  # fmt: skip
    """Run the loop; arguments and results as in `squat.ops.states.states`, differentiable by plain autograd.

    The last result is whether every value was finite.
    """
    equations, o = config.equations, config.options
    tables = tuple(None if q is None else _to(q, x.device) for q in quantizers(config, threshold, x.dtype))
    zeros = x.new_zeros(x.shape[1:])
    before = (zeros,) * len(tables) if start is None else tuple(start)
    # A fresh start has no past and passes no gradient.
    s = zeros if start is None else config.surrogate(equations.margin(o, parameters, before))
    reset, outputs, good = s.detach(), [], torch.ones((), dtype=torch.bool, device=x.device)
    codes: list[Tensor | None] = [None] * len(before)
    for t in range(steps):
        current = x[t if x.shape[0] > 1 else 0]
        r = zeros if w_rec is None else _recurrent(s, w_rec, rec_scale)
        now: list[Tensor] = []
        raw: list[Tensor] = []
        for k, quantizer in enumerate(tables):
            raw.append(equations.update(o, k, parameters, current, r, s, reset, before, now, raw))
            good = good & torch.isfinite(raw[k].detach()).all()
            value, codes[k] = _quantized(raw[k], quantizer, parameters[THETA], config.clipped)
            now.append(value)
        s = config.surrogate(equations.margin(o, parameters, now))
        outputs.append(s)
        reset, before = _settled(config, parameters, s.detach(), reset, now)
    return torch.stack(outputs), torch.stack(before), tuple(codes), bool(good)


def _settled(
    config: StatesConfig, parameters: Tensor, s: Tensor, reset: Tensor, now: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What the next step resets, and the states it starts from."""
    if config.delayed:
        return s, tuple(now)
    u, due = now[-1], s - reset
    now[-1] = u - due * (parameters[DROP] + config.options.zero * u)
    fired = config.equations.margin(config.options, parameters, now) > 0
    return fired.to(s.dtype), tuple(now)


def _recurrent(s: Tensor, w_rec: Tensor, rec_scale: Tensor | None) -> Tensor:
    total = ordered_product(s, w_rec)
    return total if rec_scale is None else total * rec_scale.to(total.dtype)


def _quantized(raw: Tensor, quantizer: Quantizer | None, theta: Tensor, clipped: bool) -> tuple[Tensor, Tensor | None]:
    """`level[code]`, code; gradients: the STE to `raw`, and `level/theta - inside*raw/theta` to the threshold."""
    if quantizer is None:
        return raw, None
    levels, bound, in_thresholds = quantizer
    values = raw.detach()
    code = count_below(values, bound).to(torch.uint8)
    level = levels[code.int()]
    inside = (values >= levels[0]) & (values <= levels[-1])
    through = torch.where(inside, raw, values) if clipped else raw
    value = level + (through - through.detach())
    if in_thresholds:
        value = value + (level - torch.where(inside, values, 0.0)) / theta.detach() * (theta - theta.detach())
    return value, code


def _to(quantizer: Quantizer, device: torch.device) -> Quantizer:
    return quantizer._replace(levels=quantizer.levels.to(device), bound=quantizer.bound.to(device))
