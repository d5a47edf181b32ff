"""The LIF loop as one differentiable operation: checks of values, choice of the backend, the autograd function."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.ops.dispatch import current_backend
from squat.ops.lif import reference
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
    if current_backend() == "reference":
        _check_currents(_values_good(x, config, input_bound), config, input_bound)
        return reference.lif(
            *arguments, steps=steps, scale=scale, bias=bias, w_rec=w_rec, rec_scale=rec_scale, u0=u0, codes0=codes0,
            sum_bound=sum_bound,
        )  # fmt: skip
    batch = x.shape[1:]
    if config.state is None:
        start = x.new_zeros(batch) if u0 is None else u0
        out, u_last = _MembraneLoop.apply(x, beta, threshold, w_rec, rec_scale, start, u0 is None, config, steps)
        return out, u_last, None
    tables = code_tables(config, x.dtype, beta, threshold, scale, bias, sum_bound)
    first_codes = torch.zeros(batch, dtype=torch.uint8) if codes0 is None else codes0.contiguous()
    return _CodeLoop.apply(
        x, beta, threshold, scale, bias, w_rec, rec_scale, u0, first_codes, codes0 is None, tables, config, steps,
        input_bound,
    )  # fmt: skip


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


def _array(tensor: Tensor | None, dtype: torch.dtype, shape: tuple[int, ...] = (0,)) -> np.ndarray:
    """A C-contiguous array of a detached tensor; an empty one of `shape` for None."""
    if tensor is None:
        return torch.empty(shape, dtype=dtype).numpy()
    return tensor.detach().to(dtype).contiguous().numpy()


def _per_neuron(tensor: Tensor | None, neurons: int, dtype: torch.dtype) -> np.ndarray:
    filled = torch.ones(()) if tensor is None else tensor.detach()
    return filled.to(dtype).reshape(-1).expand(neurons).contiguous().numpy()


def _inverse_step(bounds: Tensor, config: LoopConfig) -> float:
    """Codes per unit, for the constant-time encoder of evenly spaced boundaries; 0 for the others."""
    if config.state is None or not config.state.evenly_spaced or len(bounds) > 1 or bounds.shape[-1] < 2:
        return 0.0
    step = float(bounds[0, -1].double() - bounds[0, 0].double()) / (bounds.shape[-1] - 1)
    # Integer boundaries are rounded by up to one unit: the kernel repairs a guess by one code, so steps must be wider.
    wide_enough = step >= 4 if bounds.dtype == torch.int32 else step > 0
    return 1.0 / step if wide_enough else 0.0


SERIAL_WORK = 2**14
"""Up to this many updates (steps x samples x neurons) starting threads costs more than they save."""


def _use_torch_threads(work: int) -> None:
    """torch's number of threads for the kernels too, one for little work (streaming, say)."""
    from numba import config, set_num_threads

    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS) if work > SERIAL_WORK else 1)  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        # numba's first start of an OpenMP layer sets the process's thread number to all cores, torch's included.
        torch.set_num_threads(threads)


