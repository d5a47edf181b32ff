"""Constants of a loop over several states, and the quantizers of its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from squat.ops.states.equations import Equations
from squat.quant.spec import StateSpec, level_tables
from squat.surrogate import Surrogate


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
