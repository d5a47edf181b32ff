"""The compiled loop over several states on the CPU: from torch tensors to the arrays of the numba kernels and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from squat.ops.encoder import Encoder, make_encoder
from squat.ops.events import padded_rows
from squat.ops.lif.cpu import padded_table, presynaptic_first
from squat.ops.row_sums import SAMPLES
from squat.ops.states import cpu_backward, cpu_forward
from squat.ops.states.tables import Grid, Quantizer, StatesConfig
from squat.ops.threads import in_threads


class Trajectory(NamedTuple):
    """What a forward loop leaves for the gradients, one entry a state; empty tensors where not wanted.

    Attributes:
        codes: uint8 `[T, B, N]`, of quantized states.
        values: `[T, B, N]`, of float states, before a reset without delay.
        raws: `[T, B, N]`, quantized states before the quantizer.
        resets: uint8 `[T, B, N]`, what each step reset, for a reset without delay.
    """

    codes: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    raws: tuple[Tensor, ...]
    resets: Tensor


class KernelGrid(NamedTuple):
    """`tables.Grid` as the kernels read it; empty for a state without one. `bound` only where rows differ."""

    gain: np.ndarray
    table: np.ndarray
    bound: np.ndarray
    encoder: Encoder
    bias: np.ndarray
    shift: int
    unit: np.ndarray


def forward(
    x: Tensor, parameters: Tensor, start: Tensor, start_codes: Tensor | None, w_rec: Tensor | None,
    rec_scale: Tensor | None, config: StatesConfig, tables: tuple[Quantizer | None, ...],
    grids: tuple[Grid | None, ...], steps: int, keep_raws: bool,
) -> tuple[Tensor, Tensor, Trajectory, bool]:  # fmt: skip
    """Spikes `[T, B, N]`, last states `[S, B, N]`, the trajectory, and whether every value was finite.

    Under the integer rule `x` holds the sums, and recurrent ones have no scale.
    """
    (batch, neurons), dtype = x.shape[1:], x.dtype
    shape = (steps, batch, neurons)
    trajectory = Trajectory(
        codes=tuple(_room(shape, q is not None, torch.uint8) for q in tables),
        values=tuple(_room(shape, q is None, dtype) for q in tables),
        raws=tuple(_room(shape, q is not None and keep_raws, dtype) for q in tables),
        resets=_room(shape, not config.delayed, torch.uint8),
    )
    out, last = torch.empty(shape, dtype=dtype), torch.empty(start.shape, dtype=dtype)
    tasks = batch * (1 if w_rec is not None else -(-neurons // cpu_forward.BLOCK))
    no_bounds = np.zeros(1, _numpy_type(dtype))
    encoders = tuple(make_encoder(no_bounds if q is None else q.bound.numpy()) for q in tables)
    codes, values, raws = (tuple(part.numpy() for part in parts) for parts in trajectory[:3])
    no_codes = torch.empty((0, 0, 0), dtype=torch.uint8)
    finite = in_threads(
        cpu_forward.forward, tasks, steps * batch * neurons, _options(config, dtype), _array(parameters), _array(x),
        _array(start), _array(no_codes if start_codes is None else start_codes), encoders, _levels(tables, dtype),
        tuple(_grid(grid, neurons) for grid in grids), presynaptic_first(w_rec, dtype),
        _per_neuron(rec_scale, neurons, dtype), config.delayed, out.numpy(), codes, values, raws,
        trajectory.resets.numpy(), last.numpy(),
    )  # fmt: skip
    return out, last, trajectory, all(finite)


def backward(
    g_out: Tensor, g_last: Tensor, trajectory: Trajectory, parameters: Tensor, start: Tensor,
    w_rec: Tensor | None, rec_scale: Tensor | None, config: StatesConfig, tables: tuple[Quantizer | None, ...],
    need_start: bool, need_parameters: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the currents `[T, B, N]`, of the start `[S, B, N]` and of the parameters `[P, N]`."""
    (_, batch, neurons), dtype = g_out.shape, g_out.dtype
    gx, g_start = torch.empty(g_out.shape, dtype=dtype), torch.empty(start.shape, dtype=dtype)
    counted = batch if need_parameters else 0
    gp = torch.zeros(counted, len(parameters), neurons, dtype=torch.float64)
    codes, values, raws = (tuple(part.numpy() for part in parts) for parts in trajectory[:3])
    table, slope, slope0 = _slopes(trajectory, parameters, start, config, tables, need_start)
    scaled = None if w_rec is None else w_rec.detach().to(dtype)
    if scaled is not None and rec_scale is not None:
        scaled = scaled * rec_scale.detach().to(dtype).reshape(-1, 1)
    recurrent = w_rec is not None
    tasks = -(-batch // SAMPLES) if recurrent else batch * -(-neurons // cpu_forward.BLOCK)
    in_threads(
        cpu_backward.backward, tasks, g_out.numel(), _options(config, dtype), _array(parameters),
        _array(start), _levels(tables, dtype, padded=False), np.array(config.equations.in_thresholds),
        np.empty((0, 0), _numpy_type(dtype)) if scaled is None else padded_rows(scaled, vectors=4), config.delayed,
        config.clipped, _array(table), _array(slope), _array(slope0), codes, values, raws, trajectory.resets.numpy(),
        _array(g_out), _array(g_last), gx.numpy(), g_start.numpy(), gp.numpy(),
    )  # fmt: skip
    return gx, g_start, gp.sum(0)


def _slopes(
    trajectory: Trajectory, parameters: Tensor, start: Tensor, config: StatesConfig,
    tables: tuple[Quantizer | None, ...], need_start: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Surrogate derivatives: by code of the membrane, or `[T, B, N]` for every value; and `[B, N]` of the start."""
    o, margin, slope_of = config.options, config.equations.margin, config.surrogate.derivative
    p, membrane = parameters.detach(), tables[-1]
    table, slope, slope0 = p.new_empty(0), p.new_empty(0, 0, 0), p.new_empty(0, 0)
    if need_start:
        slope0 = slope_of(margin(o, p, start.detach()))
    if config.equations.membrane_only and membrane is not None:
        table = slope_of(membrane.levels - p[0, 0])
    else:
        states = [
            value if quantizer is None else quantizer.levels[codes.int()]
            for quantizer, codes, value in zip(tables, trajectory.codes, trajectory.values, strict=True)
        ]
        slope = slope_of(margin(o, p, states))
    return table, slope, slope0


def _grid(grid: Grid | None, neurons: int) -> KernelGrid:
    no_rows = np.zeros((0, 0), np.int32)
    if grid is None:
        no_bounds, none = make_encoder(np.zeros(1, np.int32)), np.zeros(0, np.int32)
        return KernelGrid(none, np.zeros((2, 0, 0), np.int32), no_rows, no_bounds, none, 0, np.zeros(0))
    return KernelGrid(
        gain=np.array(grid.gain, np.int32),
        table=_array(grid.table),
        bound=_array(grid.bound) if len(grid.bound) > 1 else no_rows,
        encoder=make_encoder(_array(grid.bound[0])),
        bias=np.zeros(neurons, np.int32) if grid.bias is None else _array(grid.bias.expand(neurons)),
        shift=grid.shift,
        unit=_array(grid.unit),
    )


def _room(shape: tuple[int, ...], wanted: bool, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape if wanted else (0, 0, 0), dtype=dtype)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _numpy_type(dtype: torch.dtype) -> Any:
    return np.float32 if dtype == torch.float32 else np.float64


def _options(config: StatesConfig, dtype: torch.dtype) -> Any:
    """Numbers in the working dtype, so that compiled arithmetic stays in it."""
    kind = _numpy_type(dtype)
    return type(config.options)(*(kind(value) if isinstance(value, float) else value for value in config.options))


def _levels(tables: tuple[Quantizer | None, ...], dtype: torch.dtype, padded: bool = True) -> tuple[np.ndarray, ...]:
    array = padded_table if padded else _array
    return tuple(np.empty(0, _numpy_type(dtype)) if q is None else array(q.levels) for q in tables)


def _per_neuron(scale: Tensor | None, neurons: int, dtype: torch.dtype) -> np.ndarray:
    return _array(torch.ones(neurons, dtype=dtype) if scale is None else scale.to(dtype).reshape(-1).expand(neurons))
