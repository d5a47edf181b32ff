"""Products with inputs that are mostly zero: rows are added instead of multiplied (numba, CPU).

Spikes are sparse, so listing the non-zero inputs once and adding a row of weights for each costs a fraction of the
dense product. Sums of integers are exact in any order; for gradients the order of the samples is kept, whatever the
number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from squat.ops.lif.rows import EXACT

MAX_DENSITY = 0.15
"""Above this share of non-zero inputs the dense product is as fast."""
MAX_ROW_DENSITY = 0.4
"""The same for a single row: what there is room for."""
MIN_SIZE = 2**16
"""Below this many inputs the dense product is over before the list is made."""
CHUNK = 64
"""Rows of a task when events are listed."""


class Events(NamedTuple):
    """The non-zero entries of rows `[R, in]`: row `r` has `count[r]`, at `index[r, :count[r]]`."""

    count: np.ndarray
    index: np.ndarray
    value: np.ndarray


def events_of(rows: Tensor) -> Events | None:
    """The non-zero entries of `[R, in]` on the CPU, or None where the dense product serves better."""
    if rows.device.type != "cpu" or rows.dtype not in (torch.float32, torch.float64) or rows.numel() < MIN_SIZE:
        return None
    array = rows.detach().contiguous().numpy()
    shape = (len(array), int(MAX_ROW_DENSITY * array.shape[1]) + 1)
    events = Events(np.empty(shape[0], np.int64), np.empty(shape, np.int32), np.empty(shape, array.dtype))
    _list(array, *events)
    sparse = events.count.sum() <= MAX_DENSITY * array.size and events.count.max() < shape[1]
    return events if sparse else None


def add_weight_rows(events: Events, weight: Tensor) -> Tensor:
    """`x @ weight.T` for `weight [N, in]`: for each event its column of weights is added. Returns `[R, N]`."""
    columns = weight.detach().T.contiguous().numpy()
    out = torch.empty(len(events.count), weight.shape[0], dtype=weight.dtype)
    _gather(*events, columns, out.numpy())
    return out


def add_gradient_rows(events: Events, g: Tensor, in_features: int) -> Tensor:
    """`g.T @ x` for `g [R, N]`: for each event the row's gradient is added to its input. Returns `[N, in]`."""
    total = torch.zeros(in_features, g.shape[1], dtype=g.dtype)
    _scatter(*_by_input(*events, in_features), g.detach().contiguous().numpy(), total.numpy())
    return total.T


@njit(parallel=True, **EXACT)
def _list(rows, count, index, value):
    room = index.shape[1] - 1
    for chunk in prange((rows.shape[0] + CHUNK - 1) // CHUNK):
        for r in range(chunk * CHUNK, min((chunk + 1) * CHUNK, rows.shape[0])):
            row, found, size = rows[r], index[r], 0
            for j in range(row.size):  # without a branch: the place of a zero is written again
                found[min(size, room)] = j
                size += np.int64(row[j] != 0)
            count[r] = size
            for k in range(min(size, room)):
                value[r, k] = row[found[k]]


@njit(parallel=True, **EXACT)
def _gather(count, index, value, columns, out):
    for r in prange(out.shape[0]):
        row = out[r]
        row[:] = 0
        for k in range(count[r]):
            _add_scaled(row, columns[index[r, k]], value[r, k])


@njit(**EXACT)
def _by_input(count, index, value, inputs):
    """The same events sorted by input, in the order of the rows: where each input's begin, their rows and values."""
    begin = np.zeros(inputs + 1, np.int64)
    for r in range(count.size):
        for k in range(count[r]):
            begin[index[r, k] + 1] += 1
    for j in range(inputs):
        begin[j + 1] += begin[j]
    place = begin[:-1].copy()
    rows, values = np.empty(begin[inputs], np.int32), np.empty(begin[inputs], value.dtype)
    for r in range(count.size):
        for k in range(count[r]):
            at = place[index[r, k]]
            rows[at], values[at] = r, value[r, k]
            place[index[r, k]] = at + 1
    return begin, rows, values


@njit(parallel=True, **EXACT)
def _scatter(begin, rows, values, g, total):
    for j in prange(total.shape[0]):
        row = total[j]
        k, stop = begin[j], begin[j + 1]
        while k + 4 <= stop:
            _add_four(row, g[rows[k]], g[rows[k + 1]], g[rows[k + 2]], g[rows[k + 3]], values[k : k + 4])
            k += 4
        while k < stop:
            _add_scaled(row, g[rows[k]], values[k])
            k += 1


@njit(**EXACT)
def _add_four(total, g0, g1, g2, g3, v):
    v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
    for n in range(total.size):
        total[n] = (((total[n] + g0[n] * v0) + g1[n] * v1) + g2[n] * v2) + g3[n] * v3


@njit(**EXACT)
def _add_scaled(total, row, factor):
    for n in range(total.size):
        total[n] += row[n] * factor
