"""Files of a user's data with random defects, and random options: what a verb of the command line must survive."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SAMPLES, CHANNELS, CLASSES = 20, 5, 3
SCALARS: tuple[Any, ...] = (
    0, 1, 2, -1, 255, 256, 10**4, 2**31, 2**62, 2**63 - 1, np.uint64(2**64 - 1), np.int8(3), 0.5, 1e300, 1e-320, 1e-12,
    float("nan"), float("inf"), -0.0, True, 1j, "text", b"bytes", np.datetime64("2024-01-31"), np.timedelta64(5, "s"),
)  # fmt: skip
DTYPES = ("u1", "i1", "i2", "u4", "i8", "u8", "f2", "f4", "f8", ">i4", ">f8", "?", "c8", "S3", "U3", "M8[s]", "i4,f4")
SIZES = (0, -1, 1, 3, 10**4, 10**9, 2**31, 2**62, 2**63, 10**30)
REALS = ("nan", "inf", "-inf", "-1", "0", "1e-300", "1e-9", "0.5", "3", "1e9", "1e300", "text", "true")


def arrays(rng: random.Random) -> dict[str, Any]:
    """A file in order: lists of events, or dense: over time, still samples, images, signed spikes; labelled or not."""
    make = np.random.default_rng(rng.randrange(2**32))
    label = np.arange(SAMPLES) % CLASSES
    if rng.random() < 0.4:
        shape = rng.choice(((6, CHANNELS), (6, CHANNELS), (CHANNELS,), (2, 4, 4)))
        dense = {"x": make.integers(rng.choice((0, 0, -1)), 2, (SAMPLES, *shape))}
        return dense | ({"label": label} if rng.random() < 0.9 else {})
    counts = make.integers(0, 30, SAMPLES)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    times, units = make.integers(0, 1000, counts.sum()), make.integers(0, CHANNELS, counts.sum())
    return {
        "times": times, "units": units, "offsets": offsets, "time_unit_s": 1e-3, "channels": CHANNELS, "label": label
    }  # fmt: skip


def damaged(content: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with one defect: a value, a dtype, an order, a shape, an array lost, doubled or of other content."""
    content = dict(content)
    name = rng.choice(list(content))
    if rng.random() < 0.1:
        name = rng.choice(("x", "times", "split", "classes", "input_scale", "channels", "more", "label"))
    value = np.asarray(content.get(name, np.arange(SAMPLES)))
    content[name] = rng.choice(DEFECTS)(value, rng)
    if content[name] is None:
        del content[name]
    return content


def _element(value: np.ndarray, rng: random.Random) -> Any:
    """One value replaced."""
    other = rng.choice(SCALARS)
    if value.ndim == 0 or value.size == 0:
        return other
    try:
        result = value.astype(np.result_type(value.dtype, np.min_scalar_type(other)))
    except TypeError:
        result = value.astype(object)
    result.reshape(-1)[rng.randrange(value.size)] = other
    return result


def _astype(value: np.ndarray, rng: random.Random) -> Any:
    try:
        with np.errstate(all="ignore"):
            return value.astype(rng.choice(DTYPES))
    except (TypeError, ValueError):
        return value


def _shifted(value: np.ndarray, rng: random.Random) -> Any:
    try:
        return value + rng.choice((1, -1, 100, 10**4, 2**40, 0.5))
    except TypeError:
        return value


def _shuffled(value: np.ndarray, rng: random.Random) -> Any:
    return np.random.default_rng(rng.randrange(100)).permutation(value) if value.ndim else value


DEFECTS: tuple[Callable[[np.ndarray, random.Random], Any], ...] = (
    _element,
    _element,
    _element,
    _astype,
    _shifted,
    _shuffled,
    lambda value, rng: None,
    lambda value, rng: value[::-1] if value.ndim else value[None],
    lambda value, rng: value[: rng.randrange(len(value) + 1)] if value.ndim else value,
    lambda value, rng: value[..., None] if rng.random() < 0.5 else value[None],
    lambda value, rng: np.zeros_like(value),
    lambda value, rng: rng.choice(SCALARS),
    lambda value, rng: np.full(value.shape, rng.choice(SCALARS)),
    lambda value, rng: np.array([], dtype=rng.choice(DTYPES)),
    lambda value, rng: value.reshape(-1)[:1],
)


def write(path: Path, content: dict[str, Any], rng: random.Random) -> Path:
    """Write a file, sometimes in a way or with an ending that is odd; HDF5 cannot hold all that numpy can."""
    if rng.random() < 0.6:
        path = path.with_suffix(".npz")
        np.savez(path, **content)
    else:
        path = path.with_suffix(".h5")
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                try:
                    chunked = {"chunks": True} if np.ndim(value) and np.size(value) and rng.random() < 0.1 else {}
                    file.create_dataset(name, data=value, **chunked)
                except (TypeError, ValueError):
                    file.create_group(name)
    if rng.random() < 0.1:
        data = bytearray(path.read_bytes())
        for _ in range(rng.choice((1, 8, 64))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data[: rng.choice((0, 1, len(data) // 2, len(data), len(data)))])
    return path


def data_options(rng: random.Random) -> list[str]:
    """Up to two options of the loader, good or bad."""
    found = []
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        key = rng.choice(("steps", "bin_ms", "stream", "accept_loss", "channels", "seed", "layout"))
        value = rng.choice((*map(str, SIZES), *REALS))
        found += ["--data-option", f"{key}={value}"]
    if rng.random() < 0.5:
        found += ["--data-option", "accept_loss=true"]
    return found


def training_options(rng: random.Random) -> list[str]:
    """Up to two options of a training, good or bad; those that would only take long are left out."""
    whole = {"--hidden": SIZES, "--batch-size": SIZES, "--threads": (0, -1, 1, 2, 10**6, 10**30), "--seed": SIZES}
    whole |= {"--epochs": (0, -1, 1, 2**31, 10**30)}
    found = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        if rng.random() < 0.6:
            name = rng.choice(list(whole))
            found += [name, str(rng.choice(whole[name]))]
        else:
            name = rng.choice(("--learning-rate", "--beta"))
            found += [name, rng.choice(REALS)]
    return found