def _tasks(batch: int, neurons: int, recurrent: bool) -> int:
    from squat.ops.lif.cpu_forward import BLOCK

    return batch * (1 if recurrent else -(-neurons // BLOCK))


class _CodeLoop(torch.autograd.Function):
    """Saves codes (one byte), the packed in-range bit where the gradients need it, and small tables."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, bias: Tensor | None,
        w_rec: Tensor | None, rec_scale: Tensor | None, u0: Tensor | None, codes0: Tensor, fresh: bool,
        tables: CodeTables, config: LoopConfig, steps: int, input_bound: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        from squat.ops.lif import cpu_forward

        batch, neurons = x.shape[1:]
        _use_torch_threads(steps * batch * neurons)
        needs_theta = ctx.needs_input_grad[2]
        out = torch.empty(steps, batch, neurons, dtype=x.dtype)
        codes = torch.empty(steps, batch, neurons, dtype=torch.uint8)
        packed = -(-neurons // 8) if config.clipped or needs_theta else 0
        inside = torch.empty(steps, batch, packed, dtype=torch.uint8)
        kept = (steps, batch, neurons) if needs_theta else (0, 0, 0)
        levels_out = _array(None if config.spiking else tables.levels, x.dtype)
        drop = config.reset == "zero" and config.drop_input
        common = (tables.first, drop, levels_out, out.numpy(), codes.numpy(), inside.numpy())
        if tables.integers is not None and scale is not None:
            integers = tables.integers
            membrane = torch.empty(kept, dtype=torch.int32)
            limit = np.nextafter(_array(torch.tensor(input_bound), x.dtype)[()], np.inf)
            good = cpu_forward.forward_integer(
                _array(x, x.dtype), codes0.numpy(), fresh, np.int32(integers.shift), integers.table.numpy(),
                integers.bound.numpy(), _inverse_step(integers.bound, config), _array(integers.bias, torch.int32),
                integers.ends.numpy(), _array(_transposed(w_rec), torch.int16, (0, 0)), limit, *common,
                membrane.numpy(),
            )  # fmt: skip
            ctx.unit = scale.detach().to(torch.float64).reshape(-1) / 2.0**integers.shift
        else:
            membrane = torch.empty(kept, dtype=x.dtype)
            ends = tables.levels[[0, -1]].numpy()
            good = cpu_forward.forward_float(
                _array(x, x.dtype), codes0.numpy(), fresh, tables.leak.numpy(), tables.reset.numpy(),
                tables.bound.numpy(), _inverse_step(tables.bound, config), _array(_transposed(w_rec), x.dtype, (0, 0)),
                _per_neuron(rec_scale, neurons, x.dtype), ends, *common, membrane.numpy(),
            )  # fmt: skip
            ctx.unit = torch.ones(1, dtype=torch.float64)
        _check_currents(bool(good.all()), config, input_bound)
        ctx.save_for_backward(
            x if ctx.needs_input_grad[3] else None, beta, threshold, scale, bias, w_rec, rec_scale,
            codes0, out if w_rec is not None else None, codes, inside, membrane,
        )  # fmt: skip
        ctx.fresh, ctx.tables, ctx.config, ctx.x_steps = fresh, tables, config, x.shape[0]
        last = codes[-1].clone()
        ctx.mark_non_differentiable(last)
        return out, tables.levels[codes[-1].int()], last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from squat.ops.lif.cpu_backward import backward_codes

        x, beta, threshold, scale, bias, w_rec, rec_scale, codes0, out, codes, inside, membrane = ctx.saved_tensors
        g_out, g_last = grads[0].contiguous(), grads[1].contiguous()
        (batch, neurons), dtype, tables, config = codes.shape[1:], g_out.dtype, ctx.tables, ctx.config
        _use_torch_threads(codes.numel())
        need = ctx.needs_input_grad
        x_scale = scale.detach().reshape(-1) if config.integer else torch.ones(1)
        gx = torch.zeros(1 if ctx.x_steps == 1 and w_rec is None else len(codes), batch, neurons, dtype=dtype)
        gu0 = torch.zeros(batch, neurons, dtype=dtype)
        g_beta = torch.zeros(batch if need[1] else 0, neurons, dtype=torch.float64)
        g_bias = torch.zeros(batch if need[4] else 0, neurons, dtype=torch.float64)
        g_theta = torch.zeros(_tasks(batch, neurons, w_rec is not None) if need[2] else 0, dtype=torch.float64)
        backward_codes(
            g_out.numpy(), g_last.numpy(), codes.numpy(), codes0.numpy(), ctx.fresh, _array(beta.reshape(-1), dtype),
            tables.levels.to(dtype).numpy(), tables.surrogate.to(dtype).numpy(), tables.keep.to(dtype).numpy(),
            tables.first, config.reset == "zero" and config.drop_input, config.reset == "subtract", config.spiking,
            _scaled_recurrent(w_rec, rec_scale, dtype), _array(x_scale, dtype), inside.numpy(), config.clipped,
            membrane.numpy(), _array(ctx.unit, dtype), float(threshold), gx.numpy(), gu0.numpy(), g_beta.numpy(),
            g_bias.numpy(), g_theta.numpy(),
        )  # fmt: skip
        g_w, g_rec_scale = _recurrent_gradients(gx, out, codes0, ctx, w_rec, rec_scale, need[5], need[6])
        g_scale = None
        if need[3]:
            g_current = gx / x_scale.to(dtype)
            g_scale = _reduce_like(scale, (g_current * x).sum((0, 1)))
        if ctx.x_steps == 1 and len(gx) > 1:
            gx = gx.sum(0, keepdim=True)
        return (
            gx, _reduce_like(beta, g_beta.sum(0)) if need[1] else None,
            g_theta.sum().to(threshold.dtype).reshape(threshold.shape) if need[2] else None, g_scale,
            g_bias.sum(0).to(bias.dtype) if need[4] else None, g_w, g_rec_scale, gu0 if need[7] else None,
            *(None,) * 6,
        )  # fmt: skip


class _MembraneLoop(torch.autograd.Function):
    """Float states: saves the membranes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
        u0: Tensor, fresh: bool, config: LoopConfig, steps: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        from squat.ops.lif import cpu_forward

        batch, neurons = x.shape[1:]
        _use_torch_threads(steps * batch * neurons)
        u = torch.empty(steps, batch, neurons, dtype=x.dtype)
        out = torch.empty_like(u) if config.spiking else u
        theta = _array(threshold, x.dtype)[()]
        good = cpu_forward.forward_membrane(
            _array(x, x.dtype), _array(u0, x.dtype), _array(beta.reshape(-1), x.dtype), theta,
            config.reset == "subtract", config.reset == "zero", config.reset == "zero" and config.drop_input,
            _array(_transposed(w_rec), x.dtype, (0, 0)), _per_neuron(rec_scale, neurons, x.dtype), config.spiking,
            out.numpy(), u.numpy(),
        )  # fmt: skip
        _check_currents(bool(good.all()), config, 0)
        ctx.save_for_backward(beta, threshold, w_rec, rec_scale, u0, u)
        ctx.fresh, ctx.config, ctx.x_steps = fresh, config, x.shape[0]
        return out, u[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from squat.ops.lif.cpu_backward import backward_membrane

        beta, threshold, w_rec, rec_scale, u0, u = ctx.saved_tensors
        config, need = ctx.config, ctx.needs_input_grad
        g_out, g_last = grads[0].contiguous(), grads[1].contiguous()
        (batch, neurons), dtype = u.shape[1:], u.dtype
        _use_torch_threads(u.numel())
        theta = threshold.detach().to(dtype)
        slope, slope0 = (
            (config.surrogate.derivative(v - theta) if config.spiking else v.new_empty((0,) * v.dim()))
            for v in (u, u0.detach())
        )
        gx = torch.zeros(1 if ctx.x_steps == 1 and w_rec is None else len(u), batch, neurons, dtype=dtype)
        gu0 = torch.zeros(batch, neurons, dtype=dtype)
        g_beta = torch.zeros(batch if need[1] else 0, neurons, dtype=torch.float64)
        g_theta = torch.zeros(_tasks(batch, neurons, w_rec is not None) if need[2] else 0, dtype=torch.float64)
        backward_membrane(
            g_out.numpy(), g_last.numpy(), u.numpy(), _array(u0, dtype), ctx.fresh, slope.numpy(), slope0.numpy(),
            _array(beta.reshape(-1), dtype), theta.numpy()[()], config.reset == "subtract", config.reset == "zero",
            config.reset == "zero" and config.drop_input, config.spiking, _scaled_recurrent(w_rec, rec_scale, dtype),
            gx.numpy(), gu0.numpy(), g_beta.numpy(), g_theta.numpy(),
        )  # fmt: skip
        spikes = None if w_rec is None else (u > theta).to(dtype)
        s0 = (u0.detach() > theta).to(dtype)
        g_w, g_rec_scale = _weight_gradients(gx, spikes, s0, w_rec, rec_scale, need[3], need[4])
        if ctx.x_steps == 1 and len(gx) > 1:
            gx = gx.sum(0, keepdim=True)
        return (
            gx, _reduce_like(beta, g_beta.sum(0)) if need[1] else None,
            g_theta.sum().to(threshold.dtype).reshape(threshold.shape) if need[2] else None, g_w, g_rec_scale,
            gu0 if need[5] else None, None, None, None,
        )  # fmt: skip


def _transposed(w_rec: Tensor | None) -> Tensor | None:
    return None if w_rec is None else w_rec.detach().T


def _scaled_recurrent(w_rec: Tensor | None, rec_scale: Tensor | None, dtype: torch.dtype) -> np.ndarray:
    if w_rec is None:
        return np.empty((0, 0), dtype=torch.empty(0, dtype=dtype).numpy().dtype)
    scaled = w_rec.detach() if rec_scale is None else w_rec.detach() * rec_scale.detach().reshape(-1, 1)
    return _array(scaled, dtype)


def _recurrent_gradients(
    gx: Tensor, out: Tensor | None, codes0: Tensor, ctx: Any, w_rec: Tensor | None, rec_scale: Tensor | None,
    need_w: bool, need_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    s0 = None
    if w_rec is not None and not ctx.fresh:
        s0 = (codes0 >= ctx.tables.first).to(gx.dtype)
    if ctx.config.integer and w_rec is not None and rec_scale is not None:
        # gx = scale * ga already.
        g_w, _ = _weight_gradients(gx, out, s0, w_rec, None, need_w or need_scale, False)
        if not need_scale or g_w is None:
            return g_w, None
        return g_w, _reduce_like(rec_scale, (g_w * w_rec.detach()).sum(1) / rec_scale.detach().reshape(-1))
    return _weight_gradients(gx, out, s0, w_rec, rec_scale, need_w, need_scale)


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
            g_scale = _reduce_like(rec_scale, (g_w * w_rec.detach()).sum(1))
        g_w = g_w * rec_scale.detach().to(g_w.dtype).reshape(-1, 1)
    return g_w.to(w_rec.dtype) if need_w else None, g_scale


def _outer_sum(ga: Tensor, spikes: Tensor) -> Tensor:
    """`ga.T @ spikes`, event by event where spikes are sparse."""
    from squat.ops.events import add_gradient_rows, events_of

    events = events_of(spikes)
    return ga.T @ spikes if events is None else add_gradient_rows(events, ga, spikes.shape[1])


def _reduce_like(parameter: Tensor, per_neuron: Tensor) -> Tensor:
    """`[N]` summed to the shape of a 0-dim, `[1]` or `[N]` parameter."""
    total = per_neuron if parameter.numel() == per_neuron.numel() else per_neuron.sum()
    return total.to(parameter.dtype).reshape(parameter.shape)
