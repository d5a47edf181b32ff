"""The engine's compiled implementation: from numpy arrays to those of `kernels.py` and back; equal to `plain.py`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from squat.integer.kernels import convolution_sums, event_sums, spiking_layer
from squat.integer.parts import Layer
from squat.integer.plain import per_neuron
from squat.ops.encoder import Encoder, make_encoder
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


def layer_codes(layer: Layer, x: np.ndarray, first: int | None, codes: np.ndarray | None, steps: int) -> np.ndarray:
    """As in `plain.py`; the events of a layer without kernels are added in the loop over time."""
    batch, constant = x.shape[1], len(x) < steps
    if layer.is_convolution or constant or not _is_binary(layer, first):
        z = synaptic_sums(layer, x, first).reshape(len(x), batch, -1)
        out = neuron_codes(layer, z, codes, steps)
    else:
        events = np.ascontiguousarray(x).reshape(steps, batch, layer.inputs)
        out = _run(layer, events, first or 1, np.empty((0, 0, 0), np.int32), codes, steps)
    return out.reshape(steps, batch, *layer.output_shape)


def neuron_codes(layer: Layer, z: np.ndarray, codes: np.ndarray | None, steps: int) -> np.ndarray:
    """As in `plain.py`."""
    return _run(layer, np.empty((0, z.shape[1], 0), np.uint8), 1, np.ascontiguousarray(z), codes, steps)


def _run(layer: Layer, x: np.ndarray, first: int, z: np.ndarray, codes: np.ndarray | None, steps: int) -> np.ndarray:
    machine, tables = layer.neurons, _machine(layer)
    if machine is None:
        raise ValueError(f"{layer.name}: has no neurons")
    out = np.empty((steps, x.shape[1], layer.size), np.uint8)
    weight = _event_rows(layer, x.size > 0, layer.recurrent is not None)
    start = np.zeros((0, 0), np.uint8) if codes is None else np.ascontiguousarray(codes)
    spiking_layer(
        x, first, x.shape[2], weight, z, start, codes is None, np.int32(machine.shift), tables.table, tables.encoder,
        tables.bound, tables.bias, machine.first, machine.drop_input, out,
    )  # fmt: skip
    return out


def _is_binary(layer: Layer, first: int | None) -> bool:
    """Whether every input is a spike or none."""
    return first is not None or layer.input_max == 1


@lru_cache(maxsize=64)
def _machine(layer: Layer) -> Machine:
    neurons = layer.neurons
    if neurons is None:
        raise ValueError(f"{layer.name}: has no neurons")
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


def _convolution_sums(layer: Layer, rows: np.ndarray, first: int | None) -> np.ndarray:
    channels, *image = layer.output_shape
    weight = np.ascontiguousarray(np.moveaxis(layer.counted_weights(np.int32)[0], 0, -1))
    out = np.empty((len(rows), *image, channels), np.int32)
    convolution_sums(rows, first or 0, weight, layer.stride, layer.padding, out)
    return np.moveaxis(out, -1, 1).reshape(len(rows), -1)
