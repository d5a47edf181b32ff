"""The LIF loop as one differentiable operation: checks of values, choice of the backend, the autograd function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.ops.dispatch import current_backend
from squat.ops.lif import reference
from squat.ops.lif.protocol import Needs
from squat.ops.lif.tables import CodeTables, LoopConfig, code_tables
from squat.remember import Remembered

Gradients = tuple[Tensor | None, ...]


def run(
    x: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, bias: Tensor | None, w_rec: Tensor | None,
    rec_scale: Tensor | None, u0: Tensor | None, codes0: Tensor | None, config: LoopConfig, steps: int,
    from_code_of_zero: bool, sum_bound: int, exact: bool, remembered: Remembered | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """`squat.ops.lif.lif` where nothing is traced, on the backend in force."""
    check_threshold(threshold)
    if config.state is None:
        if current_backend(x.device) == "reference":
            check_currents(_values_good(x, config, 0), config, 0)
            return reference.lif(x, beta, threshold, config, steps=steps, w_rec=w_rec, rec_scale=rec_scale, u0=u0)
        out, u_last = _MembraneLoop.apply(x, beta, threshold, w_rec, rec_scale, u0, config, steps)
        return out, u_last, None
    codes0 = first_codes(codes0, from_code_of_zero, x, threshold, config)
    if current_backend(x.device) == "reference":
        check_currents(_values_good(x, config, sum_bound), config, sum_bound)
        if from_code_of_zero and codes0 is not None:
            u0 = config.state.levels(float(threshold.detach())).to(x)[codes0.int()]
        return reference.lif(
            x, beta, threshold, config, steps=steps, scale=scale, bias=bias, w_rec=w_rec, rec_scale=rec_scale, u0=u0,
            codes0=codes0, sum_bound=sum_bound,
        )  # fmt: skip
    if remembered is None:
        remembered = Remembered()
    tables = remembered(
        (beta, threshold, scale, bias),
        (config, x.dtype, sum_bound),
        lambda: code_tables(config, x.dtype, beta, threshold, scale, bias, sum_bound),
    )
    if not torch.is_grad_enabled():
        # What the backend makes of them is kept with tables that are kept.
        tables.__dict__.setdefault("prepared", Remembered())
        out, codes, _, _, good = kernels(x.device).forward_codes(
            x,
            w_rec,
            rec_scale,
            scale,
            codes0,
            codes0 is None,
            tables,
            config,
            steps,
            None if exact else sum_bound,
            False,
        )
        check_currents(bool(good), config, sum_bound)
        last = codes[-1].clone() if steps > 1 else codes[0]
        return out, last_membrane(out, last, tables, config), last
    return _CodeLoop.apply(
        x, beta, threshold, scale, bias, w_rec, rec_scale, u0, codes0, tables, config, steps, sum_bound, exact
    )


def first_codes(
    codes0: Tensor | None, from_code_of_zero: bool, x: Tensor, threshold: Tensor, config: LoopConfig
) -> Tensor | None:
    """The codes that the first step starts from, or None for a fresh start.

    Raises:
        ValueError: a carried code is beyond the spec's.
    """
    if config.state is None:
        return None
    if codes0 is None:
        if not from_code_of_zero:
            return None
        return config.state.encode(x.new_zeros(()), float(threshold.detach())).expand(x.shape[1:])
    highest = int(codes0.max()) if config.state.bits < 8 and codes0.numel() else 0
    if highest >= 2**config.state.bits:
        raise ValueError(
            f"state: code {highest}, expected codes below {2**config.state.bits} for {config.state}; "
            "the state belongs to another neuron"
        )
    return codes0


def check_threshold(threshold: Tensor) -> float:
    """Refuse thresholds that are not positive, as after training that has diverged; else the lowest."""
    lowest = float(threshold.detach().min())
    if not lowest > 0:
        raise ValueError(
            f"threshold={lowest:.4g} after training: expected a number > 0; lower its learning rate or keep it fixed"
        )
    return lowest


def check_currents(good: bool, config: LoopConfig, limit: int) -> None:
    """Refuse currents that the loop found not to be as promised."""
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


def _values_good(x: Tensor, config: LoopConfig, limit: int) -> bool:
    if config.integer:
        return bool(((x == x.round()) & (x.abs() <= limit)).all())
    return bool(torch.isfinite(x).all())


def kernels(device: torch.device) -> Any:
    """The module of the backend in force, see `protocol.py`."""
    return _module(current_backend(device))


@lru_cache
def _module(backend: str) -> Any:
    return import_module(f"squat.ops.lif.{backend}")


class SavedCodes(NamedTuple):
    """What the gradients of a loop with quantized states need: codes (one byte), in-range bits, and the arguments."""

    x: Tensor | None
    beta: Tensor
    threshold: Tensor
    scale: Tensor | None
    w_rec: Tensor | None
    rec_scale: Tensor | None
    codes0: Tensor | None
    codes: Tensor
    inside: Tensor
    membrane: Tensor


class SavedMembranes(NamedTuple):
    """The same for float states."""

    beta: Tensor
    threshold: Tensor
    w_rec: Tensor | None
    rec_scale: Tensor | None
    u0: Tensor | None
    u: Tensor


class _CodeLoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, bias: Tensor | None,
        w_rec: Tensor | None, rec_scale: Tensor | None, u0: Tensor | None, codes0: Tensor | None, tables: CodeTables,
        config: LoopConfig, steps: int, sum_bound: int, exact: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        need, ctx.kernels = ctx.needs_input_grad, kernels(x.device)
        out, codes, inside, membrane, good = ctx.kernels.forward_codes(
            x, w_rec, rec_scale, scale, codes0, codes0 is None, tables, config, steps, None if exact else sum_bound,
            need[2],
        )  # fmt: skip
        check_currents(bool(good), config, sum_bound)
        ctx.save_for_backward(
            *SavedCodes(
                x if need[3] else None, beta, threshold, scale, w_rec, rec_scale, codes0, codes, inside, membrane,
            )
        )  # fmt: skip
        ctx.tables, ctx.config, ctx.x_steps = tables, config, x.shape[0]
        last = codes[-1].clone()
        ctx.mark_non_differentiable(last)
        return out, last_membrane(out, last, tables, config), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor, _: Tensor | None) -> Gradients:
        saved = SavedCodes(*ctx.saved_tensors)
        need = ctx.needs_input_grad
        gradients = codes_gradients(ctx.kernels, g_out, g_last, saved, ctx.tables, ctx.config, ctx.x_steps, need)
        return (*gradients, *(None,) * 6)


class _MembraneLoop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
        u0: Tensor | None, config: LoopConfig, steps: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.kernels = kernels(x.device)
        out, u = run_membrane(ctx.kernels, x, beta, threshold, w_rec, rec_scale, u0, config, steps)
        ctx.save_for_backward(*SavedMembranes(beta, threshold, w_rec, rec_scale, u0, u))
        ctx.config, ctx.x_steps = config, x.shape[0]
        return out, u[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor) -> Gradients:
        saved = SavedMembranes(*ctx.saved_tensors)
        need = ctx.needs_input_grad
        gradients = membrane_gradients(ctx.kernels, g_out, g_last, saved, ctx.config, ctx.x_steps, need)
        return (*gradients, None, None)


def last_membrane(out: Tensor, last: Tensor, tables: CodeTables, config: LoopConfig) -> Tensor:
    """The membrane after the last step, a tensor of its own; where nothing spikes the output holds it already."""
    if not config.spiking:
        return out[-1].clone()
    return tables.levels.index_select(0, last.flatten().int()).view(last.shape)


def run_membrane(
    backend: Any, x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
    u0: Tensor | None, config: LoopConfig, steps: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and membranes of a loop with float states, checked; one tensor where nothing spikes."""
    start = x.new_zeros(x.shape[1:]) if u0 is None else u0
    out, u, good = backend.forward_membrane(
        x, start, u0 is None, beta, threshold, w_rec, rec_scale, config, steps
    )  # fmt: skip
    check_currents(bool(good), config, 0)
    return out, u


