"""Vector instructions that the compiler does not find by itself, as numba intrinsics on rows of arrays.

Most are generic LLVM vectors, which every processor has in some width. Two need instructions of AVX-512 (compressing
and permuting registers); elsewhere plain loops take their place. Positions are flat indices into C-contiguous arrays;
nothing is checked, so a caller leaves room for `LANES` entries wherever it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from squat.kernels.jit import jit

LANES = 16
"""Entries that one of these instructions handles."""
HAS_AVX512 = "+avx512f" in cpu_target.target_context.codegen()._tm_features.split(",")
"""Whether code is compiled for a processor with AVX-512 (numba's own settings count)."""

_INT = ir.IntType(32)


def pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to a flat position of an array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def load(builder: Any, start: Any, vector: Any) -> Any:
    """A vector from anywhere in memory."""
    loaded = builder.load(builder.bitcast(start, vector.as_pointer()))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, start: Any) -> None:
    """A vector to anywhere in memory."""
    builder.store(value, builder.bitcast(start, value.type.as_pointer())).align = 1


def splat(builder: Any, value: Any) -> Any:
    """One value in every lane."""
    vector = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _as_bits(builder: Any, mask: Any) -> Any:
    return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), _INT)


@intrinsic
def differs(typingctx, row, at, value):
    """One bit a lane: `row[at + lane] != value`, for a float row; NaN differs."""

    def build(context, builder, signature, args):
        kind = signature.args[0]
        vector = ir.VectorType(context.get_value_type(kind.dtype), LANES)
        loaded = load(builder, pointer(context, builder, kind, args[0], args[1]), vector)
        return _as_bits(builder, builder.fcmp_unordered("!=", loaded, splat(builder, args[2])))

    return types.uint32(row, types.intp, row.dtype), build


@intrinsic
def no_integers(typingctx, row, at, low, high):
    """One bit a lane: `row[at + lane]` is no integer, or none from `low` to `high`, for a float row."""

    def build(context, builder, signature, args):
        kind = signature.args[0]
        vector = ir.VectorType(context.get_value_type(kind.dtype), LANES)
        value = load(builder, pointer(context, builder, kind, args[0], args[1]), vector)
        name = f"llvm.trunc.v{LANES}f{kind.dtype.bitwidth}"
        trunc = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        fraction = builder.fcmp_unordered("!=", value, builder.call(trunc, [value]))
        below = builder.fcmp_unordered("<", value, splat(builder, args[2]))
        above = builder.fcmp_unordered(">", value, splat(builder, args[3]))
        return _as_bits(builder, builder.or_(fraction, builder.or_(below, above)))

    return types.uint32(row, types.intp, row.dtype, row.dtype), build


@intrinsic
def at_least(typingctx, row, at, value):
    """One bit a lane: `row[at + lane] >= value`, for a row of unsigned integers."""

    def build(context, builder, signature, args):
        kind = signature.args[0]
        vector = ir.VectorType(context.get_value_type(kind.dtype), LANES)
        loaded = load(builder, pointer(context, builder, kind, args[0], args[1]), vector)
        return _as_bits(builder, builder.icmp_unsigned(">=", loaded, splat(builder, args[2])))

    return types.uint32(row, types.intp, row.dtype), build


@intrinsic
def bit_count(typingctx, bits):
    """Number of set bits."""

    def build(context, builder, signature, args):
        return builder.zext(builder.ctpop(args[0]), ir.IntType(64))

    return types.intp(types.uint32), build


@intrinsic
def _compress(typingctx, bits, base, out, at):
    """`append_places` with AVX-512."""

    def build(context, builder, signature, args):
        bits, base, out, at = args
        vector, mask = ir.VectorType(_INT, LANES), ir.VectorType(ir.IntType(1), LANES)
        short = builder.trunc(bits, ir.IntType(LANES))
        lanes = ir.Constant(vector, list(range(LANES)))
        places = builder.add(splat(builder, builder.trunc(base, _INT)), lanes)
        compress = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector, vector, mask]), "llvm.x86.avx512.mask.compress.v16i32"
        )
        packed = builder.call(compress, [places, ir.Constant(vector, [0] * LANES), builder.bitcast(short, mask)])
        store(builder, packed, pointer(context, builder, signature.args[2], out, at))
        return builder.zext(builder.ctpop(short), ir.IntType(64))

    return types.intp(types.uint32, types.intp, out, types.intp), build


@jit
def _append_one_by_one(bits, base, out, at):
    flat, count = out.ravel(), 0
    for lane in range(LANES):  # without a branch: the place of an unset bit is written again
        flat[at + count] = base + lane
        count += (bits >> np.uint32(lane)) & 1
    return np.int64(count)


append_places = _compress if HAS_AVX512 else _append_one_by_one
"""`append_places(bits, base, out, at)`: `base + lane` of every set bit, in order, to `out[at:]` (int32, with room for
`LANES` entries); returns how many."""


@intrinsic
def float_bits(typingctx, value):
    """The bits of a float32 as int32."""

    def build(context, builder, signature, args):
        return builder.bitcast(args[0], _INT)

    return types.int32(types.float32), build


def permute(builder: Any, table: Any, index: Any) -> Any:
    """`table[index]` for registers of 16 words (AVX-512)."""
    vector = ir.VectorType(_INT, LANES)
    instruction = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector, vector]), "llvm.x86.avx512.permvar.si.512"
    )
    found = builder.call(instruction, [builder.bitcast(table, vector), index])
    return builder.bitcast(found, table.type)


