"""Neurons of several states from trained ones: tables of the training loop, and what its updates make of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.integer.states import ComputedState, States, SummedState
from squat.neurons.granularity import rows_of
from squat.neurons.several import SeveralStates
from squat.ops.states.equations import BEFORE, SPIKE
from squat.ops.states.tables import Grid, Quantizer, StatesConfig, Sums, grids, quantizers
from squat.quant.encoder import count_below

TABLE_LIMIT = 2**17
"""Entries of a state's table: two states of 8 bits, or 481 neurons with parameters of their own at 4 bits."""


def copy_states(neuron: SeveralStates, scale: Tensor, bias: Tensor | None, bound: int, shape: Sequence[int]) -> States:
    """The machine that a neuron of several states is, as training runs it.

    Args:
        neuron: with a spec for every state, in evaluation mode.
        scale: of the sums, 0-dim or per channel.
        bias: per channel, or None.
        bound: certain bound of the sums.
        shape: of the layer's neurons, channels first.

    Raises:
        ValueError: where tables would be too large, or the states that fire are not its highest.
    """
    config, theta = neuron.states_config(), float(neuron.threshold)
    size, own = math.prod(shape), rows_of(neuron.own_parameters(), shape)
    # Tables are by neuron where each has parameters of its own, else by channel.
    repeats = size // shape[0] if own > shape[0] else 1
    scale = scale.repeat_interleave(repeats) if scale.dim() else scale
    bias = None if bias is None else bias.repeat_interleave(repeats)
    parameters = neuron.loop_parameters(torch.float64, shape)[:, :: size // own].detach().cpu()
    made = grids(config, theta, Sums(torch.empty(0), scale, bias, bound, parameters))
    tables: Any = quantizers(config, theta, torch.float64)
    states: list[SummedState | ComputedState] = []
    for k, grid in enumerate(made):
        if grid is not None and own > 1:
            _check_entries(config, k, tuple(grid.table.shape))
        states.append(_computed(config, k, parameters, tables) if grid is None else _summed(config, k, grid, repeats))
    start = None
    if neuron.initial == "code_of_zero":
        start = tuple(int(neuron.codes_of_zero(k, torch.Size())) for k in range(len(states)))
    ruler, first = config.equations.ruler, _first(config, parameters, tables)
    return States(config.equations.states, tuple(states), first, ruler, start)


def _summed(config: StatesConfig, k: int, grid: Grid, repeats: int) -> SummedState:
    bias = None if grid.bias is None else _array(grid.bias[::repeats], np.int32)
    return SummedState(
        _bits(config, k), grid.gain, _array(grid.table, np.int32), _array(grid.bound[::repeats], np.int32), bias,
        grid.shift,
    )  # fmt: skip


def _computed(config: StatesConfig, k: int, parameters: Tensor, tables: tuple[Quantizer, ...]) -> ComputedState:
    """The neuron's own update, called on all codes of what it reads."""
    equations, o, zero = config.equations, config.options, parameters.new_zeros(1, 1, 1)
    columns = parameters[:, :1] if bool((parameters == parameters[:, :1]).all()) else parameters
    p = columns[:, :, None, None]
    values: dict[int, Tensor] = {}
    for axis, source in enumerate(equations.sources[k]):
        if source == SPIKE:
            entries = torch.arange(2.0)
        else:
            entries = tables[k if source == BEFORE else source].levels
            entries = torch.cat((entries, entries.new_zeros(1))) if source == BEFORE else entries
        values[source] = entries.to(zero).reshape([1, -1, 1] if axis == 0 else [1, 1, -1])
    before, now = [zero] * len(tables), [values.get(j, zero) for j in range(len(tables))]
    before[k] = values.get(BEFORE, zero)
    spike = values.get(SPIKE, zero)
    if SPIKE not in values and k == len(tables) - 1:
        spike = (equations.margin(o, p, before) > 0).to(zero)
    raw = equations.update(o, k, p, zero, zero, spike, spike, before, now, now)
    sizes = [values[source].numel() for source in equations.sources[k]]
    shape = (p.shape[1], *sizes, 1)[:3]
    _check_entries(config, k, shape)
    codes = count_below(raw.expand(shape).contiguous(), tables[k].bound)
    return ComputedState(_bits(config, k), equations.sources[k], _array(codes, np.uint8))


def _check_entries(config: StatesConfig, k: int, shape: tuple[int, ...]) -> None:
    if int(np.prod(shape)) > TABLE_LIMIT:
        raise ValueError(
            f"its state {config.equations.states[k]!r} needs a table of {shape} entries, at most {TABLE_LIMIT} are "
            "made; train it with one decay for all neurons, or fewer state bits"
        )


def _first(config: StatesConfig, parameters: Tensor, tables: tuple[Quantizer, ...]) -> np.ndarray:
    """Lowest firing code of the last state, by code of the ruler."""
    equations, zero = config.equations, parameters.new_zeros(1, 1, 1)
    now = [zero] * len(tables)
    now[-1] = tables[-1].levels.reshape(1, 1, -1)
    if equations.ruler is not None:
        now[equations.ruler] = tables[equations.ruler].levels.reshape(1, -1, 1)
    fires = (equations.margin(config.options, parameters[:, :, None, None], now) > 0).long()
    if bool((fires.diff(dim=-1) < 0).any()) or bool((fires != fires[:1]).any()):
        raise ValueError("its highest codes are not those that fire, alike in all neurons; use levels in rising order")
    return _array(fires.shape[-1] - fires[0].sum(-1), np.int32)


def _bits(config: StatesConfig, k: int) -> int:
    spec = config.specs[k]
    if spec is None:
        raise ValueError(f"its state {config.equations.states[k]!r} is float; give it a spec such as Uniform(4)")
    return spec.bits


def _array(values: Tensor, dtype: Any) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(dtype))
