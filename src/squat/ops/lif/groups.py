"""One time step of a group of 16 neurons without leaving the registers (AVX-512); other processors use `rows.py`.

These are the loops' common cases, spikes out of codes under either rule; what they compute is what the kernels in
`cpu_forward.py` compute row by row, instruction for instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from squat.kernels.jit import jit
from squat.ops.encoder import COUNT, EVEN, EXPONENTIAL
from squat.ops.simd import HAS_AVX512, LANES, gather, gather_pairs, load, permute, pointer, search, splat, store

_INT, _FLOAT, _BYTE = ir.IntType(32), ir.FloatType(), ir.IntType(8)
_INTS, _FLOATS, _BYTES = (ir.VectorType(entry, LANES) for entry in (_INT, _FLOAT, _BYTE))


class _Group:
    """Emits the instructions of one group; `fields` reads the encoder."""

    def __init__(self, context: Any, builder: Any, kind: Any, encoder: Any, way: int) -> None:
        self.context, self.builder, self.way = context, builder, way
        self.kinds = dict(zip(kind.fields, kind.types, strict=True))
        self.values = dict(zip(kind.fields, (builder.extract_value(encoder, i) for i in range(len(kind))), strict=True))
        self.is_float = isinstance(self.kinds["bounds"].dtype, types.Float)

    def start(self, name: str) -> Any:
        """Pointer to an array of the encoder."""
        return self.context.make_array(self.kinds[name])(self.context, self.builder, self.values[name]).data

    def look_up(self, table: Any, code: Any) -> Any:
        """`table[code]`, in a register if that holds it."""
        if self.way == COUNT:
            return permute(self.builder, load(self.builder, table, ir.VectorType(table.type.pointee, LANES)), code)
        return gather(self.builder, table, code)

    def code(self, value: Any) -> Any:
        """Codes of values, as `encode_row` finds them."""
        builder = self.builder
        compare = builder.fcmp_ordered if self.is_float else builder.icmp_signed
        if self.way == COUNT:
            return search(builder, value, load(builder, self.start("bounds"), value.type), compare)
        place = self._bucket(value, compare)
        bound, pair = gather_pairs(builder, self.start("buckets"), place)
        above = compare(">", value, builder.bitcast(bound, value.type))
        low, high = builder.and_(pair, self._ints(255)), builder.lshr(pair, self._ints(8))
        return builder.select(above, high, low)

    def _bucket(self, value: Any, compare: Any) -> Any:
        """As `_find_buckets`."""
        builder, values = self.builder, self.values
        low, high, origin = (splat(builder, values[name]) for name in ("low", "high", "origin"))
        value = builder.select(compare(">", value, low), value, low)
        value = builder.select(compare("<", value, high), value, high)
        size = builder.extract_value(self.values["bucket_codes"], 2)
        last = builder.sub(builder.trunc(size, _INT), _INT(1))
        distance = builder.fsub(value, origin) if self.is_float else builder.sitofp(builder.sub(value, origin), _FLOATS)
        if self.way == EVEN:
            place = builder.fptosi(builder.fmul(distance, splat(builder, values["factor"])), _INTS)
            return self._smaller(place, splat(builder, last))
        shift, nearest = (splat(builder, builder.trunc(values[name], _INT)) for name in ("shift", "nearest"))
        middle = splat(builder, builder.lshr(last, _INT(1)))
        bits = builder.and_(builder.bitcast(distance, _INTS), self._ints(0x7FFFFFFF))
        size = builder.sub(builder.lshr(bits, shift), nearest)
        size = builder.select(builder.icmp_signed(">", size, self._ints(0)), size, self._ints(0))
        size = self._smaller(size, middle)
        right = builder.fcmp_ordered(">", distance, ir.Constant(_FLOATS, [0.0] * LANES))
        return builder.select(right, builder.add(middle, size), builder.sub(middle, size))

    def _smaller(self, left: Any, right: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", left, right), left, right)

    @staticmethod
    def _ints(value: int) -> Any:
        return ir.Constant(_INTS, [value] * LANES)


def _step_group(way: int) -> Callable[..., None]:
    @intrinsic
    def step_group(typingctx, x, x_at, extra, code, at, shift, table, theta, encoder, first, codes, out, out_at):
        """Moves 16 neurons on: reads `x.flat[x_at]` and `code[at]`, writes `code[at]`, and `codes`, `out` at `out_at`.

        Integer rule (`table` int32): `acc = (int(x) << shift) + extra + table[code]`, where `extra` is the bias. Float
        rule: `a = (table[code] + x) - theta*fired`, and `extra` becomes NaN for good where `a` is not finite. Arrays
        but `codes` hold entries of 4 bytes.
        """
        position = types.intp
        names = (
            "x",
            "x_at",
            "extra",
            "code",
            "at",
            "shift",
            "table",
            "theta",
            "encoder",
            "first",
            "codes",
            "out",
            "out_at",
        )

        def build(context, builder, signature, args):
            arg, kind = dict(zip(names, args, strict=True)), dict(zip(names, signature.args, strict=True))
            if kind["out"].dtype.bitwidth != 32:  # behind a test of the size at run time
                return context.get_dummy_value()
            group = _Group(context, builder, kind["encoder"], arg["encoder"], way)

            def place(name, at):
                return pointer(context, builder, kind[name], arg[name], arg[at])

            entry = context.get_value_type(kind["x"].dtype)
            current = load(builder, place("x", "x_at"), ir.VectorType(entry, LANES))
            before, extra = load(builder, place("code", "at"), _INTS), place("extra", "at")
            leak = group.look_up(pointer(context, builder, kind["table"], arg["table"], arg["at"].type(0)), before)
            first = splat(builder, arg["first"])
            ones, zeros = (ir.Constant(_FLOATS, [spike] * LANES) for spike in (1.0, 0.0))
            if group.is_float:
                fired = builder.icmp_signed(">=", before, first)
                value = builder.fadd(leak, current)
                value = builder.fsub(value, builder.select(fired, splat(builder, arg["theta"]), zeros))
                poison = builder.fadd(
                    load(builder, extra, _FLOATS), builder.fmul(value, ir.Constant(_FLOATS, [0.0] * LANES))
                )
                store(builder, poison, extra)
            else:
                whole = builder.fptosi(current, _INTS) if isinstance(kind["x"].dtype, types.Float) else current
                value = builder.shl(whole, splat(builder, arg["shift"]))
                value = builder.add(value, builder.add(load(builder, extra, _INTS), leak))
            after = group.code(value)
            store(builder, after, place("code", "at"))
            store(builder, builder.trunc(after, _BYTES), place("codes", "out_at"))
            fires = builder.icmp_signed(">=", after, first)
            store(builder, builder.select(fires, ones, zeros), place("out", "out_at"))
            return context.get_dummy_value()

        small = types.int32
        return types.void(
            x, position, extra, code, position, small, table, theta, encoder, small, codes, out, position
        ), build

    return step_group


_step_count, _step_even, _step_exponential = (_step_group(way) for way in (COUNT, EVEN, EXPONENTIAL))


@jit
def _step_row(x, x_at, extra, code, shift, table, theta, encoder, first, codes, out, at):
    """One step of a row of whole groups; False where the encoder's way has no such step."""
    if encoder.way == COUNT:
        for n in range(0, code.size, LANES):
            _step_count(x, x_at + n, extra, code, n, shift, table, theta, encoder, first, codes, out, at + n)
    elif encoder.way == EVEN:
        for n in range(0, code.size, LANES):
            _step_even(x, x_at + n, extra, code, n, shift, table, theta, encoder, first, codes, out, at + n)
    elif encoder.way == EXPONENTIAL:
        for n in range(0, code.size, LANES):
            _step_exponential(x, x_at + n, extra, code, n, shift, table, theta, encoder, first, codes, out, at + n)
    else:
        return False
    return True


