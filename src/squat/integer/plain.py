"""The engine in plain numpy: the specification of what `compiled.py` does, and its fallback.

Sums are formed in float64, exact for integers below 2**53, since numpy multiplies integer matrices slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from squat.integer.parts import Layer, Neurons
from squat.integer.states import States, next_codes

Codes = tuple[np.ndarray, ...]
"""Codes of a layer, one array for each state of its neurons."""


def synaptic_sums(layer: Layer, x: np.ndarray, first: int | None) -> np.ndarray:
    """Sums of the input weights, pooled where the layer pools them, int32 `[S, B, *output_shape]`.

    Args:
        layer: whose weights.
        x: bytes `[S, B, *input_shape]`, of a signed network's input int8.
        first: if None, `x` counts as it is; else codes from `first` on are spikes.
    """
    values = x.astype(np.float64) if first is None else (x >= first).astype(np.float64)
    weight = layer.counted_weights(np.float64)[0]
    if not layer.is_convolution:
        return (values @ weight.T).astype(np.int32)
    sums = _convolved(values, weight, layer.stride, layer.padding)
    return sums if layer.pool is None else layer.pool(sums)


def _convolved(values: np.ndarray, weight: np.ndarray, stride: tuple[int, int], padding: tuple[int, int]) -> np.ndarray:
    (down, right), (top, left) = stride, padding
    padded = np.pad(values, ((0, 0),) * 3 + ((top, top), (left, left)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(3, 4))[:, :, :, ::down, ::right]
    return np.moveaxis(np.tensordot(windows, weight, axes=((2, 5, 6), (1, 2, 3))), -1, 2).astype(np.int32)


def layer_codes(layer: Layer, x: np.ndarray, first: int | None, codes: Codes | None, steps: int) -> Codes:
    """Codes of a layer through time, uint8 `[T, B, *output_shape]`, from inputs as in `synaptic_sums`."""
    z = synaptic_sums(layer, x, first)
    out = neuron_codes(layer, z.reshape(*z.shape[:2], -1), codes, steps)
    return tuple(state.reshape(steps, x.shape[1], *layer.output_shape) for state in out)


def neuron_codes(layer: Layer, z: np.ndarray, codes: Codes | None, steps: int) -> Codes:
    """Codes of a layer's neurons through time, uint8 `[T, B, N]` for each state.

    Args:
        layer: with neurons.
        z: sums of the inputs, int32 `[T or 1, B, N]`.
        codes: uint8 `[B, N]` before the first step for each state, or None off the grid.
        steps: T.
    """
    machine = layer.neurons
    if machine is None:
        raise ValueError(f"{layer.name}: has no neurons")
    if isinstance(machine, States):
        return _codes_of_states(layer, machine, z, codes, steps)
    return (_codes(layer, machine, z, None if codes is None else codes[0], steps),)


def _codes_of_states(layer: Layer, machine: States, z: np.ndarray, codes: Codes | None, steps: int) -> Codes:
    out = tuple(np.empty((steps, *z.shape[1:]), np.uint8) for _ in machine.states)
    for t in range(steps):
        total = z[min(t, len(z) - 1)]
        if codes is not None and layer.recurrent is not None:
            total = total + recurrent_sums(layer, machine.spikes(codes))
        codes = next_codes(machine, total, codes, z.shape[2])
        for kept, code in zip(out, codes, strict=True):
            kept[t] = code
    return out


def _codes(layer: Layer, machine: Neurons, z: np.ndarray, codes: np.ndarray | None, steps: int) -> np.ndarray:
    size = z.shape[2]
    bias = 0 if machine.bias is None else per_neuron(machine.bias, size)
    table, bound = per_neuron(machine.table, size), per_neuron(machine.bound, size)
    rows = np.arange(size) if len(table) > 1 else np.zeros(size, np.int64)
    out = np.empty((steps, *z.shape[1:]), np.uint8)
    for t in range(steps):
        total = z[min(t, len(z) - 1)]
        if codes is not None and layer.recurrent is not None:
            total = total + recurrent_sums(layer, codes >= machine.first)
        acc = (total << machine.shift) + bias
        if codes is not None:
            acc = acc + table[rows, codes]
            if machine.drop_input:
                acc = np.where(codes >= machine.first, 0, acc)
        codes = out[t] = _encode(acc, bound, machine)
    return out


def per_neuron(values: np.ndarray, size: int) -> np.ndarray:
    """Rows of channels repeated for every position; one row stays one."""
    return values if len(values) in (1, size) else np.repeat(values, size // len(values), axis=0)


def recurrent_sums(layer: Layer, spikes: np.ndarray) -> np.ndarray:
    """Sums of the recurrent weights, int32 `[B, N]`, from last spikes `[B, N]`."""
    values, weight = spikes.astype(np.float64), layer.counted_weights(np.float64)[1]
    if not layer.is_convolution:
        return (values @ weight.T).astype(np.int32)
    images = values.reshape(1, len(values), *layer.output_shape)
    return _convolved(images, weight, (1, 1), layer.recurrent_padding).reshape(values.shape)


def _encode(acc: np.ndarray, bound: np.ndarray, machine: Neurons) -> np.ndarray:
    if len(bound) == 1:
        return np.searchsorted(bound[0], acc).astype(np.uint8)
    code = np.zeros(acc.shape, np.uint8)
    for k in range(machine.codes - 1):
        code += acc > bound[:, k]
    return code
