"""Damaged copies of a file: truncated, bits flipped, sizes and shapes changed, with the checksum made right again."""

from __future__ import annotations

import json
import random

import numpy as np
from safetensors.numpy import load, save

from squat.integer.format import HEADER_KEY, _checksum

NUMBERS = (0, -1, 1, 2, 3, 7, 255, 256, 65536, 2**24, 2**31, 2**62, 2**63, 10**30, 0.5, None, True, "4", [], {})


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One damaged copy."""
    kinds = (_truncated, _flipped, _header_length, _other_document, _other_document, _other_tensors)
    return rng.choice(kinds)(data, rng)


def _truncated(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.7 else data[:at] + rng.randbytes(rng.randrange(64)) + data[at:]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _header_length(data: bytes, rng: random.Random) -> bytes:
    length = rng.choice((0, 1, 7, len(data), len(data) - 8, 2**24, 2**31, 2**63 - 1, 2**64 - 1, rng.randrange(2**20)))
    return length.to_bytes(8, "little") + data[8:]


def _signed(document: dict, tensors: dict) -> bytes:
    document["sha256"] = _checksum(document, tensors)
    return save(tensors, {HEADER_KEY: json.dumps(document, sort_keys=True)})


def _parts(data: bytes) -> tuple[dict, dict]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEADER_KEY]), load(data)


def _other_document(data: bytes, rng: random.Random) -> bytes:
    """A value somewhere in the document replaced or removed; the checksum fits."""
    document, tensors = _parts(data)
    place, key = document, rng.choice(("network", "network", "network", "certificate", "format", "version"))
    while isinstance(place[key], (dict, list)) and len(place[key]) and rng.random() < 0.9:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    if rng.random() < 0.15:
        del place[key]
    else:
        place[key] = rng.choice(NUMBERS)
    return _signed(document, tensors)


def _other_tensors(data: bytes, rng: random.Random) -> bytes:
    """A tensor lost, renamed, cut, filled with noise or of another type; the checksum fits."""
    document, tensors = _parts(data)
    name = rng.choice(list(tensors))
    values = tensors.pop(name)
    choice = rng.randrange(5)
    if choice == 1:
        tensors[name + "x"] = values
    elif choice == 2:
        tensors[name] = values[: rng.randrange(len(values) + 1)]
    elif choice == 3:
        tensors[name] = np.frombuffer(rng.randbytes(len(values)), np.uint8).copy()
    elif choice == 4:
        tensors[name] = values.astype(np.float32)
    return _signed(document, tensors)
