"""What snnTorch keeps in closures, read back: the levels of a state quantizer and the slope of a surrogate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.compat.state_quant import StateQuant
from squat.quant.spec import StateSpec, ThresholdCentered, Uniform, ZeroCentered
from squat.surrogate import ATan, FastSigmoid, Sigmoid, Surrogate

SURROGATES: dict[str, Callable[[dict[str, Any]], Surrogate]] = {
    "fast_sigmoid": lambda closed: FastSigmoid(float(closed["slope"])),
    "atan": lambda closed: ATan(float(closed["alpha"])),
    "sigmoid": lambda closed: Sigmoid(float(closed["slope"])),
}
"""By the name of the function in `snntorch.surrogate` that made the closure."""
ODD = {
    "triangular": "its derivative is the constant +threshold below the threshold and -threshold above, no triangle; "
    "squat.Triangular() is one",
}
"""Those that are refused for what they do, and why."""


MAX_BITS = 8


def surrogate_of(spike_grad: Any) -> Surrogate:
    """The surrogate of squat with the derivative of snnTorch's `spike_grad`.

    Raises:
        ValueError: for one that squat does not have.
    """
    name = getattr(spike_grad, "__qualname__", type(spike_grad).__name__).split(".")[0]
    if getattr(spike_grad, "__module__", "") == "snntorch.surrogate" and name in SURROGATES:
        return SURROGATES[name](dict(inspect.getclosurevars(spike_grad).nonlocals))
    why = f": {ODD[name]}" if name in ODD else f" (known: {', '.join(SURROGATES)})"
    raise ValueError(
        f"its surrogate gradient {name} has no counterpart{why}; choose one with "
        "from_snntorch(..., surrogate=squat.FastSigmoid(25.0))"
    )


def state_spec_of(state_quant: Any, threshold: float) -> StateSpec | None:
    """The published spec whose levels at this threshold are those of snnTorch's `state_quant`, bit for bit.

    Args:
        state_quant: what a neuron of snnTorch was given: False, snnTorch's own closure or a `StateQuant`.
        threshold: threshold of the neuron.

    Returns:
        The spec, None for float states.

    Raises:
        ValueError: for a function that is neither, and for levels that no published spec has.
    """
    if not state_quant:
        return None
    levels: Any = None
    if isinstance(state_quant, StateQuant):
        levels = state_quant.levels
    elif inspect.isfunction(state_quant):
        levels = inspect.getclosurevars(state_quant).nonlocals.get("levels")
    if not isinstance(levels, Tensor):
        raise ValueError(
            "its state_quant is a function of its own: expected snntorch.functional.quant.state_quant(...) or "
            "squat.compat.state_quant(...)"
        )
    levels = levels.float().cpu()
    if len(levels) > 2**MAX_BITS:
        raise ValueError(
            f"its state_quant has too many bits, num_bits={(len(levels) - 1).bit_length()}: expected 1 to {MAX_BITS}; "
            "beyond 8 the published levels merge in float32"
        )
    for spec in _candidates(levels, threshold):
        if torch.equal(spec.levels(threshold), levels):
            return spec
    raise ValueError(
        f"its {len(levels)} levels from {float(levels[0]):.4g} to {float(levels[-1]):.4g} are no published set at "
        f"threshold {threshold:g}; make the quantizer with threshold={threshold:g}, and an upper_limit above 0"
    )


def number_written(value: Tensor) -> float:
    """The shortest decimal that rounds to this float32: what a user wrote, since squat computes levels from it.

    Example:
        >>> number_written(torch.tensor(0.3))
        0.3
    """
    return float(str(np.float32(value.detach().cpu().item())))


def _candidates(levels: Tensor, threshold: float) -> Iterator[StateSpec]:
    """Specs with the ends of these levels; the limits and the base are numbers that somebody wrote, so few digits."""
    bits = (len(levels) - 1).bit_length()
    low, high = -float(levels[0]) / threshold - 1, float(levels[-1]) / threshold - 1
    gaps = levels.double().diff()
    bases: set[float | None] = {None}
    if len(gaps) > 1:
        ratios = [float(gaps[1] / gaps[0]), float(gaps[-2] / gaps[-1])]
        bases |= {round(ratio, digits) for ratio in ratios for digits in (2, 3, 4)}
    for digits in (2, 4, 6):
        limits = round(low, digits) + 0.0, round(high, digits)
        makers: list[Callable[[], StateSpec]] = [partial(Uniform, bits, *limits)]
        makers += [
            partial(scheme, bits, *limits, base) for scheme in (ThresholdCentered, ZeroCentered) for base in bases
        ]
        for make in makers:
            try:
                yield make()
            except ValueError:
                continue  # limits or a base that no spec can have