def gather(builder: Any, table: Any, index: Any) -> Any:
    """`table[index]` for a pointer to entries of 4 bytes (AVX-512)."""
    word, byte = ir.VectorType(_INT, LANES), ir.IntType(8).as_pointer()
    mask = ir.VectorType(ir.IntType(1), LANES)
    instruction = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(word, [word, byte, word, mask, _INT]),
        "llvm.x86.avx512.mask.gather.dpi.512",
    )
    arguments = [ir.Constant(word, [0] * LANES), builder.bitcast(table, byte), index, ir.Constant(mask, [1] * LANES)]
    return builder.bitcast(builder.call(instruction, [*arguments, _INT(4)]), ir.VectorType(table.type.pointee, LANES))


def gather_pairs(builder: Any, table: Any, index: Any) -> tuple[Any, Any]:
    """Both halves of `table[index]` for a pointer to entries of 8 bytes, in half the reads of two gathers (AVX-512)."""
    half, byte = LANES // 2, ir.IntType(8).as_pointer()
    pair, places = ir.VectorType(ir.IntType(64), half), ir.VectorType(_INT, half)
    mask, undefined = ir.VectorType(ir.IntType(1), half), ir.Constant(index.type, ir.Undefined)
    instruction = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(pair, [pair, byte, places, mask, _INT]), "llvm.x86.avx512.mask.gather.dpq.512"
    )
    found = []
    for start in (0, half):
        lanes = ir.Constant(places, list(range(start, start + half)))
        part = builder.shuffle_vector(index, undefined, lanes)
        arguments = [ir.Constant(pair, [0] * half), builder.bitcast(table, byte), part, ir.Constant(mask, [1] * half)]
        found.append(builder.bitcast(builder.call(instruction, [*arguments, _INT(8)]), index.type))
    return tuple(
        builder.shuffle_vector(*found, ir.Constant(index.type, list(range(first, 2 * LANES, 2)))) for first in (0, 1)
    )


def search(builder: Any, value: Any, table: Any, compare: Any) -> Any:
    """How many of the 15 sorted bounds in a register each value exceeds (AVX-512)."""
    word = ir.VectorType(_INT, LANES)
    count = ir.Constant(word, [0] * LANES)
    for step in (8, 4, 2, 1):
        bound = permute(builder, table, builder.add(count, ir.Constant(word, [step - 1] * LANES)))
        more = ir.Constant(word, [step] * LANES), ir.Constant(word, [0] * LANES)
        count = builder.add(count, builder.select(compare(">", value, bound), *more))
    return count


@intrinsic
def _count_above(typingctx, values, bounds, out, at):
    """`out[at : at + LANES]` = how many of 15 sorted `bounds` (one more as padding) each value exceeds (AVX-512)."""

    def build(context, builder, signature, args):
        values, bounds, out, at = args
        kinds = signature.args
        if kinds[0].dtype.bitwidth != 32:  # behind a test of the size at run time
            return context.get_dummy_value()
        entry = context.get_value_type(kinds[0].dtype)
        compare = builder.fcmp_ordered if isinstance(kinds[0].dtype, types.Float) else builder.icmp_signed
        vector = ir.VectorType(entry, LANES)
        value = load(builder, pointer(context, builder, kinds[0], values, at), vector)
        table = load(builder, pointer(context, builder, kinds[1], bounds, at.type(0)), vector)
        count = search(builder, value, table, compare)
        store(builder, count, pointer(context, builder, kinds[2], out, at))
        return context.get_dummy_value()

    return types.void(values, bounds, out, types.intp), build


def _lookup(in_register: bool) -> Callable[..., None]:
    @intrinsic
    def lookup(typingctx, table, index, out, at):
        """`out[at : at + LANES] = table[index[at : at + LANES]]` for entries of 4 bytes (AVX-512)."""

        def build(context, builder, signature, args):
            table, index, out, at = args
            kinds = signature.args
            if kinds[0].dtype.bitwidth != 32:  # behind a test of the size at run time
                return context.get_dummy_value()
            word, entry = ir.VectorType(_INT, LANES), context.get_value_type(kinds[0].dtype)
            vector = ir.VectorType(entry, LANES)
            places = load(builder, pointer(context, builder, kinds[1], index, at), word)
            start = pointer(context, builder, kinds[0], table, at.type(0))
            if in_register:
                found = permute(builder, load(builder, start, vector), places)
            else:
                found = gather(builder, start, places)
            store(builder, found, pointer(context, builder, kinds[2], out, at))
            return context.get_dummy_value()

        return types.void(table, index, out, types.intp), build

    return lookup


_lookup_in_register, _lookup_in_memory = _lookup(True), _lookup(False)


@jit
def _count_above_plain(values, bounds, out, at):
    for n in range(at, at + LANES):
        out[n] = 0
    for k in range(LANES - 1):
        for n in range(at, at + LANES):
            out[n] += np.int32(values[n] > bounds[k])


@jit
def _lookup_plain(table, index, out, at):
    for n in range(at, at + LANES):
        out[n] = table[index[n]]


count_above = _count_above if HAS_AVX512 else _count_above_plain
"""`count_above(values, bounds, out, at)`: how many of 15 sorted bounds (int32 or float32, padded to 16) each value of a
group exceeds, to int32 `out`."""
lookup_16 = _lookup_in_register if HAS_AVX512 else _lookup_plain
"""`lookup_16(table, index, out, at)`: `table[index]` of a group, for 16 entries of 4 bytes, indices int32."""
lookup = _lookup_in_memory if HAS_AVX512 else _lookup_plain
"""`lookup(table, index, out, at)`: the same for a table of any length."""
