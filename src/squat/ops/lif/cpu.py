"""The compiled loops on the CPU: from torch tensors to the arrays of the numba kernels and back; see `protocol.py`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from squat.ops.encoder import make_encoder
from squat.ops.events import padded_rows
from squat.ops.lif import cpu_backward as backward
from squat.ops.lif import cpu_forward as forward
from squat.ops.lif.protocol import CodesBackward, CodesForward, MembraneBackward, MembraneForward, Needs
from squat.ops.lif.tables import CodeTables, LoopConfig
from squat.ops.product import integer_limit
from squat.ops.simd import LANES
from squat.ops.threads import use_torch_threads
from squat.remember import Remembered


def forward_codes(
    x: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None, scale: Tensor | None, codes0: Tensor | None, fresh: bool,
    tables: CodeTables, config: LoopConfig, steps: int, input_bound: int | None, keep_membrane: bool,
) -> CodesForward:  # fmt: skip
    """A loop with quantized states, both rules."""
    batch, neurons = x.shape[1:]
    use_torch_threads(steps * batch * neurons)
    out = torch.empty(steps, batch, neurons, dtype=x.dtype)
    codes = torch.empty(steps, batch, neurons, dtype=torch.uint8)
    inside = torch.empty(steps, batch, -(-neurons // 8) if config.clipped or keep_membrane else 0, dtype=torch.uint8)
    membrane_type = x.dtype if tables.integers is None else torch.int32
    membrane = torch.empty((steps, batch, neurons) if keep_membrane else (0, 0, 0), dtype=membrane_type)
    start = _array(codes0, torch.uint8, (0, 0)) if codes0 is not None else np.zeros((batch, neurons), np.uint8)
    prepared: Remembered = tables.__dict__.get("prepared") or Remembered()
    ready: _Prepared = prepared(
        (w_rec, rec_scale), (neurons,), lambda: _prepare(tables, config, x.dtype, neurons, w_rec, rec_scale)
    )
    written = (*ready.written, out.numpy(), codes.numpy(), inside.numpy(), membrane.numpy())
    current = _array(x, x.dtype)
    if tables.integers is not None:
        good = True
        if input_bound is not None:
            limit = current.dtype.type(integer_limit(input_bound, x.dtype))
            good = forward.integers_within(current.reshape(-1), -limit, limit)
        forward.forward_integer(current, start, fresh, *ready.arguments, *written)
    else:
        good = bool(forward.forward_float(current, start, fresh, *ready.arguments, *written).all())
    return CodesForward(out, codes, inside, membrane, good)


class _Prepared(NamedTuple):
    """Arguments of a forward kernel that are the same in every call with the same tables and recurrent weights."""

    arguments: tuple[Any, ...]
    written: tuple[Any, ...]


def _prepare(
    tables: CodeTables, config: LoopConfig, dtype: torch.dtype, neurons: int, w_rec: Tensor | None,
    rec_scale: Tensor | None,
) -> _Prepared:  # fmt: skip
    levels = _array(None if config.spiking else tables.levels, dtype)
    written = (np.int32(tables.first), _drops(config), levels)
    if tables.integers is None:
        arguments: tuple[Any, ...] = (
            padded_table(tables.leak), tables.reset.max().numpy()[()], make_encoder(tables.bound[0].numpy()),
            presynaptic_first(w_rec, dtype), _per_neuron(rec_scale, neurons, dtype), tables.levels[[0, -1]].numpy(),
        )  # fmt: skip
        return _Prepared(arguments, written)
    integers = tables.integers
    # Spikes of a row weigh up to this much, so int16 sums hold them or not.
    largest = 0 if w_rec is None else int(w_rec.detach().abs().max()) * neurons
    bound = integers.bound.numpy()
    arguments = (
        np.int32(integers.shift), padded_table(integers.table), make_encoder(bound[0]),
        bound[: 0 if len(bound) == 1 else None], _array(_or_zeros(integers.bias, neurons), torch.int32),
        integers.ends.numpy(), presynaptic_first(w_rec, torch.int16 if largest < 2**15 else torch.int32),
    )  # fmt: skip
    return _Prepared(arguments, written)


def backward_codes(
    g_out: Tensor, g_last: Tensor, codes: Tensor, codes0: Tensor | None, fresh: bool, inside: Tensor, membrane: Tensor,
    unit: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, w_rec: Tensor | None,
    rec_scale: Tensor | None, tables: CodeTables, config: LoopConfig, x_steps: int, needs: Needs,
) -> CodesBackward:  # fmt: skip
    """Gradients of `forward_codes`."""
    (batch, neurons), dtype = codes.shape[1:], g_out.dtype
    use_torch_threads(codes.numel())
    gx, gu0, g_beta, g_bias, g_theta = _gradients(codes, dtype, x_steps, w_rec is not None, needs)
    start = _array(codes0, torch.uint8, (0, 0)) if codes0 is not None else np.zeros((batch, neurons), np.uint8)
    backward.backward_codes(
        _array(g_out, dtype), _array(g_last, dtype), codes.numpy(), start, fresh, _array(beta.reshape(-1), dtype),
        _array(tables.levels, dtype), padded_table(tables.surrogate.to(dtype)), tables.first, config.reset == "zero",
        _drops(config), config.reset == "subtract", config.spiking, *_recurrent(w_rec, rec_scale, dtype, config),
        _per_scale(scale, dtype), inside.numpy(), config.clipped, membrane.numpy(), _array(unit.reshape(-1), dtype),
        float(threshold), gx.numpy(), gu0.numpy(), g_beta.numpy(), g_bias.numpy(), g_theta.numpy(),
    )  # fmt: skip
    return CodesBackward(gx, gu0, *_totals(needs, g_beta, g_bias, g_theta))


def forward_membrane(
    x: Tensor, u0: Tensor, fresh: bool, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
    config: LoopConfig, steps: int,
) -> MembraneForward:  # fmt: skip
    """A loop with float states."""
    batch, neurons = x.shape[1:]
    use_torch_threads(steps * batch * neurons)
    u = torch.empty(steps, batch, neurons, dtype=x.dtype)
    out = torch.empty_like(u) if config.spiking else u
    good = forward.forward_membrane(
        _array(x, x.dtype), _array(u0, x.dtype), _array(beta.reshape(-1), x.dtype), _array(threshold, x.dtype)[()],
        config.reset == "subtract", config.reset == "zero", _drops(config),
        presynaptic_first(w_rec, x.dtype), _per_neuron(rec_scale, neurons, x.dtype), config.spiking, out.numpy(),
        u.numpy(),
    )  # fmt: skip
    return MembraneForward(out, u, bool(good.all()))


def backward_membrane(
    g_out: Tensor, g_last: Tensor, u: Tensor, u0: Tensor, fresh: bool, beta: Tensor, threshold: Tensor,
    w_rec: Tensor | None, rec_scale: Tensor | None, config: LoopConfig, x_steps: int, needs: Needs,
) -> MembraneBackward:  # fmt: skip
    """Gradients of `forward_membrane`."""
    dtype = u.dtype
    use_torch_threads(u.numel())
    theta = threshold.detach().to(dtype)
    slope, slope0 = (
        (config.surrogate.derivative(v.detach() - theta) if config.spiking and config.surrogate is not None else None)
        for v in (u, u0)
    )
    gx, gu0, g_beta, g_bias, g_theta = _gradients(u, dtype, x_steps, w_rec is not None, needs)
    backward.backward_membrane(
        _array(g_out, dtype), _array(g_last, dtype), u.numpy(), _array(u0, dtype), fresh,
        _array(slope, dtype, (0, 0, 0)), _array(slope0, dtype, (0, 0)), _array(beta.reshape(-1), dtype),
        theta.numpy()[()], config.reset == "subtract", config.reset == "zero", _drops(config), config.spiking,
        *_recurrent(w_rec, rec_scale, dtype, config), gx.numpy(), gu0.numpy(), g_beta.numpy(), g_theta.numpy(),
    )  # fmt: skip
    g_beta_sum, _, g_theta_sum = _totals(needs, g_beta, g_bias, g_theta)
    return MembraneBackward(gx, gu0, g_beta_sum, g_theta_sum)


def _drops(config: LoopConfig) -> bool:
    return config.reset == "zero" and config.drop_input


def _array(tensor: Tensor | None, dtype: torch.dtype, shape: tuple[int, ...] = (0,)) -> np.ndarray:
    """A C-contiguous array of a tensor's values; an empty one of `shape` for None."""
    if tensor is None:
        return torch.empty(shape, dtype=dtype).numpy()
    return tensor.detach().to(dtype).contiguous().numpy()


