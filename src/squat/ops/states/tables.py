"""Constants of a loop over several states, the quantizers of its states, and their tables under the integer rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from squat.ops.states.equations import Equations
from squat.quant.integer_rule import values_on_grid
from squat.quant.spec import StateSpec, level_tables
from squat.surrogate import Surrogate
from squat.text import brief


@dataclass(frozen=True)
class StatesConfig:
    """Constants of a loop.

    Attributes:
        equations: the neuron.
        options: its options, an instance of `equations.options`.
        specs: the spec of each state, None for a float state.
        surrogate: surrogate gradient of the spike.
        clipped: STE passes gradients only inside the range of the levels.
        delayed: the reset of a spike comes with the next step; else right after the spike, behind the quantizer.
    """

    equations: Equations
    options: Any
    specs: tuple[StateSpec | None, ...]
    surrogate: Surrogate
    clipped: bool = False
    delayed: bool = True

    __repr__ = brief


class Quantizer(NamedTuple):
    """Levels `[K]` and boundaries `[K-1]` of a state in the working dtype, and whether they follow the threshold."""

    levels: Tensor
    bound: Tensor
    in_thresholds: bool


def quantizers(config: StatesConfig, threshold: float, dtype: torch.dtype) -> tuple[Quantizer | None, ...]:
    """The quantizer of each state, None for a float state."""
    made: list[Quantizer | None] = []
    for spec, in_thresholds in zip(config.specs, config.equations.in_thresholds, strict=True):
        if spec is None:
            made.append(None)
        else:
            levels, bound, _ = level_tables(spec, threshold if in_thresholds else 1.0, dtype)
            made.append(Quantizer(levels, bound, in_thresholds))
    return tuple(made)


class Sums(NamedTuple):
    """Synaptic sums of a layer with integer weights: `x = z * scale + bias`, see `quant/integer_rule.py`.

    With them the loop runs in float64, whatever the dtype of the currents is, so that what is trained is one machine.

    Attributes:
        z: integer-valued, `[T or 1, B, N]`, in the dtype of the currents.
        scale: 0-dim or `[N]`.
        bias: `[N]`, or None.
        bound: certain bound of `|z|`, recurrent sums included.
        parameters: `[P, N]` as for the loop, float64.
    """

    z: Tensor
    scale: Tensor
    bias: Tensor | None
    bound: int
    parameters: Tensor

    def __repr__(self) -> str:
        return brief(self)


class Grid(NamedTuple):
    """Integer tables of a state that takes up synaptic sums; `s` is the spike of the step before.

        acc = gain[s] * ((z << shift) + bias[n]) + table[s, n, c]      c' = #{k : acc > bound[n, k]}

    The first step after a fresh start has no table.

    Attributes:
        gain: 1 or -1, how the sums come in; 0 where the reset drops them.
        table: int32 `[2, G, K]`, what the update makes of each level without input.
        bound: int32 `[H, K - 1]`.
        bias: int32 `[N]`, or None.
        shift: fraction bits of the accumulator.
        unit: float64 `[H]`, accumulator of one unit of the state.
    """

    gain: tuple[int, int]
    table: Tensor
    bound: Tensor
    bias: Tensor | None
    shift: int
    unit: Tensor


def grids(config: StatesConfig, threshold: float, sums: Sums) -> tuple[Grid | None, ...]:
    """Tables of every state that takes up sums; None for a state that is computed from other states alone.

    They hold what the neuron's own `update` gives, in float64, rounded to the grid.

    Args:
        config: of the loop, with a spec for every state.
        threshold: what levels refer to.
        sums: of the layer.

    Raises:
        ValueError: if accumulators do not fit 32 bits.
    """
    p = sums.parameters.detach().cpu()
    p = p[:, :1] if bool((p == p[:, :1]).all()) else p
    made: list[Grid | None] = []
    for k, (spec, in_thresholds) in enumerate(zip(config.specs, config.equations.in_thresholds, strict=True)):
        gain = tuple(_gain(config, k, p, spike) for spike in (0.0, 1.0))
        if gain[0] == 0 or spec is None:
            made.append(None)
            continue
        theta = threshold if in_thresholds else 1.0
        levels = spec.levels(theta).double()[:, None]
        values = torch.stack([_alone(config, k, p, levels, spike).expand(-1, p.shape[1]).T for spike in (0.0, 1.0)])
        scale, bias = (None if value is None else value.detach().cpu() for value in (sums.scale, sums.bias))
        tables = values_on_grid(spec, theta, values, scale, bias, sums.bound)  # type: ignore[arg-type]
        unit = 2.0**tables.shift / sums.scale.detach().cpu().double().reshape(-1)
        made.append(Grid(gain, tables.table, tables.bound, tables.bias, tables.shift, unit))  # type: ignore[arg-type]
    return tuple(made)


def _alone(config: StatesConfig, k: int, p: Tensor, level: Tensor, spike: float, x: float = 0.0) -> Tensor:
    """The update of a state from `level`, all other states being 0."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    before, others = [zero] * len(config.specs), [zero] * len(config.specs)
    before[k] = level
    s, current = torch.full_like(zero, spike), torch.full_like(zero, x)
    return config.equations.update(config.options, k, p, current, zero, s, s, before, others, others)


def _gain(config: StatesConfig, k: int, p: Tensor, spike: float) -> int:
    zero = torch.zeros(1, 1, dtype=torch.float64)
    with_input, without = (_alone(config, k, p[:, :1] * 0, zero, spike, x) for x in (1.0, 0.0))
    return int(with_input - without)
