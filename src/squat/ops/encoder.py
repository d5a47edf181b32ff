"""Codes of values, `#{k : value > bound[k]}`, in constant time for any sorted bounds (numba).

Up to 15 bounds are searched in one register. More are cut into buckets that a few arithmetic instructions find, and
that hold one bound each: evenly wide ones for evenly spaced levels, or ones that widen with the distance from where the
bounds lie closest (exponent and first bits of the mantissa of that distance) for exponential levels. One comparison
with the bound in the bucket then gives the code. Any monotone rule for buckets gives exact codes; bounds that no such
rule separates are searched in halves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from squat.kernels.jit import jit
from squat.ops.simd import LANES, count_above, float_bits, lookup, lookup_16

CHUNK = 4096
"""Values of a task."""
COUNT, EVEN, EXPONENTIAL, HALVES = range(4)
"""Ways to find a code."""
EVEN_SIZES = (256, 512, 1024, 2048)
MANTISSA_BITS = (3, 4, 5, 6)
"""Sizes that are tried: buckets in all, or bits of mantissa (buckets an octave)."""


class Encoder(NamedTuple):
    """How codes are found for one set of bounds.

    Attributes:
        way: `COUNT`, `EVEN`, `EXPONENTIAL` or `HALVES`.
        bounds: sorted, padded with the largest value to a power of two, at least 16.
        low: values below count as this one (the first bound).
        high: values above count as this one (just above the last bound).
        origin: where distances are measured from.
        factor: buckets per unit, for even ones.
        shift: bits of a distance below the bucket, for exponential ones.
        nearest: bucket of the smallest distance that is told apart, for exponential ones.
        bucket_bound: the bound in each bucket.
        bucket_codes: the codes below it (low byte) and above it (next byte).
        buckets: the bits of both, so that one read fetches them.
    """

    way: int
    bounds: np.ndarray
    low: Any
    high: Any
    origin: Any
    factor: np.float32
    shift: int
    nearest: int
    bucket_bound: np.ndarray
    bucket_codes: np.ndarray
    buckets: np.ndarray


def make_encoder(bounds: np.ndarray) -> Encoder:
    """The fastest way for sorted `bounds`, 1 to 255 of them, int32, float32 or float64."""
    largest = np.iinfo(np.int32).max if bounds.dtype == np.int32 else np.inf
    table = np.full(max(LANES, 1 << len(bounds).bit_length()), largest, bounds.dtype)
    table[: len(bounds)] = bounds
    kind = bounds.dtype.type
    low = bounds[0]
    if bounds.dtype == np.int32:
        high = kind(min(int(bounds[-1]) + 1, largest))
    else:
        high = np.nextafter(bounds[-1], kind(largest))
    plain = Encoder(
        COUNT if len(bounds) < LANES else HALVES, table, low, high, low, np.float32(0), 0, 0,
        np.zeros(1, bounds.dtype), np.zeros(1, np.int32), np.zeros(1, np.int64),
    )  # fmt: skip
    if len(bounds) < LANES or bounds.dtype == np.float64 or float(high) - float(low) >= 2**31:
        return plain
    with np.errstate(over="ignore"):
        return _fill_even(plain, len(bounds)) or _fill_exponential(plain, len(bounds)) or plain


def _fill_even(plain: Encoder, count: int) -> Encoder | None:
    width = float(plain.high) - float(plain.low)
    for size in EVEN_SIZES:
        filled = _filled(plain._replace(way=EVEN, factor=np.float32((size - 1) / width)), count, size)
        if filled is not None:
            return filled
    return None


def _fill_exponential(plain: Encoder, count: int) -> Encoder | None:
    bounds = plain.bounds[:count]
    gaps = np.diff(bounds.astype(np.float64))
    origin = bounds[int(np.where(gaps > 0, gaps, np.inf).argmin())]
    distances = (np.append(bounds, plain.high) - origin).astype(np.float32)
    bits = np.abs(distances[distances != 0]).view(np.int32)
    for mantissa in MANTISSA_BITS:
        shift = 23 - mantissa
        nearest = int(bits.min() >> shift) - 1
        half = int(bits.max() >> shift) - nearest
        encoder = plain._replace(way=EXPONENTIAL, origin=origin, shift=shift, nearest=nearest)
        filled = _filled(encoder, count, 2 * half + 1)
        if filled is not None:
            return filled
    return None


def _filled(encoder: Encoder, count: int, size: int) -> Encoder | None:
    """With its tables, or None where two different bounds share a bucket."""
    encoder = encoder._replace(
        bucket_bound=np.full(size, encoder.bounds[-1], encoder.bounds.dtype), bucket_codes=np.zeros(size, np.int32)
    )
    if not _fill_buckets(encoder, count):
        return None
    both = np.stack((encoder.bucket_bound.view(np.int32), encoder.bucket_codes), axis=1)
    return encoder._replace(buckets=both.view(np.int64)[:, 0])


@jit
def _fill_buckets(encoder, count):
    places = np.empty(count, np.int32)
    _find_buckets(encoder, encoder.bounds[:count], places)
    k = 0
    for j in range(encoder.bucket_codes.size):
        below = k
        if k < count and places[k] == j:
            encoder.bucket_bound[j] = encoder.bounds[k]
            while k < count and encoder.bounds[k] == encoder.bucket_bound[j]:
                k += 1
            if k < count and places[k] == j:
                return False
        encoder.bucket_codes[j] = below + (k << 8)
    return True


@jit
def _find_buckets(encoder, values, places):
    """Bucket of every value; never falls as the value rises."""
    low, high, origin = encoder.low, encoder.high, encoder.origin
    last = np.int32(encoder.bucket_codes.size - 1)
    if encoder.way == EVEN:
        factor = encoder.factor
        for n in range(places.size):
            value = values[n] if values[n] > low else low  # in this order NaN becomes low
            value = value if value < high else high
            place = np.int32(np.float32(value - low) * factor)
            places[n] = place if place < last else last
    else:
        shift, nearest, middle = np.int32(encoder.shift), np.int32(encoder.nearest), last >> np.int32(1)
        for n in range(places.size):
            value = values[n] if values[n] > low else low
            value = value if value < high else high
            distance = np.float32(value - origin)
            size = ((float_bits(distance) & np.int32(0x7FFFFFFF)) >> shift) - nearest
            size = size if size > np.int32(0) else np.int32(0)
            size = size if size < middle else middle
            places[n] = middle + (size if distance > np.float32(0) else -size)


@jit
def encode_row(values, encoder, code, bound, pair):
    """`code[n] = #{k : values[n] > bounds[k]}`; all rows have whole groups of `LANES`, `code` and `pair` are int32.

    `bound` and `pair` are for intermediate results.
    """
    if encoder.way == COUNT:
        if values.itemsize == 4:
            for at in range(0, code.size, LANES):
                count_above(values, encoder.bounds, code, at)
        else:
            _count(values, encoder.bounds, code)
    elif encoder.way == HALVES:
        _search_halves(values, encoder.bounds, code)
    else:
        _search_buckets(values, encoder, code, bound, pair)


@jit
def _search_buckets(values, encoder, code, bound, pair):
    _find_buckets(encoder, values, code)
    for at in range(0, code.size, LANES):
        lookup(encoder.bucket_bound, code, bound, at)
        lookup(encoder.bucket_codes, code, pair, at)
    for n in range(code.size):
        code[n] = (pair[n] >> np.int32(8)) if values[n] > bound[n] else (pair[n] & np.int32(255))


@jit
def _count(values, bounds, code):
    code[:] = 0
    for k in range(LANES - 1):
        for n in range(code.size):
            code[n] += np.int32(values[n] > bounds[k])


@jit
def _search_halves(values, bounds, code):
    code[:] = 0
    step = bounds.size // 2
    while step > 0:
        for n in range(code.size):
            code[n] += np.int32(step) * np.int32(values[n] > bounds[code[n] + step - 1])
        step //= 2


@jit
def lookup_row(table, code, out):
    """`out[n] = table[code[n]]`; `code` (int32) and `out` have room for whole groups of `LANES`."""
    if table.itemsize != 4:
        for n in range(out.size):
            out[n] = table[code[n]]
    elif table.size == LANES:
        for at in range(0, out.size, LANES):
            lookup_16(table, code, out, at)
    else:
        for at in range(0, out.size, LANES):
            lookup(table, code, out, at)


@jit
def encode_and_look_up(values, encoder, table, code, found, bound, pair):
    """`encode_row`, and `found[n] = table[code[n]]`; in one go where both tables are registers."""
    if encoder.way == COUNT and table.size == LANES and values.itemsize == 4:
        for at in range(0, code.size, LANES):
            count_above(values, encoder.bounds, code, at)
            lookup_16(table, code, found, at)
    else:
        encode_row(values, encoder, code, bound, pair)
        lookup_row(table, code, found)


@jit(parallel=True)
def encode_all(values, encoder, table, out):
    """`out = table[code]` for every value of a flat array; False if one is not finite."""
    tasks = (values.size + CHUNK - 1) // CHUNK
    finite = np.ones(tasks, np.bool_)
    for task in prange(tasks):
        start, stop = task * CHUNK, min((task + 1) * CHUNK, values.size)
        row, near = np.zeros(CHUNK, values.dtype), np.empty(CHUNK, values.dtype)
        code, pair = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
        total = values.dtype.type(0)
        for n in range(stop - start):
            row[n] = values[start + n]
            total += np.float32(not np.isfinite(row[n]))
        encode_row(row, encoder, code, near, pair)
        for n in range(stop - start):
            out[start + n] = table[code[n]]
        finite[task] = total == 0
    return finite.all()
