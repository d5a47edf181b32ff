"""How weights and states lie in the memory of the C runtime: packed words, offsets, sizes. Numbers only, no C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from squat.integer import IntegerNetwork, Layer
from squat.text import brief

WORD_BITS = 32
EVENT_LIMIT = 2**16
"""Inputs that an event's 16 bits can name."""


def stored_bits(bits: int) -> int:
    """Bits that a packed entry takes: the next of 2, 4, 8.

    Example:
        >>> [stored_bits(bits) for bits in (1, 2, 3, 5)]
        [2, 2, 4, 8]
    """
    return next(width for width in (2, 4, 8) if bits <= width)


def packed_rows(weight: np.ndarray, bits: int) -> np.ndarray:
    """Rows of weights as words: lowest bits first, with an offset of `2**(bits - 1)`, filled up to whole words.

    Args:
        weight: int8 `[rows, channels]`.
        bits: of a stored weight, 2, 4 or 8.

    Example:
        >>> [hex(word) for word in packed_rows(np.array([[1, -1, 0]], np.int8), 4)[0]]
        ['0x879']
    """
    fields = WORD_BITS // bits
    rows, channels = weight.shape
    words = -(-channels // fields)
    wide = np.zeros((rows, words * fields), np.uint32)
    wide[:, :channels] = (weight.astype(np.int64) + 2 ** (bits - 1)).astype(np.uint32)
    shifts = np.arange(fields, dtype=np.uint32) * np.uint32(bits)
    return np.bitwise_or.reduce(wide.reshape(rows, words, fields) << shifts, axis=2)


def input_rows(layer: Layer) -> np.ndarray:
    """A row for each input, or for each channel and place of a kernel: int8 `[rows, channels]`."""
    return np.ascontiguousarray(layer.weight.reshape(layer.channels, -1).T)


def largest_input(layer: Layer) -> int:
    """The largest magnitude of an input: at 1 inputs are spikes, perhaps signed, and come as bits, else as bytes."""
    return max(layer.input_max, -layer.input_min)


@dataclass(frozen=True)
class Place:
    """Where a layer's codes and spikes begin, and how many of each position and place there are."""

    code_offset: int
    spike_offset: int
    channels: int
    positions: int


@dataclass(frozen=True)
class Memory:
    """Bytes and entries of everything that changes while a network runs.

    Attributes:
        places: of each layer.
        codes, spikes, before, input: bytes.
        sums, part, held, output: entries of 4 bytes.
        scores: entries of 8 bytes.
    """

    places: tuple[Place, ...]
    codes: int
    spikes: int
    before: int
    input: int
    sums: int
    part: int
    held: int
    output: int
    scores: int

    __repr__ = brief

    @property
    def bytes(self) -> int:
        """All of it, pointers and padding apart."""
        words = self.sums + self.part + self.held + self.output
        return self.codes + self.spikes + self.before + self.input + 4 * words + 8 * self.scores


def memory(net: IntegerNetwork) -> Memory:
    """The memory that a network needs."""
    places, codes, spikes = [], 0, 0
    for layer in net.layers:
        outputs, channels = int(np.prod(layer.output_shape)), layer.output_shape[0]
        places.append(Place(codes, spikes, channels, outputs // channels))
        if not isinstance(layer, Layer):
            spikes += outputs
        elif layer.neurons is not None:
            codes += sum(code_bytes(bits, outputs) for bits in layer.neurons.widths)
            spikes += -(-outputs // 8)
    first = net.first
    bitmap = -(-first.inputs // 8)
    return Memory(
        places=tuple(places),
        codes=codes,
        spikes=spikes,
        before=max((-(-layer.size // 8) for layer in net.neuron_layers if layer.convolves_spikes), default=0),
        input=2 * bitmap if net.input_min else bitmap,
        sums=max(layer.channels for layer in net.layers if isinstance(layer, Layer)),
        part=max((layer.channels for layer in net.layers if isinstance(layer, Layer) and layer.pool), default=0),
        held=first.size if largest_input(first) > 1 else 0,
        output=net.last.size if net.last.neurons is None else 0,
        scores=net.last.size if net.readout is not None else 0,
    )


def code_bytes(bits: int, size: int) -> int:
    """Bytes of packed codes."""
    return -(-size * stored_bits(bits) // 8)
