"""LIF with optional recurrence, in plain PyTorch: the specification of `ops/lif`.

Every other backend must give the codes and spikes of this loop exactly, and its gradients closely. With the delayed
reset of snnTorch's `Leaky`:

    a[t] = (beta*u[t-1] + i[t]) - theta*s[t-1]      c[t] = #{k : a[t] > bound[k]}
    u[t] = level[c[t]]                              s[t] = (c[t] >= first firing code), that is u[t] > theta

With recurrence the input is `i[t] + rec_scale * (s[t-1] @ w_rec.T)`; float recurrent weights are summed in the order of
the presynaptic neurons. Under the integer rule (`quant/integer_rule.py`) `x` holds integer sums `z` and
`i = scale*z + bias`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from squat.ops.lif.tables import CodeTables, LoopConfig, code_tables
from squat.quant.encoder import count_below
from squat.quant.integer_rule import IntegerTables


def lif(
    x: Tensor,
    beta: Tensor,
    threshold: Tensor,
    config: LoopConfig,
    *,
    steps: int,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    w_rec: Tensor | None = None,
    rec_scale: Tensor | None = None,
    u0: Tensor | None = None,
    codes0: Tensor | None = None,
    sum_bound: int = 0,
    forced_codes: Tensor | None = None,
    recur: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the loop; arguments and results as in `squat.ops.lif.lif`, differentiable by plain autograd.

    `forced_codes`, uint8 `[T, B, N]`, are used instead of computed ones, so that gradients of different precisions can
    be compared on the same trajectory. `recur` stands for another recurrence than by `w_rec`: from spikes to currents
    `[B, N]`, or to sums in units of `rec_scale`.
    """
    if w_rec is not None:
        recur = partial(ordered_product, w_rec=w_rec)
    loop = _Loop(x, beta, threshold, config, scale, bias, recur, rec_scale, sum_bound)
    batch = x.shape[1:]
    u = x.new_zeros(batch) if u0 is None else u0
    codes = codes0
    s = x.new_zeros(batch) if u0 is None else loop.spikes(u, codes)
    outputs = []
    for t in range(steps):
        forced = None if forced_codes is None else forced_codes[t]
        u, codes = loop.step(x[t if x.shape[0] > 1 else 0], u, s, codes, forced)
        s = loop.spikes(u, codes)
        outputs.append(s if config.spiking else u)
    return torch.stack(outputs), u, codes


