"""Everything that a quantized LIF loop looks up by code, computed once per sequence in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from squat.quant.integer_rule import IntegerTables, decay_at_least_one_code, integer_tables
from squat.quant.spec import StateSpec, level_tables
from squat.surrogate import Surrogate
from squat.text import brief


@dataclass(frozen=True)
class LoopConfig:
    """Constants of a LIF loop.

    Attributes:
        state: state spec, or None for float states.
        reset: `"subtract"`, `"zero"` or `"none"`.
        drop_input: with the zero reset, whether the input of the step after a spike is dropped too.
        surrogate: surrogate gradient of the spike.
        clipped: STE passes gradients only inside the range of the levels.
        spiking: output spikes, else the membrane.
        integer: the integer rule; needs a state spec, and a scale with the currents.
    """

    state: StateSpec | None
    reset: str = "subtract"
    drop_input: bool = False
    surrogate: Surrogate | None = None
    clipped: bool = False
    spiking: bool = True
    integer: bool = False

    __repr__ = brief


@dataclass(frozen=True)
class CodeTables:
    """Look-up tables of a loop over codes, in the working dtype; `K = 2**bits`.

    Attributes:
        levels: `[K]`.
        bound: `[1, K-1]` decision boundaries (float rule).
        leak: `[G, K]` decayed level (float rule; `[1, 0]` under the integer rule).
        reset: `[K]` subtracted after a spike (float rule).
        surrogate: `[K]` derivative of the output with respect to the membrane.
        keep: `[K]` 1, or 0 where the zero reset cleared the membrane.
        first: first firing code; `K` if the neuron does not spike.
        integers: tables of the integer rule, or None.
    """

    levels: Tensor
    bound: Tensor
    leak: Tensor
    reset: Tensor
    surrogate: Tensor
    keep: Tensor
    first: int
    integers: IntegerTables | None


def code_tables(
    config: LoopConfig,
    dtype: torch.dtype,
    beta: Tensor,
    threshold: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    sum_bound: int = 0,
) -> CodeTables:
    """Tables of a loop with quantized states, see `CodeTables`; on the device of `beta`.

    They are computed on the CPU, where the levels are, so that every device looks up the same values.
    """
    device = beta.device
    beta, scale, bias = beta.detach().cpu(), *(None if v is None else v.detach().cpu() for v in (scale, bias))
    if config.state is None:
        raise ValueError("config.state=None: code tables exist for quantized states only")
    theta = float(threshold.detach())
    levels, bound, reset, slope, keep, first = _constants(config, theta, dtype)
    leak, integers = levels.new_empty(1, 0), None
    if config.integer and scale is not None:
        integers = integer_tables(
            config.state, beta=beta, threshold=theta, scale=scale, bias=bias, sum_bound=sum_bound, reset=config.reset
        )
    else:
        leak = beta.to(dtype).reshape(-1, 1) * levels * keep
        if config.state.decays:
            leak = torch.where(keep == 0, leak, decay_at_least_one_code(leak, bound, levels))
    tables = CodeTables(levels, bound, leak, reset, slope, keep, first, integers)
    return tables if device.type == "cpu" else on_device(tables, device)


def on_device(tables: Any, device: torch.device) -> Any:
    """Tables, those of the integer rule among them, on another device; other values as they are."""
    if isinstance(tables, Tensor):
        return tables.to(device)
    if not isinstance(tables, CodeTables | IntegerTables):
        return tables
    return replace(tables, **{field.name: on_device(getattr(tables, field.name), device) for field in fields(tables)})


@lru_cache(maxsize=256)
def _constants(config: LoopConfig, theta: float, dtype: torch.dtype) -> tuple[Any, ...]:
    """Levels, boundaries, reset, surrogate, what the reset keeps, first firing code; cached, so read-only."""
    assert config.state is not None
    levels, bound, first = level_tables(config.state, theta, dtype)
    fires = (torch.arange(len(levels)) >= first).to(dtype)
    reset = fires * theta if config.reset == "subtract" else torch.zeros_like(levels)
    keep = 1.0 - fires if config.reset == "zero" else torch.ones_like(levels)
    if not config.spiking or config.surrogate is None:
        return levels, bound[None], reset, torch.ones_like(levels), keep, len(levels)
    slope = config.surrogate.derivative(levels - torch.tensor(theta, dtype=dtype))
    return levels, bound[None], reset, slope, keep, first
