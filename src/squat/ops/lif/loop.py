"""The LIF loop as one differentiable operation: checks of values, choice of the backend, the autograd function."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.ops.dispatch import current_backend
from squat.ops.lif import reference
from squat.ops.lif.protocol import Needs
from squat.ops.lif.tables import CodeTables, LoopConfig, code_tables


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
    input_bound: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run LIF neurons through time; `ops/lif/reference.py` states the equations.

    Args:
        x: currents `[T, B, N]`, or `[1, B, N]` if constant over time; integer sums `z` under the integer rule.
        beta: decay, 0-dim or `[N]`.
        threshold: 0-dim.
        config: constants of the loop.
        steps: T.
        scale: weight scale, 0-dim or `[N]`; integer rule only.
        bias: `[N]`; integer rule only (the float rule has it in `x`).
        w_rec: recurrent weights `[N, N]` (postsynaptic first), integer-valued if quantized; None without recurrence.
        rec_scale: their scale, 0-dim or `[N]`; None for float weights and under the integer rule, where `scale` serves.
        u0: carried membrane `[B, N]`; for quantized states it stands for `level[codes0]` and takes the gradient.
        codes0: carried codes, uint8 `[B, N]`; None starts fresh: no leak, no reset in the first step.
        sum_bound: certain bound of the synaptic sum `|z|`, recurrence included; integer rule only.
        input_bound: the same without recurrence, which `x` must keep; `sum_bound` if None.

    Returns:
        Output `[T, B, N]` (spikes or membranes), last membrane `[B, N]`, last codes (None for float states).

    Raises:
        ValueError: if a current is not finite, or under the integer rule not an integer within `input_bound`.
    """
    arguments = (x, beta, threshold, config)
    input_bound = sum_bound if input_bound is None else input_bound
    if config.integer and rec_scale is None:
        rec_scale = scale
    if current_backend(x.device) == "reference":
        _check_currents(_values_good(x, config, input_bound), config, input_bound)
        return reference.lif(
            *arguments, steps=steps, scale=scale, bias=bias, w_rec=w_rec, rec_scale=rec_scale, u0=u0, codes0=codes0,
            sum_bound=sum_bound,
        )  # fmt: skip
    if config.state is None:
        start = x.new_zeros(x.shape[1:]) if u0 is None else u0
        out, u_last = _MembraneLoop.apply(x, beta, threshold, w_rec, rec_scale, start, u0 is None, config, steps)
        return out, u_last, None
    tables = code_tables(config, x.dtype, beta, threshold, scale, bias, sum_bound)
    return _CodeLoop.apply(
        x, beta, threshold, scale, bias, w_rec, rec_scale, u0, codes0, tables, config, steps, input_bound
    )


def _values_good(x: Tensor, config: LoopConfig, limit: int) -> bool:
    if config.integer:
        return bool(((x == x.round()) & (x.abs() <= limit)).all())
    return bool(torch.isfinite(x).all())


def _check_currents(good: bool, config: LoopConfig, limit: int) -> None:
    if good:
        return
    if config.integer:
        raise ValueError(
            f"the input currents are not integers of at most {limit}: expected integer-valued inputs (spikes, or "
            "pixels 0..255 with input_scale=1/255) no larger than the layer's input_max; scale analog inputs to "
            "integers, raise input_max, or use arithmetic='float'"
        )
    raise ValueError(
        "the membrane contains NaN or infinity: expected finite input currents; check the inputs and the weights"
    )


def _kernels(device: torch.device) -> ModuleType:
    """The module of the backend in force, see `protocol.py`."""
    return import_module(f"squat.ops.lif.{current_backend(device)}")


