"""A quantized network beside the float network that it was made from: states, silence and spike trains, by layer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_real, check_type
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.ptq.batches import CalibrationBatches
from squat.ptq.comparison import Comparison, LayerComparison, StateComparison
from squat.ptq.distance import SpikeDistance
from squat.ptq.observe import LayerObservation, by_steps, layers_of, neurons_of
from squat.ptq.over_time import StateObservation
from squat.ptq.states import MEMBRANE, StateSlot, slots_of

_BINS = 2**14
_SHOWN = 200
"""Bins of the histogram that is kept."""


@torch.no_grad()
def compare(
    reference: nn.Module,
    net: nn.Module,
    data: Any,
    *,
    time_constant: float = 10.0,
    batches: int = 8,
    batch_size: int = 64,
) -> Comparison:
    """Run two networks of the same layers on the same inputs and compare what their neurons do.

    Args:
        reference: the float network.
        net: the quantized one, of the same layers, calibrated or trained.
        data: a `Dataset` (its training split is used), a `Split`, or an iterable of batches `[T, B, ...]` or
            `(batch, labels)`.
        time_constant: of van Rossum's distance, in steps.
        batches: number of batches at most.
        batch_size: samples per batch, if `data` is a data set or a split.

    Returns:
        A `Comparison`: prints as tables, `to_json` for programs, `save_picture` for the eye.

    Raises:
        TypeError: for arguments of the wrong type.
        ValueError: for networks with other layers of neurons, or data that are empty or not finite.

    Example:
        >>> from squat import LIF, Linear, Sequential, Uniform, calibrate
        >>> net = Sequential(Linear(3, 4), LIF())
        >>> data = [torch.ones(20, 2, 3)]
        >>> quantized, _ = calibrate(net, data, states=Uniform(4))
        >>> compare(net, quantized, data).layers[0].kind
        'LIF'
    """
    check_real("time_constant", time_constant, 0.0, open_low=True)
    for name, value in (("reference", reference), ("net", net)):
        check_type(name, value, (Network, Sequential), "a Network or a Sequential")
    reference, net = copy.deepcopy(reference).eval(), copy.deepcopy(net).eval()
    kinds = [{name: type(layer).__name__ for name, layer in neurons_of(one).items()} for one in (reference, net)]
    if kinds[0] != kinds[1] or len(layers_of(reference)) != len(layers_of(net)):
        raise ValueError(f"net has the layers of neurons {kinds[1]}: expected those of reference, {kinds[0]}")
    if not kinds[0]:
        raise ValueError(f"net has no layer of neurons: there are no states in {type(net).__name__} to compare")
    pairs = {name: _Pair(layer, time_constant) for name, layer in neurons_of(net).items()}
    samples = 0
    for x in CalibrationBatches(data, batches, batch_size):
        samples += x.shape[1]
        _walk(reference, net, x, pairs)
    return Comparison(samples, time_constant, tuple(pair.result(name) for name, pair in pairs.items()))


def _walk(reference: nn.Module, net: nn.Module, x: Tensor, pairs: dict[str, _Pair]) -> None:
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    now: list[Any] = [x.to(device), x.to(device)]
    for (name, float_layer), layer in zip(layers_of(reference).items(), layers_of(net).values(), strict=True):
        if name not in pairs:
            now = [float_layer(now[0]), layer(now[1])]
            continue
        outputs = [float_layer(now[0])[0], layer(now[1])[0]]
        pairs[name].add(outputs, [by_steps(float_layer, now[0])[1], by_steps(layer, now[1])[1]])
        now = outputs


class _Pair:
    """What one layer of neurons does in both networks."""

    def __init__(self, layer: Any, time_constant: float) -> None:
        self.layer = layer
        self.slots = slots_of(layer)
        self.spec, self.threshold = self.slots[MEMBRANE].spec, self.slots[MEMBRANE].unit
        self.seen = (LayerObservation(), LayerObservation())
        self.states: dict[str, StateObservation] = {}
        self.codes = None if self.spec is None else torch.zeros(2**self.spec.bits, dtype=torch.int64)
        self.distance = SpikeDistance(time_constant)

    def add(self, outputs: list[Tensor], states: list[dict[str, Tensor]]) -> None:
        for seen, out in zip(self.seen, outputs, strict=True):
            seen.opportunities += out.shape[0] * out.shape[1]
            if self.layer.spiking:
                seen.add_spikes(out)
        if self.layer.spiking:
            self.distance.add(outputs[1], outputs[0])
        for name, values in states[0].items():
            ends = self._slot(name).ends or (-torch.inf, torch.inf)
            self.states.setdefault(name, StateObservation(*ends, bins=_BINS)).add(values)
        if self.spec is not None and self.codes is not None:
            codes = self.spec.encode(states[1][MEMBRANE], self.threshold)
            self.codes += torch.bincount(codes.flatten().cpu().long(), minlength=len(self.codes))

    def result(self, name: str) -> LayerComparison:
        return LayerComparison(
            layer=name,
            kind=type(self.layer).__name__,
            threshold=self.threshold,
            spec=self.spec,
            spikes=self.distance.summary() if self.layer.spiking else None,
            rates=(self.seen[0].rate, self.seen[1].rate),
            silent=(self.seen[0].silent, self.seen[1].silent),
            occupancy=() if self.codes is None else tuple((self.codes / self.codes.sum()).tolist()),
            states=tuple(self._state(state, seen) for state, seen in self.states.items()),
        )

    def _slot(self, name: str) -> StateSlot:
        return self.slots.get(name, StateSlot(name, None, 1.0, None))

    def _state(self, name: str, seen: StateObservation) -> StateComparison:
        slot = self._slot(name)
        low, high = slot.ends or (seen.histogram.low, seen.histogram.high)
        margin = 0.0 if slot.spec is None else (high - low) / 2
        low, high, counts = seen.histogram.around(low - margin, high + margin, _SHOWN)
        return StateComparison(
            state=name,
            spec=slot.spec,
            unit=slot.unit,
            observed_low=seen.histogram.low,
            observed_high=seen.histogram.high,
            saturated_low=seen.saturated[0],
            saturated_high=seen.saturated[1],
            mean=tuple(seen.mean.tolist()),
            spread=tuple(seen.spread.tolist()),
            below=tuple(seen.below.tolist()),
            above=tuple(seen.above.tolist()),
            histogram_low=low,
            histogram_high=high,
            histogram=counts,
        )
