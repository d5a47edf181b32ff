"""Operations of an integer network on given inputs, counted layer by layer. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from squat.integer.engine import Result
from squat.integer.joins import Join
from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer, Neurons, Shape
from squat.integer.plain import Codes
from squat.integer.pools import Pool
from squat.integer.states import States, SummedState
from squat.text import brief


@dataclass(frozen=True)
class Activity:
    """What one layer does for a sample, on average over samples; summed over its time steps.

    Attributes:
        name: of the layer.
        spike_rate: spikes per neuron and step; 0 where nothing fires.
        connection_sparsity: share of weights that are 0 (NeuroBench).
        input_events: inputs that are not 0, recurrent spikes included.
        synaptic_operations: adds of a weight that is not 0 for an event (NeuroBench's effective ACs; MACs where inputs
            are multiplied). A pooled or joined input of 3 spikes is 3 adds, a spike of -1 one.
        dense_operations: the same if all inputs and weights counted, as in a network without spikes.
        multiplications: products of input values and weights (pixels); one step's worth where the input is constant.
        state_reads, state_writes: of one code each.
        adds: synaptic operations, and those of the bias and of the table's entry.
        compares: with boundaries, as many as a code has bits. A state that is looked up needs none.
        maxima: compares of synaptic sums, where the largest of a window counts; one step's worth of a constant input.
        membrane_updates: codes that change (NeuroBench).
        occupancy: share of every code, over neurons and steps; of the state that fires, where there are several.
        saturation: share of the lowest and the highest code together.
    """

    name: str
    spike_rate: float
    connection_sparsity: float
    input_events: float
    synaptic_operations: float
    dense_operations: float
    multiplications: float
    state_reads: float
    state_writes: float
    adds: float
    compares: float
    maxima: float
    membrane_updates: float
    occupancy: tuple[float, ...]
    saturation: float

    __repr__ = brief


def activities(net: IntegerNetwork, x: Any) -> tuple[Result, list[Activity]]:
    """Run the network and count; see `Activity`."""
    result = net.run(x)
    walk = _walk(net, np.asarray(x), result)
    return result, [_activity(net, layer, values, codes, np.shape(x)[0]) for layer, values, codes in walk]


def fan_out(layer: Layer, weight: np.ndarray) -> np.ndarray:
    """How many outputs each input reaches through entries of `weight` that are not 0, `[*input_shape]`."""
    if not layer.is_convolution:
        return (weight != 0).sum(0)
    return _reach(weight != 0, layer.input_shape, layer.sum_shape, layer.stride, layer.padding)


def _recurrent_fan_out(layer: Layer, weight: np.ndarray) -> np.ndarray:
    """The same of recurrent weights and spikes, `[N]`."""
    if not layer.is_convolution:
        return (weight != 0).sum(0)
    shape = layer.output_shape
    return _reach(weight != 0, shape, shape, (1, 1), layer.recurrent_padding).reshape(-1)


def _reach(filled: np.ndarray, shape: Shape, out: Shape, stride: tuple[int, int], padding: tuple[int, int]) -> Any:
    kernels = filled.sum(0)
    (down, right), (top, left) = stride, padding
    channels, height, width = shape
    rows, columns = out[1:]
    reached = np.zeros((channels, height + 2 * top, width + 2 * left), np.int64)
    for i in range(filled.shape[2]):
        for j in range(filled.shape[3]):
            window = reached[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]
            window += kernels[:, i, j, None, None]
    return reached[:, top : top + height, left : left + width]


def _walk(net: IntegerNetwork, x: np.ndarray, result: Result) -> Iterator[tuple[Layer, np.ndarray, Codes | None]]:
    """Every layer with its input, of one step if that is constant, and its codes."""
    values, codes = x[:1] if x.strides[0] == 0 else x, net.by_layer(result.codes)
    given: list[np.ndarray] = []
    for layer in net.layers:
        if isinstance(layer, Pool):
            values = layer(values.reshape(*values.shape[:2], *layer.input_shape))
        elif isinstance(layer, Join):
            values = layer(values, given[layer.source])
        else:
            own = None if layer.neurons is None else next(codes)[2]
            yield layer, values.reshape(*values.shape[:2], *layer.input_shape), own
            if own is not None and layer.neurons is not None:
                values = layer.neurons.spikes(own).astype(np.uint8)
        given.append(values)


def _activity(net: IntegerNetwork, layer: Layer, x: np.ndarray, codes: Codes | None, steps: int) -> Activity:
    samples, size = x.shape[1], layer.size
    multiplied = layer is net.layers[0] and max(layer.input_max, -layer.input_min) > 1
    events = float((x != 0).sum()) / samples
    amount = (x != 0 if multiplied else np.abs(x)).sum((0, 1), dtype=np.int64)
    synaptic = float((amount * fan_out(layer, layer.weight)).sum()) / samples
    compared = 0 if layer.pool is None or layer.pool.kind != "max" else math.prod(layer.pool.kernel_size) - 1
    maxima = float(len(x) * size * compared)
    dense = float(fan_out(layer, np.ones_like(layer.weight)).sum()) * len(x)
    products = synaptic if multiplied else 0.0
    sparsity = float(np.mean(np.concatenate([weight.reshape(-1) for weight in layer.weights]) == 0))
    if codes is None or layer.neurons is None:
        unused: dict[str, Any] = dict.fromkeys(("spike_rate", "state_reads", "state_writes", "compares"), 0.0)
        unused |= {"membrane_updates": 0.0, "occupancy": (), "saturation": 0.0}
        return Activity(
            name=layer.name, connection_sparsity=sparsity, input_events=events, synaptic_operations=synaptic,
            dense_operations=dense, multiplications=products, adds=synaptic, maxima=maxima,
            **unused,
        )  # fmt: skip
    machine = layer.neurons
    spikes = machine.spikes(codes).reshape(steps, samples, size)
    if layer.recurrent is not None:
        before = spikes[:-1].sum((0, 1), dtype=np.int64)
        synaptic += float(before @ _recurrent_fan_out(layer, layer.recurrent)) / samples
        events += float(before.sum()) / samples
        dense += float(steps * _recurrent_fan_out(layer, np.ones_like(layer.recurrent)).sum())
    occupancy = np.bincount(codes[-1].reshape(-1), minlength=machine.codes) / codes[-1].size
    updates, later = steps * size, (steps - (machine.starts is None)) * size
    work = _work(machine)
    return Activity(
        name=layer.name,
        spike_rate=float(spikes.mean()),
        connection_sparsity=sparsity,
        input_events=events,
        synaptic_operations=synaptic,
        dense_operations=dense,
        multiplications=products,
        state_reads=float(later * len(codes)),
        state_writes=float(updates * len(codes)),
        adds=synaptic + later * work.tables + updates * work.biases,
        compares=float(updates * work.compares),
        maxima=maxima,
        membrane_updates=sum(float((own[1:] != own[:-1]).sum()) for own in codes) / samples,
        occupancy=tuple(occupancy.tolist()),
        saturation=float(occupancy[0] + occupancy[-1]),
    )


class _Work(NamedTuple):
    """Adds and compares of a neuron in a step: tables that are added, biases, compares with boundaries."""

    tables: int
    biases: int
    compares: int


def _work(machine: Neurons | States) -> _Work:
    if isinstance(machine, Neurons):
        return _Work(1, int(machine.bias is not None), machine.bits)
    summed = [state for state in machine.states if isinstance(state, SummedState)]
    biases = sum(state.bias is not None for state in summed)
    return _Work(len(summed), biases, sum(state.bits for state in summed))
