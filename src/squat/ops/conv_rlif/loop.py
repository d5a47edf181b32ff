"""LIF neurons whose recurrence is a convolution, as one differentiable operation.

The equations are those of `squat.ops.lif.reference` with the recurrent current `conv(w, s[t-1]) + b`, under the float
rule. On the CPU a step is torch's convolution and one compiled call for the rest; gradients go back as `ops/README.md`
derives, the convolution's own by torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.ops.conv_rlif.gradients import gradients
from squat.ops.conv_rlif.recurrence import Recurrence
from squat.ops.dispatch import current_backend
from squat.ops.lif import reference
from squat.ops.lif.loop import check_currents, check_threshold, first_codes
from squat.ops.lif.operators import config_of
from squat.ops.lif.tables import LoopConfig, code_tables
from squat.ops.lstm.reference import firing_threshold
from squat.quant.spec import level_tables


def conv_rlif(
    x: Tensor,
    beta: Tensor,
    threshold: Tensor,
    recurrence: Recurrence,
    config: LoopConfig | str,
    *,
    u0: Tensor | None = None,
    codes0: Tensor | None = None,
    from_code_of_zero: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run LIF neurons with convolutional recurrence through time.

    Args:
        x: currents `[T, B, N]`, `N = C*H*W`, float32 or float64.
        beta: decay, 0-dim or `[N]`.
        threshold: 0-dim.
        recurrence: the convolution, in the dtype of `x`.
        config: constants of the loop, or their text, as in `squat.ops.lif.lif`; float rule, spiking.
        u0: carried membrane `[B, N]`, or None for a fresh start.
        codes0: carried codes, uint8 `[B, N]`.
        from_code_of_zero: without `codes0`, start from the code of 0.

    Returns:
        Spikes `[T, B, N]`, last membrane `[B, N]`, last codes (None for float states).

    Raises:
        ValueError: if a membrane is not finite; if the threshold is not positive; for a code that the spec lacks.
    """
    config = config_of(config) if isinstance(config, str) else config
    check_threshold(threshold)
    codes0 = first_codes(codes0, from_code_of_zero, x, threshold, config)
    if from_code_of_zero and codes0 is not None and config.state is not None:
        u0 = config.state.levels(float(threshold.detach())).to(x)[codes0.int()]
    with torch.autocast(x.device.type, enabled=False):
        if x.device.type == "cpu" and current_backend(x.device) == "cpu":
            weight, bias, scale, image = recurrence
            out, u, codes = _Loop.apply(x, beta, threshold, weight, bias, scale, u0, codes0, image, config)
            return out, u, None if config.state is None else codes
        check_currents(bool(torch.isfinite(x.detach()).all()), config, 0)
        return reference.lif(x, beta, threshold, config, steps=len(x), u0=u0, codes0=codes0, recur=recurrence.currents)


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None,
        u0: Tensor | None, codes0: Tensor | None, image: tuple[int, ...], config: LoopConfig,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        start = x.new_zeros(x.shape[1:]) if u0 is None else u0
        keeps_raw = config.state is not None and (config.clipped or ctx.needs_input_grad[2])
        recurrence = Recurrence(weight, bias, scale, image)
        out, u, codes, raw = _forward(x, beta, threshold, recurrence, start, codes0, config, keeps_raw)
        stored = u if config.state is None else codes
        ctx.save_for_backward(beta, threshold, weight, bias, scale, u0, start, stored, raw)
        ctx.image, ctx.config = image, config
        last = codes[-1].clone() if len(codes) else codes
        ctx.mark_non_differentiable(last)
        return out, u[-1].clone(), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        beta, threshold, weight, bias, scale, u0, start, stored, raw = ctx.saved_tensors
        config: LoopConfig = ctx.config
        u = stored
        if config.state is not None:
            u = level_tables(config.state, float(threshold), g_out.dtype)[0][stored.int()]
        states = torch.cat((start[None], u))
        recurrence = Recurrence(weight, bias, scale, ctx.image)
        found = gradients(g_out, g_last, states, raw, beta, threshold, recurrence, config, u0 is None)
        wanted = zip((*found, None, None, None), ctx.needs_input_grad, strict=True)
        return tuple(gradient if needed else None for gradient, needed in wanted)


def _forward(
    x: Tensor, beta: Tensor, threshold: Tensor, recurrence: Recurrence, start: Tensor, codes0: Tensor | None,
    config: LoopConfig, keeps_raw: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Spikes, membranes, codes (none for float states) and membranes before the quantizer, `[T, B, N]`."""
    from squat.ops.conv_rlif.cpu import finish_step
    from squat.ops.quantizer import row_tables

    out, u = x.new_empty(x.shape), x.new_empty(x.shape)
    raw = x.new_empty(len(x) if keeps_raw else 1, *x.shape[1:])
    codes = torch.empty(0 if config.state is None else len(x), *x.shape[1:], dtype=torch.uint8)
    none = codes.new_empty(x.shape[1], 0)
    fires = firing_threshold(threshold, config.state)
    theta, limit = (value.detach().to(x.dtype).numpy()[()] for value in (threshold, fires))
    constants = (theta * (config.reset == "subtract"), config.reset == "zero" and config.drop_input, limit)
    quantizer = row_tables(config.state, threshold, x.dtype)
    leak = _Leak(x.dtype, beta, threshold, config)
    before, before_codes, fired = start, codes0, (start > fires).to(x.dtype)
    for t in range(len(x)):
        inputs = (leak(before, before_codes, fired), x[t], recurrence.currents(fired), fired)
        results = (raw[t if keeps_raw else 0], u[t], codes[t] if len(codes) else none, out[t])
        good = finish_step(
            *(value.detach().contiguous().numpy() for value in inputs), *constants, *quantizer,
            *(value.numpy() for value in results),
        )  # fmt: skip
        check_currents(bool(good), config, 0)
        before, before_codes, fired = u[t], codes[t] if len(codes) else None, out[t].clone()
    return out, u, codes, raw if keeps_raw else raw[:0].clone()


class _Leak:
    """What is left of a membrane after a step: looked up by code where there are codes, nothing of a fresh start."""

    def __init__(self, dtype: torch.dtype, beta: Tensor, threshold: Tensor, config: LoopConfig) -> None:
        self.beta, self.clears = beta.detach().to(dtype), config.reset == "zero"
        self.table = None if config.state is None else code_tables(config, dtype, beta, threshold).leak

    def __call__(self, u: Tensor, codes: Tensor | None, fired: Tensor) -> Tensor:
        if self.table is not None:
            return torch.zeros_like(u) if codes is None else reference.by_code(self.table, codes)
        return self.beta * ((1.0 - fired) * u if self.clears else u)
