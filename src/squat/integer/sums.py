"""Synaptic sums of a further implementation against the integer weights: every weight alone, then many together.

Sums are linear, so a weight that is added for the wrong input, channel or place shows when its input is alone; lanes
that overflow show when all are on. Numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from squat.integer.parts import Layer
from squat.integer.plain import recurrent_sums, synaptic_sums

Sums = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`sums(x [R, *input_shape], spikes [R, N or 0])`: int32 `[R, *output_shape]`, of bytes and the layer's own spikes."""

CHUNK, RANDOM = 256, 8
"""Probes at a time, and random ones beside the single inputs."""


def probes(layer: Layer, largest: int, lowest: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs in a range, and recurrent spikes: each alone (inputs with each of their bits), none, all, random."""
    neurons = 0 if layer.recurrent is None else layer.size
    width, kind = layer.inputs + neurons, np.dtype(np.int8 if lowest else np.uint8)
    for value in _values(largest, lowest):
        # Recurrent spikes have one bit: they are tried once.
        for at in range(0, width if value == 1 else layer.inputs, CHUNK):
            rows = np.zeros((min(CHUNK, width - at), width), kind)
            rows[np.arange(len(rows)), at + np.arange(len(rows))] = value
            rows[:, layer.inputs :] = rows[:, layer.inputs :] > 0
            yield _split(layer, rows)
    generator = np.random.default_rng(0)
    ends = (largest, lowest) if lowest else (largest,)
    many = np.zeros((1 + len(ends) + RANDOM, width), kind)
    many[1:] = 1
    many[-RANDOM:] = generator.random((RANDOM, width)) < 0.5
    for row, value in enumerate(ends, start=1):
        many[row, : layer.inputs] = value
    many[-RANDOM:, : layer.inputs] = generator.integers(lowest, largest + 1, (RANDOM, layer.inputs))
    yield _split(layer, many)


def _values(largest: int, lowest: int) -> Iterator[int]:
    """Every bit of an input alone; of a signed one the bits below 0, and the lowest, too."""
    yield from (2**bit for bit in range(largest.bit_length()))
    if lowest:
        yield from sorted({lowest, *(-(2**bit) for bit in range((-lowest).bit_length()))})


def _split(layer: Layer, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.ascontiguousarray(rows[:, : layer.inputs]).reshape(-1, *layer.input_shape)
    return inputs, np.ascontiguousarray(rows[:, layer.inputs :]).view(np.uint8)


def compare_sums(layer: Layer, sums: Sums, largest: int, lowest: int = 0) -> tuple[int, str]:
    """How many sums were compared, and a sentence on the first that differs, empty if none does.

    Args:
        layer: whose weights.
        sums: the implementation.
        largest: input that the layer can get in its network.
        lowest: likewise.
    """
    compared = 0
    for x, spikes in probes(layer, largest, lowest):
        expected = synaptic_sums(layer, x[None], None)[0].reshape(len(x), -1).astype(np.int64)
        if spikes.shape[1]:
            expected += recurrent_sums(layer, spikes)
        found = sums(x, spikes).reshape(expected.shape)
        if not np.array_equal(found, expected):
            row, neuron = (int(place) for place in np.argwhere(found != expected)[0])
            on = [*np.flatnonzero(x[row]).tolist(), *(f"spike {n}" for n in np.flatnonzero(spikes[row]).tolist())]
            which = f"input {on[0]}" if len(on) == 1 else f"{len(on)} inputs and spikes"
            text = f"layer {layer.name!r}, neuron {neuron}: {which} give the sum {found[row, neuron]}"
            return compared, f"{text}, the weights {expected[row, neuron]}"
        compared += expected.size
    return compared, ""
