"""Silent stretches: without input a step is a map from code to code, so many steps are a power of it, by look-ups.

    silent(c) = #{k : bias + table[c] > bound[k]}       silent^(2n) = silent^n o silent^n

That holds for neurons of one state where nothing fires: no layer has a spike to hand on, and no silent map leads to a
firing code. Elsewhere a silent step is a step like any other. Numpy only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from squat.integer.engine import State, check_scores, run
from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer, Neurons
from squat.integer.plain import per_neuron


def silent_map(layer: Layer) -> np.ndarray:
    """The next code of each code without input: uint8 `[N, K]`, one row where all neurons are alike."""
    machine = layer.neurons
    if not isinstance(machine, Neurons):
        raise ValueError(f"{layer.name}: has no neurons of one state")
    bias = np.zeros(1, np.int32) if machine.bias is None else machine.bias
    rows = layer.size if max(len(machine.table), len(machine.bound), len(bias)) > 1 else 1
    acc = per_neuron(machine.table, rows).astype(np.int64) + per_neuron(bias, rows)[:, None]
    if machine.drop_input:
        acc = np.where(np.arange(machine.codes) >= machine.first, 0, acc)
    bound = np.broadcast_to(per_neuron(machine.bound, rows), (len(acc), machine.codes - 1))
    return np.stack([np.searchsorted(*row) for row in zip(bound, acc, strict=True)]).astype(np.uint8)


def stays_silent(net: IntegerNetwork) -> bool:
    """Whether no silent step of any layer, from whatever code, leads to a spike."""
    return all(
        isinstance(layer.neurons, Neurons) and bool((silent_map(layer) < layer.neurons.first).all())
        for layer in net.neuron_layers
    )


def skip(net: IntegerNetwork, state: State | None, steps: int, batch: int) -> State:
    """See `IntegerNetwork.skip`."""
    check_scores(net, steps + (state.steps if state else 0))
    lazy = stays_silent(net)
    while steps and not (lazy and state is not None and _nothing_fires(net, state)):
        zeros = np.zeros((1, batch if state is None else len(state.codes[0]), *net.input_shape), np.uint8)
        state, steps = run(net, zeros, state, "compiled").state, steps - 1
    if state is None:
        raise ValueError(
            "steps=0 without a state: expected at least one step, or the state that an earlier call returned"
        )
    return _powers(net, state, steps) if steps else state


def _nothing_fires(net: IntegerNetwork, state: State) -> bool:
    return not any(machine.spikes(codes).any() for _, machine, codes in net.by_layer(state.codes))


def _powers(net: IntegerNetwork, state: State, steps: int) -> State:
    """All layers taken `steps` silent steps further, doubling the maps for each bit of `steps`."""
    gained: np.ndarray | None = None
    codes = []
    for layer, before in zip(net.neuron_layers, state.codes, strict=True):
        power, flat = silent_map(layer), before.reshape(len(before), -1)
        level = _level(net, layer)
        score = None if level is None else level[power]  # of the steps that `power` spans
        total = None if score is None else np.zeros(flat.shape, np.int64)
        best = net.readout is not None and net.readout.kind == "max_membrane"
        for bit in range(steps.bit_length()):
            if steps >> bit & 1:
                if total is not None and score is not None:
                    total = np.maximum(total, _look_up(score, flat)) if best else total + _look_up(score, flat)
                flat = _look_up(power, flat)
            if score is not None:
                ahead = np.take_along_axis(score, power.astype(np.int64), axis=1)
                score = np.maximum(score, ahead) if best else score + ahead
            power = np.take_along_axis(power, power.astype(np.int64), axis=1)
        gained = total if layer is net.last else gained
        codes.append(flat.reshape(before.shape))
    return replace(state, codes=tuple(codes), scores=_scores(net, state, steps, gained), steps=state.steps + steps)


def _look_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`table[neuron, codes[sample, neuron]]`; one row serves all neurons."""
    return table[0, codes] if len(table) == 1 else table[np.arange(len(table)), codes]


def _level(net: IntegerNetwork, layer: Layer) -> np.ndarray | None:
    """What a code of the last layer adds to a membrane readout at each step, int64 `[K]`; None where nothing."""
    if layer is not net.last or net.readout is None or layer.neurons is None:
        return None
    if net.readout.kind == "max_membrane":
        return np.arange(layer.neurons.codes, dtype=np.int64)
    return net.readout.level


def _scores(net: IntegerNetwork, state: State, steps: int, gained: np.ndarray | None) -> np.ndarray | None:
    readout, scores = net.readout, state.scores
    if readout is None or scores is None:
        return None
    if gained is not None:
        return np.maximum(scores, gained) if readout.kind == "max_membrane" else scores + gained
    if readout.kind == "accumulated_current" and readout.bias is not None:
        factor = 1 if readout.multiplier is None else readout.multiplier
        return scores + steps * readout.bias * factor
    return scores
