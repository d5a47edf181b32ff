"""Neurons of several states in plain PyTorch, from the equations in this folder: the specification of `ops/states`.

Every other backend must give the codes and spikes of this loop exactly, and its gradients closely. Per step, see
`equations.py`:

    raw[k] = update(k, ...)      c[k] = #{j : raw[k] > bound_k[j]}      now[k] = level_k[c[k]]      k = 0 .. membrane
    s      = (margin(now) > 0)

Without delay the reset follows behind the quantizer, so that the stored membrane lies off the grid, as in snnTorch:

    u -= (s - fired)*theta   or, to zero,   u -= (s - fired)*u

where `fired`, the membrane stored before being above the threshold, was reset with the step already. The reset is
detached. Float recurrent weights are summed in the order of the presynaptic neurons.

Under the integer rule (`tables.Grid`) the codes of states that take up synaptic sums come from integer tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

from squat.ops.lif.reference import ordered_product
from squat.ops.states.equations import DROP, THETA
from squat.ops.states.tables import Grid, Quantizer, StatesConfig, Sums, grids, quantizers
from squat.quant.encoder import count_below


def run(
    x: Tensor, parameters: Tensor, start: Tensor | None, w_rec: Tensor | None, rec_scale: Tensor | None,
    config: StatesConfig, steps: int, threshold: float, sums: Sums | None = None, start_codes: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...], bool]:  # fmt: skip
    """Run the loop; arguments and results as in `squat.ops.states.states`, differentiable by plain autograd.

    The last result is whether every value was finite.
    """
    dtype = x.dtype
    if sums is not None:  # the integer rule is computed in float64
        x, start = x.double(), None if start is None else start.double()
        parameters = sums.parameters + (parameters - parameters.detach()).double()
    equations, o = config.equations, config.options
    tables = tuple(None if q is None else _to(q, x.device) for q in quantizers(config, threshold, x.dtype))
    machines = [None] * len(tables) if sums is None else grids(config, threshold, sums)
    zeros = x.new_zeros(x.shape[1:])
    before = (zeros,) * len(tables) if start is None else tuple(start)
    # A fresh start has no past and passes no gradient.
    s = zeros if start is None else config.surrogate(equations.margin(o, parameters, before))
    reset, outputs, good = s.detach(), [], torch.ones((), dtype=torch.bool, device=x.device)
    codes: list[Tensor | None] = [None] * len(before) if start_codes is None else list(start_codes)
    for t in range(steps):
        current = x[t if x.shape[0] > 1 else 0]
        r = zeros if w_rec is None else _recurrent(s, w_rec, rec_scale)
        z = None if sums is None else _total(sums, t, s, w_rec)
        now: list[Tensor] = []
        raw: list[Tensor] = []
        for k, quantizer in enumerate(tables):
            raw.append(equations.update(o, k, parameters, current, r, s, reset, before, now, raw))
            good = good & torch.isfinite(raw[k].detach()).all()
            grid, code = machines[k], None
            if grid is not None and z is not None:
                raw[k], code = _on_integers(grid, raw[k], z, reset, codes[k])
            value, codes[k] = _quantized(raw[k], quantizer, parameters[THETA], config.clipped, code)
            now.append(value)
        s = config.surrogate(equations.margin(o, parameters, now))
        outputs.append(s)
        reset, before = _settled(config, parameters, s.detach(), reset, now)
    return torch.stack(outputs).to(dtype), torch.stack(before).to(dtype), tuple(codes), bool(good)


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


def _total(sums: Sums, t: int, s: Tensor, w_rec: Tensor | None) -> Tensor:
    """Sums of a step, int64, recurrent ones included."""
    z = sums.z[t if sums.z.shape[0] > 1 else 0].long()
    return z if w_rec is None else z + (s.detach().double() @ w_rec.detach().double().T).round().long()


def _on_integers(grid: Grid, a: Tensor, z: Tensor, reset: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
    """The state before its quantizer, with the gradient of `a`, and its code."""
    fired, neuron = (reset > 0).long(), torch.arange(grid.table.shape[1], device=z.device)
    gain, table, bound, unit = (torch.as_tensor(part, device=z.device) for part in (*grid[:3], grid.unit))
    acc = z << grid.shift
    acc = gain[fired] * (acc if grid.bias is None else acc + grid.bias.to(z.device))
    if code is not None:
        acc = acc + table[fired, neuron, code.long()]
    value = (acc.double() / unit).to(a.dtype)
    return value + (a - a.detach()), (acc[..., None] > bound).sum(-1).to(torch.uint8)


def _quantized(
    raw: Tensor, quantizer: Quantizer | None, theta: Tensor, clipped: bool, code: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """`level[code]`, code; gradients: the STE to `raw`, and `level/theta - inside*raw/theta` to the threshold.

    `code` is given where it is known already.
    """
    if quantizer is None:
        return raw, None
    levels, bound, in_thresholds = quantizer
    values = raw.detach()
    code = count_below(values, bound).to(torch.uint8) if code is None else code
    level = levels[code.int()]
    inside = (values >= levels[0]) & (values <= levels[-1])
    through = torch.where(inside, raw, values) if clipped else raw
    value = level + (through - through.detach())
    if in_thresholds:
        value = value + (level - torch.where(inside, values, 0.0)) / theta.detach() * (theta - theta.detach())
    return value, code


def _to(quantizer: Quantizer, device: torch.device) -> Quantizer:
    return quantizer._replace(levels=quantizer.levels.to(device), bound=quantizer.bound.to(device))