def _per_neuron(scale: Tensor | None, neurons: int, dtype: torch.dtype) -> np.ndarray:
    return _array(torch.ones(neurons) if scale is None else scale.reshape(-1).expand(neurons), dtype)


def _per_scale(scale: Tensor | None, dtype: torch.dtype) -> np.ndarray:
    return _array(torch.ones(1) if scale is None else scale.reshape(-1), dtype)


def _or_zeros(bias: Tensor | None, neurons: int) -> Tensor:
    return torch.zeros(neurons, dtype=torch.int32) if bias is None else bias


def presynaptic_first(w_rec: Tensor | None, dtype: torch.dtype) -> np.ndarray:
    """`[N, N]` with a row for each presynaptic neuron, padded to whole vectors."""
    if w_rec is None:
        return _array(None, dtype, (0, 0))
    return padded_rows(w_rec.detach().to(dtype).T)


def _recurrent(
    w_rec: Tensor | None, rec_scale: Tensor | None, dtype: torch.dtype, config: LoopConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled recurrent weights, padded; and their transpose if the surrogate is zero somewhere."""
    if w_rec is None:
        return _array(None, dtype, (0, 0)), _array(None, dtype, (0, 0))
    scaled = w_rec.detach().to(dtype)
    if rec_scale is not None:
        scaled = scaled * rec_scale.detach().to(dtype).reshape(-1, 1)
    compact = config.spiking and config.surrogate is not None and config.surrogate.compact
    return padded_rows(scaled, vectors=4), _array(scaled.T if compact else None, dtype, (0, 0))


def padded_table(table: Tensor) -> np.ndarray:
    """A table whose last axis is the code, with at least as many entries as a register has."""
    return torch.nn.functional.pad(table.detach(), (0, max(0, LANES - table.shape[-1]))).numpy()


def _gradients(like: Tensor, dtype: torch.dtype, x_steps: int, recurrent: bool, needs: Needs) -> tuple[Tensor, ...]:
    """Arrays for gradients: current, initial membrane, and partial sums of decay, bias (by sample) and threshold."""
    steps, batch, neurons = like.shape
    tasks = batch * (1 if recurrent else -(-neurons // forward.BLOCK))
    gx_steps = 1 if x_steps == 1 and not recurrent else steps
    return (
        # The kernels add to a single step and write the others.
        (torch.zeros if gx_steps == 1 else torch.empty)(gx_steps, batch, neurons, dtype=dtype),
        torch.empty(batch, neurons, dtype=dtype),
        torch.zeros(batch if needs.beta else 0, neurons, dtype=torch.float64),
        torch.zeros(batch if needs.bias else 0, neurons, dtype=torch.float64),
        torch.zeros(tasks if needs.theta else 0, dtype=torch.float64),
    )


def _totals(needs: Needs, g_beta: Tensor, g_bias: Tensor, g_theta: Tensor) -> tuple[Any, Any, Any]:
    sums = ((needs.beta, g_beta), (needs.bias, g_bias), (needs.theta, g_theta))
    return tuple(partial.sum(0) if wanted else None for wanted, partial in sums)  # type: ignore[return-value]
