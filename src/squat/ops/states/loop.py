"""The loop over several states as one differentiable operation: checks, choice of the backend, autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.ops.dispatch import current_backend
from squat.ops.lif.loop import check_threshold, sum_over_steps, weight_gradients
from squat.ops.states import reference
from squat.ops.states.tables import StatesConfig, Sums, grids, quantizers


def states(
    x: Tensor,
    parameters: Tensor,
    threshold: Tensor,
    config: StatesConfig,
    *,
    steps: int,
    start: Tensor | None = None,
    w_rec: Tensor | None = None,
    rec_scale: Tensor | None = None,
    sums: Sums | None = None,
    start_codes: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Run neurons of several states through time; `ops/states/reference.py` states the loop.

    On the CPU the compiled kernels run, on other devices the reference. Traced code calls it outside its graph.

    Args:
        x: currents `[T, B, N]`, or `[1, B, N]` if constant over time; float32 or float64.
        parameters: `[P, N]`, the threshold and what the reset subtracts first, then the neuron's own.
        threshold: what the levels refer to, one; several where no levels do.
        config: constants of the loop.
        steps: T.
        start: carried states `[S, B, N]`; None starts from zero.
        w_rec: recurrent weights `[N, N]` (postsynaptic first), integer-valued if quantized; None without recurrence.
        rec_scale: their scale, 0-dim or `[N]`; None for 1.
        sums: what `x` is made of, for the integer rule: every state has a spec, resets are delayed. None for the
            float rule. `x` then is for the gradients only.
        start_codes: codes of `start`, uint8 `[S, B, N]`, for the integer rule.

    Returns:
        Spikes `[T, B, N]`, last states `[S, B, N]`, and for each state its last codes `[B, N]` or None.

    Raises:
        ValueError: if a state becomes NaN or infinite, or the threshold is not positive.
        RuntimeError: under `torch.export`.
    """
    refuse_export()
    theta = check_threshold(threshold)
    if x.device.type != "cpu" or current_backend(x.device) != "cpu":
        out, last, codes, good = reference.run(
            x, parameters, start, w_rec, rec_scale, config, steps, theta, sums, start_codes
        )
        _check_finite(good)
        return out, last, codes
    need_start = start is not None
    if start is None:
        start = x.new_zeros(len(config.specs), *x.shape[1:])
    keep_raws = torch.is_grad_enabled() and (config.clipped or threshold.requires_grad)
    out, last, *last_codes = _StatesLoop.apply(
        x, parameters, start, w_rec, rec_scale, config, steps, theta, need_start, keep_raws, sums, start_codes
    )
    return out, last, tuple(None if code.numel() == 0 else code for code in last_codes)


def refuse_export() -> None:
    """Say that these loops are not traced, before a trace fails somewhere else.

    Raises:
        RuntimeError: under `torch.export`.
    """
    if torch.compiler.is_exporting():
        raise RuntimeError(
            "neurons of several states cannot be exported: their loops are not traced; use LIF or RLIF "
            "with one threshold, without a refractory period and with reset_delay=True"
        )


def _check_finite(good: bool) -> None:
    if not good:
        raise ValueError(
            "a state contains NaN or infinity: expected finite input currents; check the inputs and the weights"
        )


class _StatesLoop(torch.autograd.Function):
    """Saves the codes of quantized states, the values of float ones, and what was asked for beside."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, parameters: Tensor, start: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
        config: StatesConfig, steps: int, theta: float, need_start: bool, keep_raws: bool, sums: Sums | None,
        start_codes: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        from squat.ops.states import cpu

        ctx.tables = quantizers(config, theta, x.dtype)
        if sums is None:
            out, last, trajectory, good = cpu.forward(
                x, parameters, start, None, w_rec, rec_scale, config, ctx.tables, (None,) * len(ctx.tables), steps,
                keep_raws,
            )  # fmt: skip
        else:
            out, last, trajectory, good = cpu.forward(
                sums.z.double(), sums.parameters, start.double(), start_codes, w_rec, None, config,
                quantizers(config, theta, torch.float64), grids(config, theta, sums), steps, keep_raws,
            )  # fmt: skip
            out, last = out.to(x.dtype), last.to(x.dtype)
            trajectory = trajectory._replace(raws=tuple(raw.to(x.dtype) for raw in trajectory.raws))
        _check_finite(good)
        need = ctx.needs_input_grad
        spikes = out if w_rec is not None and (need[3] or need[4]) else None
        ctx.save_for_backward(
            spikes, parameters, start, w_rec, rec_scale, trajectory.resets, *trajectory.codes,
            *trajectory.values, *trajectory.raws,
        )  # fmt: skip
        ctx.config, ctx.x_steps, ctx.need_start = config, x.shape[0], need_start
        codes = [code[-1].clone() if len(code) else code.new_empty(0) for code in trajectory.codes]
        ctx.mark_non_differentiable(*codes)
        return out, last, *codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_last: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        from squat.ops.states import cpu

        spikes, parameters, start, w_rec, rec_scale, resets, *parts = ctx.saved_tensors
        count, need = len(ctx.tables), ctx.needs_input_grad
        trajectory = cpu.Trajectory(
            tuple(parts[:count]), tuple(parts[count : 2 * count]), tuple(parts[2 * count :]), resets
        )
        gx, g_start, gp = cpu.backward(
            g_out, g_last, trajectory, parameters, start, w_rec, rec_scale, ctx.config, ctx.tables, ctx.need_start,
            need[1],
        )  # fmt: skip
        g_w = g_scale = None
        if spikes is not None:
            o, p = ctx.config.options, parameters.detach()
            s0 = (ctx.config.equations.margin(o, p, start.detach()) > 0).to(gx.dtype) if ctx.need_start else None
            g_w, g_scale = weight_gradients(gx, spikes, 0, s0, w_rec, rec_scale, need[3], need[4])
        return (
            sum_over_steps(gx, ctx.x_steps) if need[0] else None, gp.to(parameters.dtype) if need[1] else None,
            g_start if need[2] else None, g_w, g_scale, *(None,) * 7,
        )  # fmt: skip