def codes_gradients(
    backend: Any, g_out: Tensor, g_last: Tensor, saved: SavedCodes, tables: CodeTables, config: LoopConfig,
    x_steps: int, need: Sequence[bool],
) -> Gradients:  # fmt: skip
    """Gradients of x, beta, threshold, scale, bias, w_rec, rec_scale and u0, None where `need` says so."""
    x, beta, threshold, scale, w_rec, rec_scale, codes0, codes, inside, membrane = saved
    fresh, unit = codes0 is None, torch.ones((), dtype=torch.float64)
    if scale is not None and tables.integers is not None:
        unit = scale.double() / 2.0**tables.integers.shift
    gx, gu0, g_beta, g_bias, g_theta = backend.backward_codes(
        g_out, g_last, codes, codes0, fresh, inside, membrane, unit, beta, threshold, scale, w_rec, rec_scale, tables,
        config, x_steps, Needs(beta=need[1], bias=need[4], theta=need[2]),
    )  # fmt: skip
    s0 = None if codes0 is None or w_rec is None else (codes0 >= tables.first).to(gx.dtype)
    of_weights = _shared_weight_gradients if config.integer else weight_gradients
    g_w, g_rec_scale = of_weights(gx, codes, tables.first, s0, w_rec, rec_scale, need[5], need[6])
    g_scale = None
    if need[3] and x is not None and scale is not None:
        g_scale = _reduce_like(scale, (gx * x).sum((0, 1)) / scale.to(gx.dtype))
    return (
        sum_over_steps(gx, x_steps) if need[0] else None, _reduce_like(beta, g_beta), _reduce_like(threshold, g_theta),
        g_scale, g_bias, g_w, g_rec_scale, gu0 if need[7] else None,
    )  # fmt: skip