@jit
def _no_step_row(x, x_at, extra, code, shift, table, theta, encoder, first, codes, out, at):
    return False


step_row = _step_row if HAS_AVX512 else _no_step_row


def _back_group(in_register: bool) -> Callable[..., None]:
    @intrinsic
    def back_group(typingctx, g, g_at, codes, code_at, slope, decay, up, at, scale, gx, total):
        """Moves 16 neurons one step back: `up = g*slope[code] + decay*up`, `gx = scale*up`, `total += up`.

        `g`, `codes` and `gx` are read and written at flat positions (`gx` at that of `codes`), `decay`, `up` and
        `total` at `at`; all but `codes` float32. Multiply-adds may fuse.
        """
        position = types.intp

        def build(context, builder, signature, args):
            names = ("g", "g_at", "codes", "code_at", "slope", "decay", "up", "at", "scale", "gx", "total")
            arg, kind = dict(zip(names, args, strict=True)), dict(zip(names, signature.args, strict=True))
            if kind["gx"].dtype.bitwidth != 32:  # behind a test of the size at run time
                return context.get_dummy_value()
            flags = ("contract",)

            def read(name, at, vector=_FLOATS):
                return load(builder, pointer(context, builder, kind[name], arg[name], arg[at]), vector)

            code = builder.zext(read("codes", "code_at", _BYTES), _INTS)
            table = pointer(context, builder, kind["slope"], arg["slope"], arg["at"].type(0))
            rate = (
                permute(builder, load(builder, table, _FLOATS), code) if in_register else gather(builder, table, code)
            )
            up = builder.fmul(read("decay", "at"), read("up", "at"), flags=flags)
            up = builder.fadd(builder.fmul(read("g", "g_at"), rate, flags=flags), up, flags=flags)
            store(builder, up, pointer(context, builder, kind["up"], arg["up"], arg["at"]))
            scaled = builder.fmul(up, splat(builder, arg["scale"]))
            store(builder, scaled, pointer(context, builder, kind["gx"], arg["gx"], arg["code_at"]))
            total = builder.fadd(read("total", "at"), up)
            store(builder, total, pointer(context, builder, kind["total"], arg["total"], arg["at"]))
            return context.get_dummy_value()

        return types.void(g, position, codes, position, slope, decay, up, position, scale, gx, total), build

    return back_group


_back_in_register, _back_in_memory = _back_group(True), _back_group(False)


@jit
def _back_row(g, g_at, codes, at, slope, decay, up, scale, gx, total, size):
    """One step back of a row of whole groups."""
    if slope.size == LANES:
        for n in range(0, size, LANES):
            _back_in_register(g, g_at + n, codes, at + n, slope, decay, up, n, scale, gx, total)
    else:
        for n in range(0, size, LANES):
            _back_in_memory(g, g_at + n, codes, at + n, slope, decay, up, n, scale, gx, total)


@jit
def _no_back_row(g, g_at, codes, at, slope, decay, up, scale, gx, total, size):
    pass


back_row = _back_row if HAS_AVX512 else _no_back_row
