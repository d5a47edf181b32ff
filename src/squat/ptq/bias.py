"""Bias correction: after quantization the mean input current of each neuron is shifted back to that in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squat.layers.current import Current
from squat.layers.weighted import WeightedLayer
from squat.neurons import RLIF
from squat.ptq.observe import layers_of
from squat.text import brief

_RECURRENT_STEPS = (0.3,) * 8
"""The spikes of a recurrent layer change with its bias and come back to it: whole steps overshoot, these settle."""


@dataclass(frozen=True)
class BiasReport:
    """One layer whose bias was corrected.

    Attributes:
        layer: position of the layer in the network.
        kind: class of the layer.
        shift_before: root mean square, over neurons, of the change in mean current that quantization caused.
        shift_after: the same with the new bias.
    """

    layer: str
    kind: str
    shift_before: float
    shift_after: float

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@torch.no_grad()
def correct_biases(net: nn.Module, reference: nn.Module, batches: Iterable[Tensor]) -> tuple[BiasReport, ...]:
    """Add to every bias what quantization took from the mean current of its neuron or channel, in place.

        b += mean over steps and samples of (current in the float network - current in the quantized one)

    Layer by layer, so that a layer is corrected with the spikes it gets from layers that have been. Recurrent currents
    count; since they change with the bias, recurrent layers are corrected in eight steps of 0.3 of what is left.

    Args:
        net: the quantized network to change, in evaluation mode.
        reference: the float network that it was made from.
        batches: inputs `[T, B, ...]`; walked twice, and once for each step.

    Returns:
        One report per corrected layer.

    Raises:
        ValueError: if no layer has a bias.

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling 2019, "Data-free quantization through weight
    equalization and bias correction", ICCV, arXiv 1906.04721, here in its empirical form (appendix D).
    """
    corrected = {name: layer for name, layer in layers_of(net).items() if _is_corrected(layer)}
    if not corrected:
        raise ValueError("net has no layer with a bias: there is nothing to correct; use bias_correction=False")
    wanted, now = _mean_currents(reference, batches), _mean_currents(net, batches)
    rows = []
    for name, layer in corrected.items():
        before = _size(wanted[name] - now[name])
        for step in steps_of(layer):
            layer.bias.add_((step * (wanted[name] - now[name])).to(layer.bias))
            now = _mean_currents(net, batches)
        rows.append(BiasReport(name, type(layer).__name__, before, _size(wanted[name] - now[name])))
    return tuple(rows)


def _is_corrected(layer: Any) -> bool:
    """Whether the current of a layer, and its bias in it, is what `_mean_currents` takes it to be."""
    return isinstance(layer, (RLIF, WeightedLayer)) and layer.bias is not None


def steps_of(layer: Any) -> tuple[float, ...]:
    """Shares of the shift that are added to a layer's bias, one after the other; one walk over the data each."""
    return _RECURRENT_STEPS if isinstance(layer, RLIF) else (1.0,)


def walks(net: nn.Module) -> int:
    """How often `correct_biases` walks over the data."""
    return 2 + sum(len(steps_of(layer)) for layer in layers_of(net).values() if _is_corrected(layer))


def _size(shift: Tensor) -> float:
    return float(shift.square().mean().sqrt())


def _mean_currents(net: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean current over steps, samples and places of each neuron or channel, for the layers with a bias to correct."""
    sums: dict[str, Tensor] = {}
    steps = 0
    for x in batches:
        current: Any = x.to(next(net.parameters()).device)
        steps += x.shape[0] * x.shape[1]
        for name, layer in layers_of(net).items():
            out = layer(current)
            out = out[0] if isinstance(out, tuple) and not isinstance(out, Current) else out
            if _is_corrected(layer):
                total = _recurrent_sum(layer, current, out) if isinstance(layer, RLIF) else _sum(out)
                sums[name] = sums.get(name, 0.0) + total
            current = out
    return {name: total / steps for name, total in sums.items()}


def _sum(out: Tensor | Current) -> Tensor:
    """Sum over steps and samples, mean over places."""
    current = (out.dense() if isinstance(out, Current) else out).double()
    return current.flatten(3).mean(3).sum((0, 1)) if current.dim() > 3 else current.sum((0, 1))


def _recurrent_sum(layer: Any, x: Tensor, spikes: Tensor) -> Tensor:
    """The current is a linear function, so its sum is that of the summed inputs and of the summed spikes before."""
    w_in, w_rec = effective_weights(layer)
    current = w_in.double() @ (x.sum((0, 1)).double() * layer.input_scale)
    current += w_rec.double() @ spikes[:-1].sum((0, 1)).double()
    return current + layer.bias.double() * (x.shape[0] * x.shape[1])


def effective_weights(layer: Any) -> tuple[Tensor, Tensor]:
    """Input and recurrent weights that a recurrent layer computes with: float, or integers times their scale."""
    quantized = [w_int * (scale[:, None] if scale.dim() else scale) for _, (w_int, scale) in layer.quantized_weights()]
    joined = torch.cat(quantized or [layer.weight_in, layer.weight_rec], 1)
    w_in, w_rec = joined[:, : layer.in_features], joined[:, layer.in_features :]
    return w_in, w_rec if layer.recurrence == "full" else torch.diag(w_rec[:, 0])
