"""The engine's compiled implementation: from numpy arrays to those of `kernels.py` and back; equal to `plain.py`."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from squat.integer.kernels import convolution_sums, event_sums, spiking_layer
from squat.integer.parts import Layer, Neurons
from squat.integer.plain import Codes, per_neuron
from squat.integer.states import ComputedState, States, SummedState
from squat.integer.states_kernel import StateTables, layer_of_states
from squat.ops.encoder import Encoder, make_encoder
from squat.ops.pool import on_threads
from squat.ops.row_sums import padded
from squat.ops.simd import LANES

FLOAT32_EXACT = 2**24


class Machine(NamedTuple):
    """The tables of a layer's neurons as its loop reads them."""

    table: np.ndarray
    encoder: Encoder
    bound: np.ndarray
    bias: np.ndarray


def synaptic_sums(layer: Layer, x: np.ndarray, first: int | None) -> np.ndarray:
    """As in `plain.py`."""
    rows = np.ascontiguousarray(x).reshape(-1, *layer.input_shape)
    if layer.is_convolution:
        return _convolution_sums(layer, rows, first).reshape(*x.shape[:2], *layer.output_shape)
    if _is_binary(layer, first):
        out = np.empty((len(rows), layer.size), np.int32)
        event_sums(rows, first or 1, _event_rows(layer, True, False), out)
    else:
        exact = int(np.abs(layer.sum_range).max()) < FLOAT32_EXACT
        kind = np.dtype(np.float32 if exact else np.float64)
        weight = layer.counted_weights(np.int32)[0]
        out = (rows.astype(kind) @ weight.T.astype(kind)).astype(np.int32)
    return out.reshape(*x.shape[:2], layer.size)


def layer_codes(layer: Layer, x: np.ndarray, first: int | None, codes: Codes | None, steps: int) -> Codes:
    """As in `plain.py`; the events of a layer without kernels are added in the loop over time."""
    batch, constant = x.shape[1], len(x) < steps
    if layer.is_convolution or constant or not _is_binary(layer, first):
        z = synaptic_sums(layer, x, first).reshape(len(x), batch, -1)
        out = neuron_codes(layer, z, codes, steps)
    else:
        events = np.ascontiguousarray(x).reshape(steps, batch, layer.inputs)
        out = _run(layer, events, first or 1, np.empty((0, 0, 0), np.int32), codes, steps)
    return tuple(state.reshape(steps, batch, *layer.output_shape) for state in out)


def neuron_codes(layer: Layer, z: np.ndarray, codes: Codes | None, steps: int) -> Codes:
    """As in `plain.py`; recurrence by convolution goes step by step."""
    if layer.convolves_spikes:
        return _image_codes(layer, z, codes, steps)
    return _run(layer, np.empty((0, z.shape[1], 0), np.uint8), 1, np.ascontiguousarray(z), codes, steps)


def _image_codes(layer: Layer, z: np.ndarray, codes: Codes | None, steps: int) -> Codes:
    alone, batch = _without_recurrence(layer), z.shape[1]
    out: list[Codes] = []
    for t in range(steps):
        total = z[min(t, len(z) - 1)]
        if codes is not None and layer.neurons is not None:
            spikes = layer.neurons.spikes(codes).astype(np.uint8).reshape(batch, *layer.output_shape)
            recurrent = _convolved(spikes, _kernels(layer)[1], (1, 1), layer.recurrent_padding, 1)
            total = total + recurrent.reshape(batch, -1)
        out.append(tuple(state[0] for state in neuron_codes(alone, total[None], codes, 1)))
        codes = out[-1]
    return tuple(np.stack(states) for states in zip(*out, strict=True))


def _run(layer: Layer, x: np.ndarray, first: int, z: np.ndarray, codes: Codes | None, steps: int) -> Codes:
    machine = layer.neurons
    if machine is None:
        raise ValueError(f"{layer.name}: has no neurons")
    shape = (steps, x.shape[1], layer.size)
    weight = _event_rows(layer, x.size > 0, layer.recurrent is not None)
    if isinstance(machine, States):
        return _run_states(layer, machine, x, first, weight, z, codes, shape)
    tables, out = _machine(layer), np.empty(shape, np.uint8)
    start = np.zeros((0, 0), np.uint8) if codes is None else np.ascontiguousarray(codes[0])
    spiking_layer(
        x, first, x.shape[2], weight, z, start, codes is None, np.int32(machine.shift), tables.table, tables.encoder,
        tables.bound, tables.bias, machine.first, machine.drop_input, out,
    )  # fmt: skip
    return (out,)


