"""Post-training quantization (PTQ) of weights and neuron states."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from squat.checks import check_choice, check_type
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.ptq.batches import CalibrationBatches
from squat.ptq.bias import correct_biases
from squat.ptq.observe import LayerObservation, layers_of, neurons_of, observe
from squat.ptq.ranges import RANGE_RULES, RangeOptions, check_taken, fitted
from squat.ptq.report import CalibrationReport, StateReport
from squat.ptq.states import MEMBRANE, StateSlot, follows_membrane, set_spec, slots_of
from squat.ptq.weights import quantize_weights
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight

STATE_RANGES = ("published", "calibrated")
"""The rules that an ablation tries by default; `RANGE_RULES` has all."""
Net = TypeVar("Net", bound=nn.Module)


def calibrate(
    net: Net,
    data: Any,
    *,
    weights: IntWeight | None = None,
    states: StateSpec | None = None,
    state_range: str = "published",
    percentile: float | None = None,
    near_threshold: float = 0.0,
    clip: float = 100.0,
    bias_correction: bool = False,
    batches: int = 8,
    batch_size: int = 64,
) -> tuple[Net, CalibrationReport]:
    """Quantize the weights, the neuron states or both of a trained network; `net` itself is not changed.

    Weights get the scale of their spec's rule. States get the levels of their spec, or per layer others that a rule,
    `state_range`, fits to the membranes of the network with float states and its (by then quantized) weights:

    - `"published"`: the spec as it is;
    - `"calibrated"`: the limits that minimise the squared error `sum_u (level[encode(u)] - u)^2` among a few shares of
      the observed range, as the ablation does; `"mse"` searches on between them;
    - `"max"`: the observed range; `"percentile"`: that between the percentiles `100 - percentile` and `percentile`;
    - `"mse_base"`: limits and base that minimise the error, for schemes that have a base;
    - `"lloyd_max"`: a `Fitted` spec of the levels of least error, which keeps 0 as a level and the threshold as a
      boundary if the spec has them there (`Anchored`).

    Args:
        net: a `Network` or a `Sequential`.
        data: a `Dataset` (its training split is used), a `Split`, or an iterable of batches `[T, B, ...]` or
            `(batch, labels)`.
        weights: spec for every layer with weights, scale "mse" or "max"; None leaves the weights as they are.
        states: spec for every layer of neurons; None leaves the states as they are.
        state_range: one of the rules above.
        percentile: for the rule of that name, in (50, 100], None for its 99.9.
        near_threshold: how much more an error at the threshold counts, where it decides about a spike, >= 0; for the
            rules that minimise an error (see `quantization_error`).
        clip: in (50, 100]; membranes beyond the percentiles `100 - clip` and `clip` count as at them, for every rule
            but `published`. What lies far below the threshold has a large error and little to say about spikes, so
            error rules can gain from it.
        bias_correction: shift the mean current of each neuron back to that of the float network, where its layer has
            a bias (see `squat.ptq.bias`).
        batches: number of batches at most.
        batch_size: samples per batch, if `data` is a data set or a split.

    Returns:
        The quantized copy, in the mode (training or evaluation) of `net`, and the report.

    Raises:
        TypeError: for arguments of the wrong type.
        ValueError: if there is nothing to quantize, an option does nothing with this rule or without `states`, what
            gets a spec has one already, the weight scale is "learned", the data are empty or not finite, or a scheme
            has no level set of the kind that the rule asks for.

    Source: arXiv 2404.19668 compares training with quantized states to post-training quantization.

    Example:
        >>> import torch
        >>> from squat import LIF, IntWeight, Linear, Sequential, Uniform
        >>> net = Sequential(Linear(3, 4), LIF())
        >>> quantized, report = calibrate(net, [torch.ones(5, 2, 3)], weights=IntWeight(4), states=Uniform(4))
        >>> report.samples, [row.kind for row in report.states]
        (2, ['LIF'])
    """
    options = RangeOptions(percentile, near_threshold, clip)
    check_type("bias_correction", bias_correction, bool, "True or False")
    _check_specs(net, weights, states, state_range)
    check_taken(state_range, options, states)
    walk = CalibrationBatches(data, batches, batch_size)
    before, samples = observe(copy.deepcopy(net).eval(), walk, membranes=False)
    quantized = copy.deepcopy(net).eval()
    weight_rows = () if weights is None else quantize_weights(quantized, weights)
    floats, _ = observe(_with_float_states(quantized), walk, membranes=True)
    if states is not None:
        for name, layer in neurons_of(quantized).items():
            _set_specs(name, layer, states, floats[name], state_range, options)
    biases = correct_biases(quantized, copy.deepcopy(net).eval(), walk) if bias_correction else ()
    after, _ = observe(quantized, walk, membranes=False)
    rows = tuple(
        _state_row(name, layer, slot, before[name], floats[name], after[name])
        for name, layer in neurons_of(quantized).items()
        for slot in slots_of(layer).values()
    )
    return quantized.train(net.training), CalibrationReport(samples, state_range, weight_rows, rows, biases)


def _check_specs(net: Any, weights: Any, states: Any, state_range: str) -> None:
    check_type("net", net, (Network, Sequential), "a Network or a Sequential")
    check_type("weights", weights, (IntWeight, type(None)), "an IntWeight or None")
    check_type("states", states, (StateSpec, type(None)), "a state spec or None")
    check_choice("state_range", state_range, RANGE_RULES)
    if weights is None and states is None:
        raise ValueError("weights=None, states=None: expected at least one spec; there is nothing to quantize")
    if weights is not None and weights.scale == "learned":
        raise ValueError(
            "weights has scale='learned': expected 'mse' or 'max'; a learned scale needs training, use fit for that"
        )
    if states is not None and not neurons_of(net):
        raise ValueError(f"net has no layer of neurons: {type(net).__name__} has no state to quantize; use states=None")
    if weights is not None:
        _check_float(net, "weights", "weight_spec")
    if states is not None:
        _check_float(net, "states", "state_spec")


def _check_float(net: Any, part: str, attribute: str) -> None:
    """Refuse what has a spec already: its float values are not what the network was trained to compute with."""
    specs = {name: (type(layer).__name__, getattr(layer, attribute, None)) for name, layer in layers_of(net).items()}
    found = [f"layer {name} ({kind}): {spec}" for name, (kind, spec) in specs.items() if spec is not None]
    if found:
        raise ValueError(
            f"{part} are quantized already, {found[0]}{f' and {len(found) - 1} more' if found[1:] else ''}: expected "
            f"float {part} to start from; calibrate the float network (trained without {part}=), or what "
            f"squat.dequantize_(net) leaves, or leave {part} out and they stay as they are"
        )


def _with_float_states(net: nn.Module) -> nn.Module:
    floating = copy.deepcopy(net)
    for layer in neurons_of(floating).values():
        layer.initial = "zero"  # a float state knows no code of zero
        layer.set_state_spec(None)
    return floating


def _set_specs(
    name: str, layer: Any, states: StateSpec, seen: LayerObservation, rule: str, options: RangeOptions
) -> None:
    """Each state gets levels of its own; a state with a spec of its own keeps it, and `published` is for all alike."""
    slots = [slot for slot in slots_of(layer).values() if follows_membrane(layer, slot)]
    for slot in slots:
        if rule == "published" and slot.name != MEMBRANE:
            continue
        try:
            set_spec(layer, slot, fitted(rule, states, seen.states[slot.name].histogram, slot.unit, options))
        except ValueError as error:
            where = f"layer {name} ({_kind(layer, slot)})"
            raise ValueError(f"{where}, state_range={rule!r}: {error}") from error


def _kind(layer: Any, slot: StateSlot) -> str:
    return type(layer).__name__ + ("" if slot.name == MEMBRANE else f".{slot.name}")


def _state_row(
    name: str,
    layer: Any,
    slot: StateSlot,
    before: LayerObservation,
    floats: LayerObservation,
    after: LayerObservation,
) -> StateReport:
    seen = floats.states[slot.name].histogram
    low, high = slot.ends or (None, None)
    spikes = slot.name == MEMBRANE
    return StateReport(
        layer=name,
        kind=_kind(layer, slot),
        threshold=slot.unit,
        spec=slot.spec,
        observed_low=seen.low,
        observed_high=seen.high,
        chosen_low=low,
        chosen_high=high,
        saturated_low=0.0 if low is None else seen.share_below(low),
        saturated_high=0.0 if high is None else seen.share_above(high),
        silent_before=before.silent if spikes else None,
        silent_after=after.silent if spikes else None,
        rate_before=before.rate if spikes else None,
        rate_after=after.rate if spikes else None,
    )