class _CodeLoop(torch.autograd.Function):
    """Saves codes (one byte), the packed in-range bit where the gradients need it, and small tables."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, bias: Tensor | None,
        w_rec: Tensor | None, rec_scale: Tensor | None, u0: Tensor | None, codes0: Tensor | None, tables: CodeTables,
        config: LoopConfig, steps: int, input_bound: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        need, fresh = ctx.needs_input_grad, codes0 is None
        out, codes, inside, membrane, good = _kernels(x.device).forward_codes(
            x, w_rec, rec_scale, scale, codes0, fresh, tables, config, steps, input_bound, need[2]
        )
        _check_currents(bool(good), config, input_bound)
        ctx.save_for_backward(
            x if need[3] else None, beta, threshold, scale, w_rec, rec_scale, codes0,
            out if w_rec is not None else None, codes, inside, membrane,
        )  # fmt: skip
        ctx.tables, ctx.config, ctx.x_steps = tables, config, x.shape[0]
        last = codes[-1].clone()
        ctx.mark_non_differentiable(last)
        # Where nothing spikes the output is the membrane.
        u_last = tables.levels[last.int()] if config.spiking else out[-1].clone()
        return out, u_last, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, beta, threshold, scale, w_rec, rec_scale, codes0, out, codes, inside, membrane = ctx.saved_tensors
        tables, config, need, fresh = ctx.tables, ctx.config, ctx.needs_input_grad, codes0 is None
        unit = torch.ones((), dtype=torch.float64)
        if config.integer:
            unit = scale.double() / 2.0**tables.integers.shift
        gx, gu0, g_beta, g_bias, g_theta = _kernels(codes.device).backward_codes(
            g_out, g_last, codes, codes0, fresh, inside, membrane, unit, beta, threshold, scale, w_rec, rec_scale,
            tables, config, ctx.x_steps, Needs(beta=need[1], bias=need[4], theta=need[2]),
        )  # fmt: skip
        s0 = None if fresh or w_rec is None else (codes0 >= tables.first).to(gx.dtype)
        if config.integer:
            g_w, g_rec_scale = _shared_weight_gradients(gx, out, s0, w_rec, rec_scale, need[5], need[6])
        else:
            g_w, g_rec_scale = _weight_gradients(gx, out, s0, w_rec, rec_scale, need[5], need[6])
        g_scale = _reduce_like(scale, (gx * x).sum((0, 1)) / scale.to(gx.dtype)) if need[3] else None
        return (
            _over_input(gx, ctx.x_steps), _reduce_like(beta, g_beta), _reduce_like(threshold, g_theta), g_scale, g_bias,
            g_w, g_rec_scale, gu0 if need[7] else None, *(None,) * 5,
        )  # fmt: skip


class _MembraneLoop(torch.autograd.Function):
    """Float states: saves the membranes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
        u0: Tensor, fresh: bool, config: LoopConfig, steps: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        out, u, good = _kernels(x.device).forward_membrane(
            x, u0, fresh, beta, threshold, w_rec, rec_scale, config, steps
        )
        _check_currents(bool(good), config, 0)
        ctx.save_for_backward(beta, threshold, w_rec, rec_scale, u0, u)
        ctx.fresh, ctx.config, ctx.x_steps = fresh, config, x.shape[0]
        return out, u[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor) -> tuple[Tensor | None, ...]:
        beta, threshold, w_rec, rec_scale, u0, u = ctx.saved_tensors
        need = ctx.needs_input_grad
        gx, gu0, g_beta, g_theta = _kernels(u.device).backward_membrane(
            g_out, g_last, u, u0, ctx.fresh, beta, threshold, w_rec, rec_scale, ctx.config, ctx.x_steps,
            Needs(beta=need[1], bias=False, theta=need[2]),
        )  # fmt: skip
        spikes = s0 = None
        if w_rec is not None:
            theta = threshold.to(u.dtype)
            spikes, s0 = (u > theta).to(u.dtype), None if ctx.fresh else (u0 > theta).to(u.dtype)
        g_w, g_rec_scale = _weight_gradients(gx, spikes, s0, w_rec, rec_scale, need[3], need[4])
        return (
            _over_input(gx, ctx.x_steps), _reduce_like(beta, g_beta), _reduce_like(threshold, g_theta), g_w,
            g_rec_scale, gu0 if need[5] else None, None, None, None,
        )  # fmt: skip


def _over_input(gx: Tensor, x_steps: int) -> Tensor:
    """The gradient of a constant current is the sum over time."""
    return gx.sum(0, keepdim=True) if x_steps == 1 and len(gx) > 1 else gx


def _weight_gradients(
    ga: Tensor, spikes: Tensor | None, s0: Tensor | None, w_rec: Tensor | None, rec_scale: Tensor | None, need_w: bool,
    need_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of the recurrent weights and of their scale: `sum over t of ga[t] (x) s[t-1]`."""
    if w_rec is None or spikes is None or not (need_w or need_scale):
        return None, None
    g_w = _outer_sum(ga[1:].flatten(0, 1), spikes[:-1].flatten(0, 1))
    if s0 is not None:
        g_w = g_w + ga[0].T @ s0
    g_scale = None
    if rec_scale is not None:
        if need_scale:
            g_scale = _reduce_like(rec_scale, (g_w * w_rec).sum(1))
        g_w = g_w * rec_scale.to(g_w.dtype).reshape(-1, 1)
    return g_w.to(w_rec.dtype) if need_w else None, g_scale


def _shared_weight_gradients(
    gx: Tensor, spikes: Tensor | None, s0: Tensor | None, w_rec: Tensor | None, scale: Tensor | None, need_w: bool,
    need_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """The same under the integer rule, where `gx` is `scale * ga` already."""
    g_w, _ = _weight_gradients(gx, spikes, s0, w_rec, None, need_w or need_scale, False)
    if g_w is None or w_rec is None or scale is None or not need_scale:
        return g_w, None
    return g_w, _reduce_like(scale, (g_w * w_rec).sum(1) / scale.reshape(-1))


def _outer_sum(ga: Tensor, spikes: Tensor) -> Tensor:
    """`ga.T @ spikes`, event by event where spikes are sparse."""
    from squat.ops.events import add_gradient_rows, events_of

    events = events_of(spikes)
    return ga.T @ spikes if events is None else add_gradient_rows(events, ga)


def _reduce_like(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """A gradient `[N]` or 0-dim, summed to the shape of a 0-dim, `[1]` or `[N]` parameter; None for None."""
    if gradient is None:
        return None
    total = gradient if parameter.numel() == gradient.numel() else gradient.sum()
    return total.to(parameter.dtype).reshape(parameter.shape)
