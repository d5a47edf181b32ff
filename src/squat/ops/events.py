"""Products with spikes: rows of weights are added instead of multiplied (numba, CPU).

Spikes are found once and kept as one bit an input, for the backward pass too. Where they are sparse, adding a row of
weights for each costs a fraction of the dense product. Sums of integers are exact in any order; for gradients the order
of the samples is kept, whatever the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import get_num_threads, prange
from torch import Tensor

from squat.kernels.jit import jit
from squat.ops.choice import adds_rows
from squat.ops.row_sums import SAMPLES, VECTOR_BYTES, add_products_of, padded, sum_rows_of
from squat.ops.simd import LANES, append_places, at_least, bit_count, differs
from squat.ops.threads import use_torch_threads

MAX_DENSITY = 0.5
"""Above this share of spikes the dense forward product is as fast."""
MAX_GRADIENT_DENSITY = 0.25
"""The same for the weight gradient."""
NARROW = 2**15
"""A weight gradient of so few entries stays in the first-level cache: spikes need not be sorted by input."""
PART_ROWS, PARTS = 512, 8
"""Rows of a partial sum of a narrow gradient, and the most of them: the number of threads plays no part."""
THIN = 64
"""Up to so many outputs the input gradient is faster than the dense product's."""
MIN_SIZE = 2**14
"""Below this many inputs the dense product is over before the spikes are found."""
CHUNK = 64
"""Rows of a task."""
RESIDENT = 2**18
"""Gradient entries that stay in the second-level cache while events are added to every input."""


