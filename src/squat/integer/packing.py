"""Integers packed at any bit width: one after the other, lowest bit first, in two's complement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer
from squat.text import brief

CHUNK = 2**16
"""Values that are unpacked at a time; a multiple of 8, so that chunks begin at whole bytes."""


class Stored(NamedTuple):
    """An array of a network, and the bits that each of its entries needs.

    Attributes:
        name: such as `"layers.0.weight"`.
        values: the entries.
        bits: of an entry, sign included.
    """

    name: str
    values: np.ndarray
    bits: int

    def __repr__(self) -> str:
        return brief(self)

    @property
    def bytes(self) -> int:
        """Bytes when packed."""
        return packed_bytes(self.values.size, self.bits)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of `count` packed entries.

    Example:
        >>> packed_bytes(5, 3)
        2
    """
    return -(-count * bits // 8)


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers as a vector of bytes.

    Example:
        >>> pack(np.array([1, -1, 2], np.int8), 3).tolist()  # 010 111 001
        [185, 0]
    """
    flat = np.ascontiguousarray(values).reshape(-1, 1).astype(values.dtype.newbyteorder("<"), copy=False)
    parts = [_pack_chunk(flat[at : at + CHUNK].view(np.uint8), bits) for at in range(0, len(flat), CHUNK)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _pack_chunk(entries: np.ndarray, bits: int) -> np.ndarray:
    return np.packbits(np.unpackbits(entries, axis=1, bitorder="little")[:, :bits], bitorder="little")


def unpack(data: np.ndarray, bits: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The integers of a vector of bytes.

    Args:
        data: uint8, exactly `packed_bytes` of them.
        bits: of an entry, at most those of `dtype`.
        shape: of the array.
        dtype: integer type; entries of an unsigned one have no sign.

    Raises:
        ValueError: for another number of bytes, or of bits.

    Example:
        >>> unpack(np.array([185, 0], np.uint8), 3, (3,), np.dtype(np.int8)).tolist()
        [1, -1, 2]
    """
    width, count = dtype.itemsize * 8, int(np.prod(shape, dtype=object))
    if not 1 <= bits <= width:
        raise ValueError(f"entries of {bits} bits, expected 1 to {width}")
    if len(data) != packed_bytes(count, bits):
        raise ValueError(f"{len(data)} bytes, expected {packed_bytes(count, bits)} for {count} entries of {bits} bits")
    out = np.empty(count, dtype.newbyteorder("<"))
    for at in range(0, count, CHUNK):
        size = min(CHUNK, count - at)
        part = data[at * bits // 8 : at * bits // 8 + packed_bytes(size, bits)]
        entries = np.unpackbits(part, count=size * bits, bitorder="little").reshape(size, bits)
        signs = np.repeat(entries[:, -1:] * np.uint8(dtype.kind == "i"), width - bits, axis=1)
        wide = np.packbits(np.concatenate((entries, signs), axis=1), axis=1, bitorder="little")
        out[at : at + size] = wide.reshape(-1).view(out.dtype)
    return out.astype(dtype, copy=False).reshape(shape)


def needed_bits(values: np.ndarray) -> int:
    """Bits that hold every entry, of a signed array in two's complement.

    Example:
        >>> needed_bits(np.array([3, -4])), needed_bits(np.array([4])), needed_bits(np.array([4], np.uint8))
        (3, 4, 3)
    """
    ends = (int(values.min()), int(values.max()))
    magnitude = max((end if end >= 0 else ~end).bit_length() for end in ends)
    return max(magnitude + int(values.dtype.kind == "i"), 1)


def stored_arrays(net: IntegerNetwork) -> Iterator[Stored]:
    """Every array that a network computes with, at its real bit width: what a file holds and what a chip must hold."""
    for index, layer in enumerate(net.layers):
        if isinstance(layer, Layer):
            for name in ("weight", "recurrent"):
                if getattr(layer, name) is not None:
                    yield Stored(f"layers.{index}.{name}", getattr(layer, name), layer.weight_bits)
            if layer.weight_shift is not None:
                yield Stored(f"layers.{index}.weight_shift", layer.weight_shift, needed_bits(layer.weight_shift))
            for name, table in () if layer.neurons is None else layer.neurons.arrays():
                yield Stored(f"layers.{index}.{name}", table, needed_bits(table))
    for name in ("bias", "multiplier", "level"):
        values = getattr(net.readout, name, None)
        if values is not None:
            yield Stored(f"readout.{name}", values, needed_bits(values))