def _run_states(
    layer: Layer, machine: States, x: np.ndarray, first: int, weight: np.ndarray, z: np.ndarray, codes: Codes | None,
    shape: tuple[int, ...],
) -> Codes:  # fmt: skip
    out = np.empty((len(machine.states), *shape), np.uint8)
    start = np.zeros((0, 0, 0), np.uint8) if codes is None else np.stack(codes)
    ruler = -1 if machine.ruler is None else machine.ruler
    on_threads(
        get_num_threads(), layer_of_states, shape[1], x, first, x.shape[2], weight, z, start, _state_tables(layer),
        machine.first, ruler, out,
    )  # fmt: skip
    return tuple(out)


def _is_binary(layer: Layer, first: int | None) -> bool:
    """Whether every input is a spike or none."""
    return first is not None or layer.takes_spikes


@lru_cache(maxsize=64)
def _state_tables(layer: Layer) -> tuple[StateTables, ...]:
    machine, size = layer.neurons, layer.size
    if not isinstance(machine, States):
        raise ValueError(f"{layer.name}: its neurons have one state")
    return tuple(
        _summed(state, size) if isinstance(state, SummedState) else _computed(state, size) for state in machine.states
    )


def _summed(state: SummedState, size: int) -> StateTables:
    bound = per_neuron(state.bound, size) if len(state.bound) > 1 else state.bound[:0]
    bias = np.zeros(1, np.int32) if state.bias is None else state.bias
    return StateTables(
        gain=np.array(state.gain, np.int32),
        values=np.stack([per_neuron(rows, size) for rows in state.table]),
        bound=np.ascontiguousarray(bound),
        encoder=make_encoder(state.bound[0]),
        bias=np.resize(per_neuron(bias, size), size),
        shift=state.shift,
        sources=np.zeros(0, np.int64),
        codes=np.zeros((0, 0, 0), np.uint8),
        fresh=0,
    )


def _computed(state: ComputedState, size: int) -> StateTables:
    none = np.zeros(0, np.int32)
    return StateTables(
        gain=none, values=np.zeros((2, 0, 0), np.int32), bound=np.zeros((0, 0), np.int32),
        encoder=make_encoder(np.zeros(1, np.int32)), bias=none, shift=0,
        sources=np.array(state.sources, np.int64), codes=per_neuron(state.table, size), fresh=2**state.bits,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _machine(layer: Layer) -> Machine:
    neurons = layer.neurons
    if not isinstance(neurons, Neurons):
        raise ValueError(f"{layer.name}: its neurons have several states")
    size = layer.size
    table = np.pad(neurons.table, ((0, 0), (0, max(0, LANES - neurons.codes))))
    own = len(neurons.bound) > 1
    bound = per_neuron(neurons.bound, size) if own else neurons.bound[:0]
    bias = np.zeros(size, np.int32) if neurons.bias is None else np.resize(per_neuron(neurons.bias, size), size)
    return Machine(per_neuron(table, size), make_encoder(neurons.bound[0]), np.ascontiguousarray(bound), bias)


@lru_cache(maxsize=64)
def _event_rows(layer: Layer, inputs: bool, recurrent: bool) -> np.ndarray:
    """A padded row for each input, then one for each recurrent spike; int16 where no sum leaves it, else int32."""
    counted = layer.counted_weights(np.int32)
    parts = [weight.T for weight, wanted in zip(counted, (inputs, recurrent), strict=False) if wanted]
    kind = np.int16 if int(np.abs(layer.sum_range).max()) < 2**15 else np.int32
    if not parts:
        return np.empty((0, 0), np.int16)
    rows = np.concatenate(parts, dtype=kind, casting="unsafe")
    wide = np.zeros((len(rows), padded(rows.shape[1], rows.itemsize)), kind)
    wide[:, : rows.shape[1]] = rows
    return wide


@lru_cache(maxsize=64)
def _kernels(layer: Layer) -> list[np.ndarray]:
    """The weights of a convolution, and those of its recurrence if it has one, output channels last."""
    return [np.ascontiguousarray(np.moveaxis(weight, 0, -1)) for weight in layer.counted_weights(np.int32)]


@lru_cache(maxsize=64)
def _without_recurrence(layer: Layer) -> Layer:
    return replace(layer, recurrent=None)


def _convolution_sums(layer: Layer, rows: np.ndarray, first: int | None) -> np.ndarray:
    sums = _convolved(rows, _kernels(layer)[0], layer.stride, layer.padding, first or 0)
    return (sums if layer.pool is None else layer.pool(sums)).reshape(len(rows), -1)


def _convolved(
    rows: np.ndarray, kernel: np.ndarray, stride: tuple[int, int], padding: tuple[int, int], first: int
) -> np.ndarray:
    """Sums `[R, C', H', W']` of images `[R, C, H, W]`."""
    sizes = zip(rows.shape[2:], padding, kernel.shape[1:3], stride, strict=True)
    image = [(size + 2 * pad - width) // step + 1 for size, pad, width, step in sizes]
    out = np.empty((len(rows), *image, kernel.shape[3]), np.int32)
    convolution_sums(rows, first, kernel, stride, padding, out)
    return np.moveaxis(out, -1, 1)
