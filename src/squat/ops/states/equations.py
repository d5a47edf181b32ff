"""What a neuron of several states supplies: its equations, once for tensors and for compiled loops, and their adjoints.

A step goes through the states in order; the membrane is the last. For state `k`

    raw[k]  = update(o, k, p, x, r, s, fired, before, now, raw)       before the quantizer
    now[k]  = Q_k(raw[k])                                             a level, or `raw[k]` itself for a float state
    s       = (margin(o, p, now) > 0)

The functions hold arithmetic on their arguments only, so that PyTorch calls them with tensors (`reference.py`, where
autograd differentiates them) and numba compiles them for single neurons (`cpu_forward.py`). Their arguments:

    o        options of the neuron: a named tuple of numbers, whose class says which neuron it is; `o.zero` is 1.0 for
             the zero reset, else 0.0
    p        parameters by place; the first two are `THETA`, and `DROP`, what the reset subtracts (0 if it does not)
    x, r     input current, and recurrent current (0 without recurrence)
    s        spike of the step before, `fired` the same without gradient, for the reset
    before   states after the step before;  now  states of this step, so far as computed;  raw  the same unquantized

The adjoints `pull` and `pull_parameters` are compiled only. They add to gradients in place, for neuron `n` of a row;
`g` is the gradient of `raw[k]`, the other arguments are rows: `[neurons]`, `[states, neurons]` or `[parameters,
neurons]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THETA, DROP = 0, 1
"""Places of the parameters that every neuron has."""
BEFORE, SPIKE = -1, -2
"""Sources of a state beside the states of this step: itself after the step before, and the spike of that step."""


@dataclass(frozen=True)
class Equations:
    """The equations of a neuron.

    Attributes:
        options: the class of its options.
        states: names of its states, the membrane `u` last.
        parameters: names of its parameters behind `THETA` and `DROP`.
        update: see above.
        margin: what must be above 0 to fire.
        pull: adds the gradient of `raw[k]` to those of `x` (`gx`), `s` (`gs`), `before`, `now` and `raw`.
        pull_parameters: adds it to those of the parameters, `gp`.
        pull_margin: adds the gradient of the margin to those of `now`.
        pull_margin_parameters: adds it to those of the parameters.
        membrane_only: whether the margin is a function of the membrane alone.
        in_thresholds: for each state, whether its levels refer to the threshold, else to 1.
        sources: for each state what its update reads, if no unquantized value: indices of states of this step,
            `BEFORE`, `SPIKE` (for a reset too, unless it is that of `BEFORE`). Such a state, if it reads no current, is
            a table of at most two codes. Empty for neurons that have the float rule only.
        ruler: the state beside the membrane that the margin reads, or None.
    """

    options: type[Any]
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    update: Callable[..., Any]
    margin: Callable[..., Any]
    pull: Callable[..., None]
    pull_parameters: Callable[..., None]
    pull_margin: Callable[..., None]
    pull_margin_parameters: Callable[..., None]
    membrane_only: bool
    in_thresholds: tuple[bool, ...]
    sources: tuple[tuple[int, ...], ...]
    ruler: int | None = None


def margin_of_membrane(o, p, now):
    """Neurons that fire on the membrane alone."""
    return now[o.membrane] - p[THETA]


def pull_margin_of_membrane(o, p, now, n, g, g_now):
    """Adjoint of `margin_of_membrane` in the states."""
    g_now[o.membrane, n] += g


def pull_margin_of_membrane_parameters(o, now, n, g, gp):
    """Adjoint of `margin_of_membrane` in the parameters."""
    gp[THETA, n] -= g
