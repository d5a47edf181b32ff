"""A floor: a copy of what the neuron loop must read and write, compiled and in parallel as the loop is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numba import config, prange, set_num_threads

from squat.kernels.jit import jit

CHUNK = 2**14
"""Values that one task of the copy moves, as the loop's blocks do: they stay in the first-level cache."""


@jit(parallel=True)
def copy_forward(current: np.ndarray, spikes: np.ndarray, codes: np.ndarray) -> None:
    """Reads four bytes for each update and writes five, in one pass."""
    for task in prange((current.size + CHUNK - 1) // CHUNK):
        for i in range(task * CHUNK, min(current.size, (task + 1) * CHUNK)):
            spikes[i] = current[i]
            codes[i] = 1


@jit(parallel=True)
def copy_backward(gradient: np.ndarray, codes: np.ndarray, out: np.ndarray, seen: np.ndarray) -> None:
    """Reads five bytes for each update and writes four, in one pass; `seen` keeps the reading of the codes alive."""
    for task in prange((gradient.size + CHUNK - 1) // CHUNK):
        bits = np.uint8(0)
        for i in range(task * CHUNK, min(gradient.size, (task + 1) * CHUNK)):
            out[i] = gradient[i]
            bits |= codes[i]
        seen[task] = bits


def memory_copy(updates: int, way: str) -> Callable[[], object]:
    """A compiled parallel copy, on torch's number of threads, of what the loop must read and write; results allocated
    beforehand. Forward: current in, spikes and codes out. Backward: gradient and codes in, gradient out."""
    threads = torch.get_num_threads()
    values, result = np.random.default_rng(0).random(updates, np.float32), np.empty(updates, np.float32)
    codes, seen = np.ones(updates, np.uint8), np.empty(-(-updates // CHUNK), np.uint8)

    def run() -> None:
        set_num_threads(min(threads, config.NUMBA_NUM_THREADS))
        if way == "forward":
            copy_forward(values, result, codes)
        else:
            copy_backward(values, codes, result, seen)

    return run