def membrane_gradients(
    backend: Any, g_out: Tensor, g_last: Tensor, saved: SavedMembranes, config: LoopConfig, x_steps: int,
    need: Sequence[bool],
) -> Gradients:  # fmt: skip
    """Gradients of x, beta, threshold, w_rec, rec_scale and u0, None where `need` says so."""
    beta, threshold, w_rec, rec_scale, u0, u = saved
    start = u.new_zeros(u.shape[1:]) if u0 is None else u0
    gx, gu0, g_beta, g_theta = backend.backward_membrane(
        g_out, g_last, u, start, u0 is None, beta, threshold, w_rec, rec_scale, config, x_steps,
        Needs(beta=need[1], bias=False, theta=need[2]),
    )  # fmt: skip
    spikes, s0 = u, None
    if w_rec is not None:
        theta = threshold.to(u.dtype)
        spikes, s0 = (u > theta).to(u.dtype), None if u0 is None else (u0 > theta).to(u.dtype)
    g_w, g_rec_scale = weight_gradients(gx, spikes, 0, s0, w_rec, rec_scale, need[3], need[4])
    return (
        sum_over_steps(gx, x_steps) if need[0] else None, _reduce_like(beta, g_beta), _reduce_like(threshold, g_theta),
        g_w, g_rec_scale, gu0 if need[5] else None,
    )  # fmt: skip


def sum_over_steps(gx: Tensor, x_steps: int) -> Tensor:
    """The gradient of a constant current is the sum over time."""
    return gx.sum(0, keepdim=True) if x_steps == 1 and len(gx) > 1 else gx


def weight_gradients(
    ga: Tensor, spikes: Tensor, first: int, s0: Tensor | None, w_rec: Tensor | None, rec_scale: Tensor | None,
    need_w: bool, need_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of the recurrent weights and of their scale: `sum over t of ga[t] (x) s[t-1]`.

    `spikes` are the spikes, or uint8 codes that fire from `first` on.
    """
    if w_rec is None or not (need_w or need_scale):
        return None, None
    with torch.autocast(ga.device.type, enabled=False):
        g_w = _outer_sum(ga[1:].flatten(0, 1), spikes[:-1].flatten(0, 1), first)
        if s0 is not None:
            g_w = g_w + ga[0].T @ s0
    g_scale = None
    if rec_scale is not None:
        if need_scale:
            g_scale = _reduce_like(rec_scale, (g_w * w_rec).sum(1))
        g_w = g_w * rec_scale.to(g_w.dtype).reshape(-1, 1)
    return g_w.to(w_rec.dtype) if need_w else None, g_scale


def _shared_weight_gradients(
    gx: Tensor, spikes: Tensor, first: int, s0: Tensor | None, w_rec: Tensor | None, scale: Tensor | None, need_w: bool,
    need_scale: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """The same under the integer rule, where `gx` is `scale * ga` already."""
    g_w, _ = weight_gradients(gx, spikes, first, s0, w_rec, None, need_w or need_scale, False)
    if g_w is None or w_rec is None or scale is None or not need_scale:
        return g_w, None
    return g_w, _reduce_like(scale, (g_w * w_rec).sum(1) / scale.reshape(-1))


def _outer_sum(ga: Tensor, spikes: Tensor, first: int) -> Tensor:
    """`ga.T @ spikes`, event by event where spikes are sparse."""
    from squat.ops.events import MIN_SIZE, add_gradient_rows, events_of, events_of_codes

    if spikes.dtype != torch.uint8:
        events = events_of(spikes)
    elif spikes.device.type == "cpu" and spikes.numel() >= MIN_SIZE:
        events = events_of_codes(spikes, first)
    else:
        events, spikes = None, (spikes >= first).to(ga.dtype)
    return ga.T @ spikes if events is None else add_gradient_rows(events, ga)


def _reduce_like(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    """A gradient `[N]` or 0-dim, summed to the shape of a 0-dim, `[1]` or `[N]` parameter; None for None."""
    if gradient is None:
        return None
    total = gradient if parameter.numel() == gradient.numel() else gradient.sum()
    return total.to(parameter.dtype).reshape(parameter.shape)