class _Loop:
    """The step and its constants."""

    def __init__(
        self,
        x: Tensor,
        beta: Tensor,
        threshold: Tensor,
        config: LoopConfig,
        scale: Tensor | None,
        bias: Tensor | None,
        recur: Callable[[Tensor], Tensor] | None,
        rec_scale: Tensor | None,
        sum_bound: int,
    ) -> None:
        self.beta, self.threshold, self.config = beta.to(x.dtype), threshold.to(x.dtype), config
        self.recur, self.rec_scale = recur, rec_scale
        self.scale = None if scale is None else scale.to(x.dtype)
        self.bias = None if bias is None else bias.to(x.dtype)
        self.quantized = config.state is not None
        if self.quantized:
            self.tables = code_tables(config, x.dtype, beta, threshold, scale, bias, sum_bound)

    def step(
        self, x: Tensor, u: Tensor, s: Tensor, codes: Tensor | None, forced: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        recurrent = None if self.recur is None else self.recur(s)
        a = self._membrane(x, u, s.detach(), recurrent)
        if not self.quantized:
            return a, None
        if self.tables.integers is not None:
            code, inside, a = self._integer_code(x, recurrent, codes, a)
        else:
            # The leak is looked up by code: equal to beta*u, but for specs that force a decay.
            value = self._table_membrane(x, recurrent, codes)
            a = value + (a - a.detach())
            code = count_below(value, self.tables.bound[0]).to(torch.uint8)
            inside = (value >= self.tables.levels[0]) & (value <= self.tables.levels[-1])
        code = code if forced is None else forced
        return self._quantized(a, code, inside), code

    def spikes(self, u: Tensor, codes: Tensor | None) -> Tensor:
        """Spikes by code, with the surrogate's gradient at the quantized membrane."""
        if not self.config.spiking or self.config.surrogate is None:
            return torch.zeros_like(u)
        x = u - self.threshold
        if codes is None or not self.quantized:
            return self.config.surrogate(x)
        slope = self.config.surrogate.derivative(x.detach())
        return (codes >= self.tables.first).to(u.dtype) + slope * (x - x.detach())

    def _membrane(self, x: Tensor, u: Tensor, fired: Tensor, recurrent: Tensor | None) -> Tensor:
        """The differentiable update, in snnTorch's order of operations."""
        if self.config.integer and self.scale is not None:
            x = x * self.scale if self.bias is None else x * self.scale + self.bias
        if self.config.reset == "zero":
            a = self.beta * ((1.0 - fired) * u) + x
        else:
            a = self.beta * u + x
        if recurrent is not None:
            a = a + (recurrent if self.rec_scale is None else recurrent * self.rec_scale.to(x.dtype))
        if self.config.reset == "subtract":
            return a - self.threshold * fired
        return (1.0 - fired) * a if self.config.reset == "zero" and self.config.drop_input else a

    def _table_membrane(self, x: Tensor, recurrent: Tensor | None, codes: Tensor | None) -> Tensor:
        with torch.no_grad():
            value = x.detach() if codes is None else by_code(self.tables.leak, codes) + x
            if recurrent is not None:
                value = value + (recurrent if self.rec_scale is None else recurrent * self.rec_scale.to(x.dtype))
            if codes is None:
                return value
            value = value - self.tables.reset[codes.int()]
            return value.masked_fill(codes >= self.tables.first, 0.0) if self._drops else value

    def _integer_code(
        self, z: Tensor, recurrent: Tensor | None, codes: Tensor | None, a: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            tables, integers, scale = self._integer_constants()
            total = (z if recurrent is None else z + recurrent).to(torch.int64)
            acc = total << integers.shift
            if integers.bias is not None:
                acc = acc + integers.bias
            if codes is not None:
                acc = acc + by_code(integers.table, codes)
                acc = acc.masked_fill(codes >= tables.first, 0) if self._drops else acc
            code = (acc[..., None] > integers.bound).sum(-1).to(torch.uint8)
            inside = (acc >= integers.ends[:, 0]) & (acc <= integers.ends[:, 1])
            value = (acc.double() * scale.double() / 2.0**integers.shift).to(a.dtype)
        return code, inside, value + (a - a.detach())

    def _quantized(self, a: Tensor, code: Tensor, inside: Tensor) -> Tensor:
        return straight_through(self.tables.levels[code.int()], a, inside, self.config.clipped, self.threshold)

    def _integer_constants(self) -> tuple[CodeTables, IntegerTables, Tensor]:
        if self.tables.integers is None or self.scale is None:
            raise ValueError("integer=True: expected a state spec and a scale")
        return self.tables, self.tables.integers, self.scale

    @property
    def _drops(self) -> bool:
        return self.config.reset == "zero" and self.config.drop_input


def by_code(table: Tensor, codes: Tensor) -> Tensor:
    """`table[0 or neuron, code]`."""
    if table.shape[0] == 1:
        return table[0][codes.int()]
    return table.T.gather(0, codes.long())


def ordered_product(s: Tensor, w_rec: Tensor) -> Tensor:
    """`s @ w_rec.T`, summed in the order of the presynaptic neurons, so that every backend rounds alike."""
    total = s.new_zeros(s.shape[0], w_rec.shape[0])
    for j in range(w_rec.shape[1]):
        total = total + s[:, j : j + 1] * w_rec[:, j].to(s.dtype)
    return total


def straight_through(level: Tensor, a: Tensor, inside: Tensor, clipped: bool, threshold: Tensor) -> Tensor:
    """`level`, quantized from `a`; gradients: the STE to `a`, and `level/theta - inside*a/theta` to the threshold."""
    theta = threshold.detach()
    through = torch.where(inside, a, a.detach()) if clipped else a
    with_threshold = (level - torch.where(inside, a.detach(), 0.0)) / theta
    return level + (through - through.detach()) + with_threshold * (threshold - theta)
