"""Damaged copies of a file: truncated, bits flipped, sizes and shapes changed, with the checksum made right again."""

from __future__ import annotations

import json
import os
import random
import resource

import numpy as np
from safetensors.numpy import load, save

from squat.integer import load as load_network
from squat.integer.format import HEADER_KEY, _checksum

NUMBERS = (0, -1, 1, 2, 3, 7, 255, 256, 65536, 2**24, 2**31, 2**62, 2**63, 10**30, 0.5, None, True, "4", [], {})


MUTATIONS = int(os.environ.get("SQUAT_MUTATIONS", "300"))
"""Damaged files that are tried; SQUAT_MUTATIONS=10000 for a long search."""


def refuse_damaged_files(machine, folder):
    """Changes that keep the checksum valid may give another valid network; that one must run."""
    path, damaged = folder / "net", folder / "damaged"
    machine.save(path)
    data, rng, refused = path.read_bytes(), random.Random(0), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(MUTATIONS):
        damaged.write_bytes(mutate(data, rng))
        found = loaded(damaged)
        if found is None:
            refused += 1
        else:
            found.run(np.zeros((2, 1, *found.input_shape), np.uint8), implementation="numpy")
    assert refused > 0.8 * MUTATIONS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def loaded(path):
    """The network, or None if the file is refused with a message that names it."""
    try:
        return load_network(path)
    except ValueError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        return None


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
