"""Weights after training: every layer with weights gets the spec, and the error is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from squat.neurons.weights import OwnWeights
from squat.ptq.observe import layers_of
from squat.ptq.report import WeightReport
from squat.quant.weight import IntWeight, WeightQuantizer


@torch.no_grad()
def quantize_weights(net: nn.Module, spec: IntWeight) -> tuple[WeightReport, ...]:
    """Give every layer with weights the spec, in place; scales are found by its rule.

    Args:
        net: the network to change, in evaluation mode.
        spec: the weight spec.

    Returns:
        One report per weight matrix with a scale of its own.

    Raises:
        ValueError: if no layer has weights, or weights are NaN or infinite (the message names the layer).
    """
    rows = []
    for name, layer in layers_of(net).items():
        if not hasattr(layer, "set_weight_spec"):
            continue
        try:
            layer.set_weight_spec(spec)
        except ValueError as error:
            raise ValueError(f"layer {name} ({type(layer).__name__}): {error}") from error
        rows += [_row(name, layer, spec, part, quantizer) for part, quantizer in _matrices(layer)]
    if not rows:
        raise ValueError(
            f"net has no layer with weights: {type(net).__name__} has nothing to quantize; use weights=None"
        )
    return tuple(rows)


def _matrices(layer: Any) -> Iterator[tuple[Tensor, WeightQuantizer]]:
    if isinstance(layer, OwnWeights):
        yield from zip(layer.weight_matrices(), layer.quantizers, strict=True)
    else:
        yield layer.folded_weight(), layer.quantizer


def _row(name: str, layer: nn.Module, spec: IntWeight, weight: Tensor, quantizer: WeightQuantizer) -> WeightReport:
    w_int, scale = quantizer(weight)
    per_weight = scale.reshape(-1, *[1] * (weight.dim() - 1)) if scale.dim() else scale
    error = (w_int * per_weight - weight).double().square().mean() / weight.double().square().mean().clamp(min=1e-300)
    kind = type(layer).__name__
    return WeightReport(name, kind, spec, float(scale.min()), float(scale.max()), float(error))