class Events(NamedTuple):
    """The spikes of rows `[R, in]`: one bit an input, in words of 16, and each row's number of spikes."""

    bits: np.ndarray
    count: np.ndarray
    inputs: int

    @property
    def density(self) -> float:
        """Share of inputs that spike."""
        return float(self.count.sum()) / max(1, len(self.count) * self.inputs)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Bits and counts as tensors that share their memory."""
        return torch.from_numpy(self.bits.view(np.int16)), torch.from_numpy(self.count)

    @classmethod
    def of_tensors(cls, bits: Tensor, count: Tensor, inputs: int) -> Events:
        """The inverse of `tensors`."""
        return cls(bits.numpy().view(np.uint16), count.numpy(), inputs)


def events_of(rows: Tensor) -> Events | None:
    """The spikes of `[R, in]` on the CPU, or None where an entry is neither 0 nor 1 or the rows are too few."""
    if rows.device.type != "cpu" or rows.dtype not in (torch.float32, torch.float64) or rows.numel() < MIN_SIZE:
        return None
    array = rows.detach().contiguous().numpy()
    use_torch_threads(array.size)
    events = _no_events(*array.shape)
    return events if _pack(array, events.bits, events.count) else None


def events_of_codes(codes: Tensor, first: int) -> Events:
    """The spikes of uint8 codes `[R, N]`: those from the first firing code on."""
    use_torch_threads(codes.numel())
    events = _no_events(*codes.shape)
    _pack_codes(codes.contiguous().numpy(), min(first, 255), first < 256, events.bits, events.count)
    return events


def add_weight_rows(events: Events, weight: Tensor) -> Tensor:
    """`x @ weight.T` for spikes `x` and integer-valued `weight [N, in]`, columns added or multiplied. `[R, N]`."""
    if not adds_rows("forward", events.density, MAX_DENSITY):
        return dense_rows(events, weight.dtype) @ weight.detach().T
    use_torch_threads(len(events.count) * events.inputs)
    out = torch.empty(len(events.count), weight.shape[0], dtype=weight.dtype)
    low, high = weight.detach().aminmax()
    columns = weight.detach().T
    if max(-float(low), float(high)) * int(events.count.max(initial=0)) < 2**15:
        columns = columns.to(torch.int16)
    _gather(events.bits, events.count, padded_rows(columns), out.numpy())
    return out


def add_gradient_rows(events: Events, g: Tensor) -> Tensor:
    """`g.T @ x` for spikes `x` and `g [R, N]`, its rows added to the inputs that spiked, or multiplied. `[N, in]`."""
    if not adds_rows("weight gradient", events.density, MAX_GRADIENT_DENSITY):
        return g.detach().T @ dense_rows(events, g.dtype)
    use_torch_threads(len(events.count) * events.inputs)
    rows = padded_rows(g.detach())
    if events.inputs * rows.shape[1] <= NARROW:
        count = max(1, min(PARTS, len(rows) // PART_ROWS))
        parts = torch.zeros(count, events.inputs, rows.shape[1], dtype=g.dtype)
        _scatter_narrow(events.bits, events.count, rows, parts.numpy())
        return parts.sum(0)[:, : g.shape[1]].T
    total = torch.empty(events.inputs, rows.shape[1], dtype=g.dtype)
    begin, index = _by_input(events.bits, events.count, events.inputs, max(1, RESIDENT // rows.shape[1]))
    _scatter(begin, index, rows, get_num_threads(), total.numpy())
    return total[:, : g.shape[1]].T


def thin_product(g: Tensor, weight: Tensor) -> Tensor:
    """`g @ weight` for gradients `g [R, N]` of few outputs and `weight [N, in]`, its rows shared by some samples."""
    whole = weight.shape[1] == padded(weight.shape[1], weight.element_size(), 4)
    thin = g.shape[1] <= THIN and g.numel() >= MIN_SIZE and g.dtype == weight.dtype == torch.float32
    if g.device.type != "cpu" or not (whole and thin):
        return g @ weight
    out = torch.empty(len(g), weight.shape[1])
    use_torch_threads(out.numel())
    _thin_product(g.detach().contiguous().numpy(), weight.detach().contiguous().numpy(), out.numpy())
    return out


def dense_rows(events: Events, dtype: torch.dtype) -> Tensor:
    """The spikes as `[R, in]` zeros and ones."""
    out = torch.empty(len(events.count), events.inputs, dtype=dtype)
    _unpack(events.bits, out.numpy())
    return out


def _no_events(rows: int, inputs: int) -> Events:
    return Events(np.empty((rows, -(-inputs // LANES)), np.uint16), np.empty(rows, np.int64), inputs)


def padded_rows(table: Tensor, vectors: int = 1) -> np.ndarray:
    """`[rows, width]` with a width that fills whole groups of vectors."""
    width = padded(table.shape[1], table.element_size(), vectors)
    if width == table.shape[1]:
        return table.contiguous().numpy()
    wide = torch.zeros(table.shape[0], width, dtype=table.dtype)
    wide[:, : table.shape[1]] = table
    return wide.numpy()


@jit(parallel=True)
def _pack(rows, bits, count):
    """Fills bits and counts; False if an entry is neither 0 nor 1."""
    tasks = (rows.shape[0] + CHUNK - 1) // CHUNK
    other = np.zeros(tasks, np.uint32)
    zero, one = rows.dtype.type(0), rows.dtype.type(1)
    whole = rows.shape[1] // LANES * LANES
    for task in prange(tasks):
        wrong = np.uint32(0)
        for r in range(task * CHUNK, min((task + 1) * CHUNK, rows.shape[0])):
            row, size = rows[r], 0
            for j in range(0, whole, LANES):
                spikes = differs(row, j, zero)
                wrong |= spikes & differs(row, j, one)
                bits[r, j // LANES] = spikes
                size += bit_count(spikes)
            if whole < row.size:
                last = np.uint32(0)
                for j in range(whole, row.size):
                    last |= np.uint32(row[j] != zero) << np.uint32(j - whole)
                    wrong |= np.uint32(row[j] != zero) & np.uint32(row[j] != one)
                bits[r, whole // LANES] = last
                size += bit_count(last)
            count[r] = size
        other[task] = wrong
    return not other.any()


@jit(parallel=True)
def _unpack(bits, rows):
    for r in prange(rows.shape[0]):
        row = rows[r]
        for j in range(row.size):
            row[j] = (bits[r, j // LANES] >> (j % LANES)) & 1


@jit(parallel=True)
def _pack_codes(codes, first, can_fire, bits, count):
    """Fills bits and counts of codes that fire."""
    whole = codes.shape[1] // LANES * LANES
    for r in prange(codes.shape[0]):
        row, size = codes[r], 0
        for j in range(0, whole, LANES):
            spikes = at_least(row, j, np.uint8(first)) if can_fire else np.uint32(0)
            bits[r, j // LANES] = spikes
            size += bit_count(spikes)
        if whole < row.size:
            last = np.uint32(0)
            for j in range(whole, row.size):
                last |= np.uint32(can_fire and row[j] >= first) << np.uint32(j - whole)
            bits[r, whole // LANES] = last
            size += bit_count(last)
        count[r] = size


@jit
def list_places(words, out, at):
    """Places of the set bits, in order, to `out[at:]`; returns how many."""
    count = 0
    for k in range(words.size):
        count += append_places(np.uint32(words[k]), k * LANES, out, at + count)
    return count


@jit(parallel=True)
def _gather(bits, count, columns, out):
    for task in prange((out.shape[0] + CHUNK - 1) // CHUNK):
        places = np.empty(bits.shape[1] * LANES + LANES, np.int32)
        total = np.empty(columns.shape[1], columns.dtype)
        for r in range(task * CHUNK, min((task + 1) * CHUNK, out.shape[0])):
            list_places(bits[r], places, 0)
            sum_rows_of(total, 0, columns, places, 0, count[r], 0, columns.shape[1])
            row = out[r]
            for n in range(row.size):
                row[n] = total[n]


@jit(parallel=True)
def _by_input(bits, count, inputs, size):
    """The spikes in chunks of `size` rows, sorted by input within a chunk, in the order of the rows.

    Returns where each input's begin, `[chunks, inputs + 1]`, and their rows.
    """
    chunks = (count.size + size - 1) // size
    begin = np.zeros((chunks, inputs + 1), np.int64)
    start = np.zeros(chunks + 1, np.int64)
    for c in range(chunks):
        start[c + 1] = start[c] + count[c * size : (c + 1) * size].sum()
    index = np.empty(start[chunks], np.int32)
    for c in prange(chunks):
        place = begin[c]
        places = np.empty(start[c + 1] - start[c] + LANES, np.int32)
        found = 0
        for r in range(c * size, min((c + 1) * size, count.size)):
            found += list_places(bits[r], places, found)
        for k in range(found):
            place[places[k] + 1] += 1
        place[0] = start[c]
        for j in range(inputs):
            place[j + 1] += place[j]
        following, at = place[:-1].copy(), 0
        for r in range(c * size, min((c + 1) * size, count.size)):
            for k in range(at, at + count[r]):
                index[following[places[k]]] = r
                following[places[k]] += 1
            at += count[r]
    return begin, index


@jit(parallel=True)
def _scatter_narrow(bits, count, g, parts):
    for part in prange(parts.shape[0]):
        places, total = np.empty(bits.shape[1] * LANES + LANES, np.int32), parts[part]
        first, last = count.size * part // parts.shape[0], count.size * (part + 1) // parts.shape[0]
        for r in range(first, last):
            list_places(bits[r], places, 0)
            row = g[r]
            for k in range(count[r]):
                sums = total[places[k]]
                for n in range(row.size):
                    sums[n] += row[n]


@jit(parallel=True)
def _thin_product(g, table, out):
    groups = g.shape[0] // SAMPLES
    for group in prange(groups):
        rows = out[group * SAMPLES : (group + 1) * SAMPLES]
        rows[:] = 0
        add_products_of(rows, g[group * SAMPLES : (group + 1) * SAMPLES], table, g.shape[1])
    for r in range(groups * SAMPLES, g.shape[0]):
        out[r] = 0
        for k in range(g.shape[1]):
            for n in range(table.shape[1]):
                out[r, n] += g[r, k] * table[k, n]


@jit
def _equal_parts(begin, parts):
    """Edges of ranges of inputs with about as many spikes each."""
    inputs = begin.shape[1] - 1
    total = begin[-1, inputs] - begin[0, 0]
    edges, part, seen = np.full(parts + 1, inputs), 0, 0
    for j in range(inputs):
        if part < parts and seen * parts >= part * total:
            edges[part] = j
            part += 1
        for c in range(begin.shape[0]):
            seen += begin[c, j + 1] - begin[c, j]
    edges[0] = 0
    return edges


@jit(parallel=True)
def _scatter(begin, index, g, tasks, total):
    edges = _equal_parts(begin, tasks)
    for task in prange(tasks):
        width = g.shape[1]
        block = 8 * VECTOR_BYTES // g.itemsize  # columns that one pass over the rows keeps in registers
        part = np.empty(block, g.dtype)
        for c in range(begin.shape[0]):
            for column in range(0, width, block):
                last = min(column + block, width)
                for j in range(edges[task], edges[task + 1]):
                    sum_rows_of(part, 0, g, index, begin[c, j], begin[c, j + 1], column, last)
                    row = total[j, column:last]
                    if c == 0:
                        row[:] = part[: row.size]
                    else:
                        for n in range(row.size):
                            row[n] += part[n]
