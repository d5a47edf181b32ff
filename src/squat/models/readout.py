"""Readouts: from the last layer's output over time to one score per class, and from scores to predictions.

A readout is a frozen value without parameters. Which layer must come last is said in each docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_choice, check_type
from squat.layers.current import Current

BIAS_FRACTION_BITS = 8
"""Bits below one integer unit in which an accumulated bias is held."""


@dataclass(frozen=True)
class Readout:
    """Base: `readout(output) -> scores [B, classes]`."""

    def __call__(self, output: Tensor | Current) -> Tensor:
        """Scores `[B, classes]` from the last layer's output `[T, B, classes]`."""
        raise TypeError(f"{type(self).__name__} is abstract; use one of {', '.join(READOUTS)}")

    def to_json(self) -> dict[str, Any]:
        """The readout as JSON values; `readout_from_json` is the inverse."""
        return {"type": type(self).__name__}


def _as_tensor(readout: Readout, output: Tensor | Current) -> Tensor:
    if isinstance(output, Current):
        raise TypeError(
            f"{type(readout).__name__} reads a neuron, got the current of a linear layer; add a neuron last"
        )
    return output


@dataclass(frozen=True)
class SpikeCount(Readout):
    """Number of spikes of each output neuron: `score[c] = sum_t s[t, c]`. The last layer is an `LIF`.

    Example:
        >>> SpikeCount()(torch.ones(25, 1, 2))
        tensor([[25., 25.]])
    """

    def __call__(self, output: Tensor | Current) -> Tensor:
        """Spike counts `[B, classes]` of spikes `[T, B, classes]`."""
        return _as_tensor(self, output).sum(0)


@dataclass(frozen=True)
class AccumulatedCurrent(Readout):
    """Mean output current over time: `score[c] = (sum_t i[t, c]) / T`. The last layer is a `Linear`.

    Of a quantized layer the integers are summed, exactly, and the bias is held in multiples of `scale / 2**8`:
    `acc = 2**8 * sum_t z[t] + T * round(2**8 * bias / scale)`, `score = acc * scale / (2**8 * T)`, in float64. There
    different sums give different scores and equal sums tie, as in the integer machine. Rounding is straight-through.

    Example:
        >>> AccumulatedCurrent()(torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]]))
        tensor([[2., 2.]])
    """

    def __call__(self, output: Tensor | Current) -> Tensor:
        """Scores `[B, classes]` of a current `[T, B, classes]`; float64 for a `Current`."""
        if not isinstance(output, Current):
            return output.mean(0)
        steps, unit, scale = output.z.shape[0], 2.0**BIAS_FRACTION_BITS, output.scale.double()
        total = output.z.sum(0, dtype=torch.float64) * unit
        if output.bias is not None:
            bias = output.bias.double() * unit / scale
            total = total + steps * (bias + (bias.round() - bias).detach())
        return total * (scale / (unit * steps))


@dataclass(frozen=True)
class MaxMembrane(Readout):
    """Largest membrane over time: `score[c] = max_t u[t, c]`. The last layer is an `LI`.

    The gradient goes to one of the steps where the maximum is reached (quantized membranes tie often).

    Example:
        >>> MaxMembrane()(torch.tensor([[[1.0, 5.0]], [[3.0, 2.0]]]))
        tensor([[3., 5.]])
    """

    def __call__(self, output: Tensor | Current) -> Tensor:
        """Scores `[B, classes]` of membranes `[T, B, classes]`."""
        return _as_tensor(self, output).max(0).values


@dataclass(frozen=True)
class MeanMembrane(Readout):
    """Mean membrane over time: `score[c] = (sum_t u[t, c]) / T`. The last layer is an `LI`.

    Example:
        >>> MeanMembrane()(torch.tensor([[[1.0, 5.0]], [[3.0, 2.0]]]))
        tensor([[2.0000, 3.5000]])
    """

    def __call__(self, output: Tensor | Current) -> Tensor:
        """Scores `[B, classes]` of membranes `[T, B, classes]`."""
        return _as_tensor(self, output).mean(0)


READOUTS: dict[str, type[Readout]] = {
    readout.__name__: readout for readout in (SpikeCount, AccumulatedCurrent, MaxMembrane, MeanMembrane)
}
"""Every readout by class name."""

READOUT_NAMES: dict[str, type[Readout]] = {
    "spike_count": SpikeCount,
    "accumulated_current": AccumulatedCurrent,
    "max_membrane": MaxMembrane,
    "mean_membrane": MeanMembrane,
}
"""Every readout by its name in a config."""


def readout_from_json(document: dict[str, Any]) -> Readout:
    """The readout that `Readout.to_json` described.

    Raises:
        TypeError: for something else than a JSON object.
        ValueError: for an unknown type; the message lists what is known.

    Example:
        >>> readout_from_json({"type": "SpikeCount"})
        SpikeCount()
    """
    check_type("readout", document, dict, "a JSON object with a type")
    return READOUTS[check_choice("readout type", document.get("type"), READOUTS)]()


def predict(scores: Tensor) -> Tensor:
    """Class of the highest score; ties go to the lowest class index, as in every backend.

    Args:
        scores: `[B, classes]`.

    Returns:
        int64 `[B]`.

    Example:
        >>> predict(torch.tensor([[1.0, 3.0, 3.0]]))
        tensor([1])
    """
    classes = torch.arange(scores.shape[-1], device=scores.device)
    return torch.where(_is_best(scores), classes, scores.shape[-1]).amin(-1)


def tied(scores: Tensor) -> Tensor:
    """Whether more than one class has the highest score: bool `[B]`.

    Example:
        >>> tied(torch.tensor([[1.0, 3.0, 3.0], [1.0, 2.0, 3.0]]))
        tensor([ True, False])
    """
    return _is_best(scores).sum(-1) > 1


def _is_best(scores: Tensor) -> Tensor:
    return scores == scores.amax(-1, keepdim=True)
