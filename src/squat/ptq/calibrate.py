"""Post-training quantization (PTQ) of weights and neuron states."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from squat.checks import check_choice, check_type
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.ptq.batches import CalibrationBatches
from squat.ptq.limits import fit_limits
from squat.ptq.observe import LayerObservation, neurons_of, observe
from squat.ptq.report import CalibrationReport, StateReport
from squat.ptq.weights import quantize_weights
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight

STATE_RANGES = ("published", "calibrated")
Net = TypeVar("Net", bound=nn.Module)


def calibrate(
    net: Net,
    data: Any,
    *,
    weights: IntWeight | None = None,
    states: StateSpec | None = None,
    state_range: str = "published",
    batches: int = 8,
    batch_size: int = 64,
) -> tuple[Net, CalibrationReport]:
    """Quantize the weights, the neuron states or both of a trained network; `net` itself is not changed.

    Weights get the scale of their spec's rule. States get the levels of their spec, or, with
    `state_range="calibrated"`, per layer the limits that minimise the squared error over the float membranes:

        min over low, high:  sum_u (level[encode(u)] - u)^2

    The membranes are those of the network with float states and its (by then quantized) weights.

    Args:
        net: a `Network` or a `Sequential`.
        data: a `Dataset` (its training split is used), a `Split`, or an iterable of batches `[T, B, ...]` or
            `(batch, labels)`.
        weights: spec for every layer with weights, scale "mse" or "max"; None leaves the weights as they are.
        states: spec for every layer of neurons; None leaves the states as they are.
        state_range: "published", the limits of `states`, or "calibrated", limits per layer from the data.
        batches: number of batches at most.
        batch_size: samples per batch, if `data` is a data set or a split.

    Returns:
        The quantized copy, in the mode (training or evaluation) of `net`, and the report.

    Raises:
        TypeError: for arguments of the wrong type.
        ValueError: if there is nothing to quantize, the weight scale is "learned", or the data are empty or not finite.

    Source: arXiv 2404.19668 compares training with quantized states to post-training quantization.

    Example:
        >>> import torch
        >>> from squat import LIF, IntWeight, Linear, Sequential, Uniform
        >>> net = Sequential(Linear(3, 4), LIF())
        >>> quantized, report = calibrate(net, [torch.ones(5, 2, 3)], weights=IntWeight(4), states=Uniform(4))
        >>> report.samples, [row.kind for row in report.states]
        (2, ['LIF'])
    """
    _check_specs(net, weights, states, state_range)
    walk = CalibrationBatches(data, batches, batch_size)
    before, samples = observe(copy.deepcopy(net).eval(), walk, membranes=False)
    quantized = copy.deepcopy(net).eval()
    weight_rows = () if weights is None else quantize_weights(quantized, weights)
    floats, _ = observe(_with_float_states(quantized), walk, membranes=True)
    if states is not None:
        for name, layer in neurons_of(quantized).items():
            fit = state_range == "calibrated"
            layer.set_state_spec(fit_limits(states, floats[name].membranes, _threshold(layer)) if fit else states)
    after, _ = observe(quantized, walk, membranes=False)
    rows = tuple(
        _state_row(name, layer, before[name], floats[name], after[name])
        for name, layer in neurons_of(quantized).items()
    )
    return quantized.train(net.training), CalibrationReport(samples, state_range, weight_rows, rows)


def _check_specs(net: Any, weights: Any, states: Any, state_range: str) -> None:
    check_type("net", net, (Network, Sequential), "a Network or a Sequential")
    check_type("weights", weights, (IntWeight, type(None)), "an IntWeight or None")
    check_type("states", states, (StateSpec, type(None)), "a state spec or None")
    check_choice("state_range", state_range, STATE_RANGES)
    if weights is None and states is None:
        raise ValueError("weights=None, states=None: expected at least one spec; there is nothing to quantize")
    if weights is not None and weights.scale == "learned":
        raise ValueError(
            "weights has scale='learned': expected 'mse' or 'max'; a learned scale needs training, use fit for that"
        )
    if states is not None and not neurons_of(net):
        raise ValueError(f"net has no layer of neurons: {type(net).__name__} has no state to quantize; use states=None")


def _with_float_states(net: nn.Module) -> nn.Module:
    floating = copy.deepcopy(net)
    for layer in neurons_of(floating).values():
        layer.initial = "zero"  # a float state knows no code of zero
        layer.set_state_spec(None)
    return floating


def _threshold(layer: Any) -> float:
    return float(layer.threshold)


def _state_row(
    name: str, layer: Any, before: LayerObservation, floats: LayerObservation, after: LayerObservation
) -> StateReport:
    spec, seen = layer.state_spec, floats.membranes
    levels = None if spec is None else spec.levels(_threshold(layer))
    low, high = (None, None) if levels is None else (float(levels[0]), float(levels[-1]))
    return StateReport(
        layer=name,
        kind=type(layer).__name__,
        threshold=_threshold(layer),
        spec=spec,
        observed_low=seen.low,
        observed_high=seen.high,
        chosen_low=low,
        chosen_high=high,
        saturated_low=0.0 if low is None else seen.share_below(low),
        saturated_high=0.0 if high is None else seen.share_above(high),
        silent_before=before.silent,
        silent_after=after.silent,
        rate_before=before.rate,
        rate_after=after.rate,
    )
