"""Sums of rows of a table, and products of few rows with one, kept in registers (numba intrinsics in LLVM vectors).

Positions are flat indices into C-contiguous arrays; nothing is checked. Tables are padded to whole vectors, see
`padded`.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from squat.kernels.jit import jit
from squat.ops.simd import load, pointer, store

_INT = ir.IntType(32)

VECTOR_BYTES = 64
"""Bytes of a vector in `sum_rows_of`, whose rows are padded to a multiple of it."""


def _sum_rows(vectors: int) -> Callable[..., None]:
    @intrinsic
    def sum_rows(typingctx, out, at, table, column, index, begin, stop):
        """`out[at : at + W] = sum over k of table[index[k], column : column + W]`; `W` entries are `vectors` full."""

        def build(context, builder, signature, args):
            out, at, table, column, index, begin, stop = args
            kinds, word = signature.args, begin.type
            entry = kinds[2].dtype
            lanes = VECTOR_BYTES // (entry.bitwidth // 8)
            vector = ir.VectorType(context.get_value_type(entry), lanes)
            add = builder.fadd if isinstance(entry, types.Float) else builder.add
            rows = context.make_array(kinds[2])(context, builder, table)
            width = builder.extract_value(rows.shape, 1)
            base, places = builder.gep(rows.data, [column]), context.make_array(kinds[4])(context, builder, index).data

            before = builder.block
            head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            k, sums = builder.phi(word), [builder.phi(vector) for _ in range(vectors)]
            k.add_incoming(begin, before)
            for total in sums:
                total.add_incoming(ir.Constant(vector, [0] * lanes), before)
            builder.cbranch(builder.icmp_signed("<", k, stop), body, done)
            builder.position_at_end(body)
            row = builder.sext(builder.load(builder.gep(places, [k])), word)
            start = builder.gep(base, [builder.mul(row, width)])
            for i, total in enumerate(sums):
                loaded = load(builder, builder.gep(start, [word(i * lanes)]), vector)
                total.add_incoming(add(total, loaded), body)
            k.add_incoming(builder.add(k, word(1)), body)
            builder.branch(head)
            builder.position_at_end(done)
            target = pointer(context, builder, kinds[0], out, at)
            for i, total in enumerate(sums):
                store(builder, total, builder.gep(target, [word(i * lanes)]))
            return context.get_dummy_value()

        position = types.intp
        return types.void(out, position, table, position, index, position, position), build

    return sum_rows


_eight, _four, _two, _one = (_sum_rows(count) for count in (8, 4, 2, 1))


@jit
def sum_rows_of(out, at, table, index, begin, stop, column, last):
    """`out[at : at + last - column] = sum over k in [begin, stop) of table[index[k], column:last]`, in this order.

    Kept in registers; columns are whole vectors, `index` is int32.
    """
    lanes = VECTOR_BYTES // table.itemsize
    at -= column
    while column + 8 * lanes <= last:
        _eight(out, at + column, table, column, index, begin, stop)
        column += 8 * lanes
    if column + 4 * lanes <= last:
        _four(out, at + column, table, column, index, begin, stop)
        column += 4 * lanes
    if column + 2 * lanes <= last:
        _two(out, at + column, table, column, index, begin, stop)
        column += 2 * lanes
    if column < last:
        _one(out, at + column, table, column, index, begin, stop)


def padded(width: int, itemsize: int, vectors: int = 1) -> int:
    """The next width that fills whole groups of vectors."""
    lanes = vectors * VECTOR_BYTES // itemsize
    return -(-width // lanes) * lanes


SAMPLES = 4
"""Samples that share a row of weights in `add_products_of`."""


@intrinsic
def _add_products(typingctx, sums, factors, table, column, count):
    """`sums[s, column : +W] += sum over k < count of factors[s, k] * table[k, column : +W]` for `SAMPLES` rows `s`.

    `W` entries are four vectors; multiply-adds may fuse.
    """

    def build(context, builder, signature, args):
        column, count = args[3:]
        kinds, word = signature.args, column.type
        entry = kinds[2].dtype
        lanes = VECTOR_BYTES // (entry.bitwidth // 8)
        vector = ir.VectorType(context.get_value_type(entry), lanes)
        splat = ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
        arrays = [context.make_array(kinds[i])(context, builder, args[i]) for i in range(3)]
        widths = [builder.extract_value(array.shape, 1) for array in arrays]
        own = [[builder.gep(arrays[i].data, [builder.mul(word(s), widths[i])]) for s in range(SAMPLES)] for i in (0, 1)]
        targets = [
            builder.gep(own[0][s], [builder.add(column, word(i * lanes))]) for s in range(SAMPLES) for i in range(4)
        ]
        base = builder.gep(arrays[2].data, [column])
        first = [load(builder, target, vector) for target in targets]

        before = builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        k, totals = builder.phi(word), [builder.phi(vector) for _ in targets]
        k.add_incoming(word(0), before)
        for total, start in zip(totals, first, strict=True):
            total.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", k, count), body, done)
        builder.position_at_end(body)
        row = builder.gep(base, [builder.mul(k, widths[2])])
        parts = [load(builder, builder.gep(row, [word(i * lanes)]), vector) for i in range(4)]
        for s in range(SAMPLES):
            factor = builder.load(builder.gep(own[1][s], [k]))
            wide = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, _INT(0))
            wide = builder.shuffle_vector(wide, wide, splat)
            for i in range(4):
                total = totals[s * 4 + i]
                product = builder.fmul(wide, parts[i], flags=("contract",))
                total.add_incoming(builder.fadd(total, product, flags=("contract",)), body)
        k.add_incoming(builder.add(k, word(1)), body)
        builder.branch(head)
        builder.position_at_end(done)
        for total, target in zip(totals, targets, strict=True):
            store(builder, total, target)
        return context.get_dummy_value()

    return types.void(sums, factors, table, types.intp, types.intp), build


@jit
def add_products_of(sums, factors, table, count):
    """`sums += factors[:, :count] @ table[:count]` for `SAMPLES` rows, kept in registers.

    `sums` and `table` have a width of whole groups of four vectors.
    """
    step = 4 * VECTOR_BYTES // table.itemsize
    for column in range(0, table.shape[1], step):
        _add_products(sums, factors, table, column, count)
