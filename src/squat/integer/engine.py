"""Running an `IntegerNetwork`: checks of inputs and states, the walk through the layers, the readout. Numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from squat.checks import check_choice, check_dense
from squat.integer.joins import Join
from squat.integer.network import IntegerNetwork
from squat.integer.parts import BIAS_FRACTION_BITS, Neurons, Shape
from squat.integer.pools import Pool
from squat.integer.states import States
from squat.text import brief

IMPLEMENTATIONS = {"compiled": "squat.integer.compiled", "numpy": "squat.integer.plain"}
"""Modules with `synaptic_sums` and `neuron_codes`, see `plain.py`. All give equal results."""
SCORE_LIMIT = 2**63


@dataclass(frozen=True, eq=False)
class State:
    """What a network carries from step to step.

    Attributes:
        codes: uint8 `[B, ...]` of every state of every layer with neurons, in order.
        scores: int64 `[B, classes]` so far, or None without a readout.
        steps: how many.
        fingerprint: of the network it belongs to.
    """

    codes: tuple[np.ndarray, ...]
    scores: np.ndarray | None
    steps: int
    fingerprint: str

    __repr__ = brief


class Result(NamedTuple):
    """What `IntegerNetwork.run` gives.

    Attributes:
        scores: int64 `[B, classes]`; the highest wins, ties go to the lowest class. None without a readout.
        predictions: int64 `[B]`, or None without a readout.
        output: of the last layer `[T, B, ...]`: spikes (uint8), codes where nothing fires (uint8), or sums (int32).
        codes: uint8 `[T, B, ...]` of every state of every layer with neurons, in order; see `IntegerNetwork.by_layer`.
        state: to continue with.
    """

    scores: np.ndarray | None
    predictions: np.ndarray | None
    output: np.ndarray
    codes: tuple[np.ndarray, ...]
    state: State

    def __repr__(self) -> str:
        return brief(self)


def run(net: IntegerNetwork, x: Any, state: State | None, implementation: str) -> Result:
    """See `IntegerNetwork.run`."""
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    module = import_module(IMPLEMENTATIONS[implementation])
    values = checked_input(net, x)
    steps, batch = np.shape(x)[:2]
    carried = _checked_state(net, state, batch)
    total = steps + (state.steps if state else 0)
    check_scores(net, total)
    first: int | None = None  # codes from here on are spikes; None where values count
    codes: list[np.ndarray] = []
    given: list[tuple[np.ndarray, int | None]] = []
    for layer in net.layers:
        if isinstance(layer, Pool):
            images = _counts(values, first)
            values, first = layer(images.reshape(*images.shape[:2], *layer.input_shape)), None
        elif isinstance(layer, Join):
            values, first = layer(_counts(values, first), _counts(*given[layer.source])), None
        else:
            values = values.reshape(*values.shape[:2], *layer.input_shape)
            if layer.neurons is None:  # the last one
                sums = module.synaptic_sums(layer, values, first)
                values = np.broadcast_to(sums, (steps, batch, *layer.output_shape))
            else:
                before = carried[len(codes) : len(codes) + len(layer.neurons.widths)]
                own = module.layer_codes(layer, values, first, None if before[0] is None else tuple(before), steps)
                codes += own
                values, first = spiking(layer.neurons, own)
        given.append((values, first))
    last = net.last.neurons
    output = values if last is None or not last.fires else (values >= first).view(np.uint8)
    scores = _scores(net, output, state)
    predictions = None if scores is None else scores.argmax(1)
    after = State(tuple(code[-1].copy() for code in codes), scores, total, net.fingerprint)
    return Result(scores, predictions, output, tuple(codes), after)


def spiking(machine: Neurons | States, codes: tuple[np.ndarray, ...]) -> tuple[np.ndarray, int]:
    """Values, and from which on they are spikes: codes where that can be told of one code, else spikes."""
    if isinstance(machine, Neurons) or not machine.fires:
        return codes[-1], machine.first if isinstance(machine, Neurons) else machine.codes
    return machine.spikes(codes).view(np.uint8), 1


def _counts(values: np.ndarray, first: int | None) -> np.ndarray:
    """What values count, as bytes; codes from `first` on are spikes."""
    return values if first is None else (values >= first).view(np.uint8)


def step(net: IntegerNetwork, x: Any, state: State | None, implementation: str) -> Result:
    """See `IntegerNetwork.step`."""
    check_dense("x", x)
    scores, predictions, output, codes, after = run(net, np.asarray(x)[None], state, implementation)
    return Result(scores, predictions, output[0], tuple(code[0] for code in codes), after)


def checked_input(net: IntegerNetwork, x: Any) -> np.ndarray:
    """The input as bytes `[T or 1, B, *input_shape]`, signed ones if it is, one step if it is constant over time."""
    check_dense("x", x)
    array, accepted = np.asarray(x), f"integers from {net.input_min} to {net.input_max}"
    if array.dtype.kind not in "biuf":
        raise TypeError(f"x: dtype {array.dtype}, expected {accepted}")
    if not _fits(array.shape[2:], net.input_shape) or 0 in array.shape:
        shape = ", ".join(map(str, net.input_shape))
        raise ValueError(f"x: shape {array.shape}, expected [T, B, {shape}] with at least one step and one sample")
    if array.strides[0] == 0:
        array = array[:1]
    low, high = array.min(), array.max()
    if not (low >= net.input_min and high <= net.input_max):
        raise ValueError(f"x: values from {low:g} to {high:g}, expected {accepted}")
    array = array.reshape(*array.shape[:2], *net.input_shape)
    values = np.ascontiguousarray(array).astype(np.int8 if net.input_min else np.uint8, copy=False)
    if array.dtype.kind == "f" and not np.array_equal(values, array):
        raise ValueError(f"x: got fractions, expected {accepted}")
    return values


def _fits(shape: Shape, expected: Shape) -> bool:
    """Whether steps of this shape are what the first layer takes.

    Perhaps a Flatten or Unflatten of the trained network lies between, or its signals are images of one row.
    """
    rows = expected[:1] + expected[2:] if expected[1:2] == (1,) else expected
    return shape in (expected, rows) or (1 in map(len, (shape, expected)) and math.prod(shape) == math.prod(expected))


def _checked_state(net: IntegerNetwork, state: State | None, batch: int) -> list[np.ndarray | None]:
    """Codes `[B, N]` that each state starts from; None for one off the grid."""
    if state is None:
        codes: list[np.ndarray | None] = []
        for layer in net.neuron_layers:
            if layer.neurons is not None:
                for start in layer.neurons.starts or [None] * len(layer.neurons.widths):
                    codes.append(None if start is None else np.full((batch, layer.size), start, np.uint8))
        return codes
    check_state(net, state, batch)
    return [codes.reshape(batch, -1) for codes in state.codes]


def check_state(net: IntegerNetwork, state: Any, batch: int | None) -> None:
    """Refuse the state of another network, or of another number of samples than `batch`."""
    if state is None:
        return
    if not isinstance(state, State):
        raise TypeError(f"state: a {type(state).__name__}, expected the State that an earlier call returned")
    if state.fingerprint != net.fingerprint:
        raise ValueError("state: it belongs to another network; carry the state that this one returned")
    if batch is not None and any(len(codes) != batch for codes in state.codes):
        raise ValueError(
            f"state: {len(state.codes[0])} samples, expected {batch} as in x; carry the state of the same batch"
        )


def check_scores(net: IntegerNetwork, steps: int) -> None:
    """Refuse so many steps that scores could overflow 64 bits."""
    if net.readout is not None and net.readout.step_bound(net.last) * steps >= SCORE_LIMIT:
        raise ValueError(f"x: after {steps} steps the scores could overflow 64 bits; run fewer steps at a time")


def _scores(net: IntegerNetwork, output: np.ndarray, state: State | None) -> np.ndarray | None:
    readout = net.readout
    if readout is None:
        return None
    before = None if state is None else state.scores
    flat = output.reshape(*output.shape[:2], -1)
    if readout.kind == "max_membrane":
        highest = flat.max(0).astype(np.int64)
        return highest if before is None else np.maximum(highest, before)
    if readout.level is not None:
        total = readout.level[flat].sum(0)
    else:
        total = flat.sum(0, dtype=np.int64)
    if readout.kind == "accumulated_current":
        total <<= BIAS_FRACTION_BITS
        if readout.bias is not None:
            total += len(flat) * readout.bias
        if readout.multiplier is not None:
            total *= readout.multiplier
    return total if before is None else total + before
