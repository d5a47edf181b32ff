"""Forward LIF loops in Triton: a program walks a tile of samples x neurons through time.

Values equal `reference.py` bit for bit. Triton would contract `a*b + c` to a fused multiply-add, which rounds once
where the specification rounds twice, so these kernels are launched with `enable_fp_fusion=False`; leak and reset are
looked up by code, and the integer rule rounds nothing.

`RULE` is "integer" or "float" (the state is a code), or "membrane" (float states). What is in capitals is known when a
kernel is compiled. A table that all neurons share has a stride of 0. `plane` is samples x neurons.
"""

import triton
import triton.language as tl


@triton.jit
def forward(
    x, start, table, reset, bound, ends, bias, limit, beta, theta, levels, out, state, inside, membrane, wrong,
    steps, batch, neurons, plane, packed, x_stride, table_stride, bound_stride, ends_stride, shift, first, fresh,
    RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr, SPIKING: tl.constexpr, BITS: tl.constexpr,
    PACK: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Without recurrence: the state of the tile stays in registers."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mask = (row < batch) & (column < neurons)
    tile = row.to(tl.int64) * neurons + column
    before = load_state(start + tile, mask, RULE)
    failed = tl.zeros([ROWS, COLUMNS], tl.int32)
    for t in range(steps):
        a, fails = update(
            tl.load(x + tile, mask=mask, other=0.0), before, 0, 1.0, t >= fresh, column, neurons, table, reset, bias,
            limit, beta, theta, table_stride, shift, first, RULE, RESET, DROP, False,
        )  # fmt: skip
        failed |= fails.to(tl.int32)
        before = quantize(a, bound, bound_stride, column, neurons, RULE, BITS)
        write(a, before, tile, mask, theta, levels, first, out, state, membrane, RULE, SPIKING, KEEP)
        if PACK:
            pack(a, ends, ends_stride, row, column, batch, neurons, packed, inside, ROWS, COLUMNS)
        x, out, state, inside = x + x_stride, out + plane, state + plane, inside + batch * packed
        membrane = membrane + plane
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(wrong + program, tl.max(tl.max(failed, 1), 0))


@triton.jit
def forward_recurrent(
    x, start, table, reset, bound, ends, bias, limit, beta, theta, levels, out, state, inside, membrane, wrong,
    steps, batch, neurons, plane, packed, x_stride, table_stride, bound_stride, ends_stride, shift, first, fresh,
    w_rec, w_high, rec_scale,
    RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr, SPIKING: tl.constexpr, BITS: tl.constexpr,
    PACK: tl.constexpr, KEEP: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """With recurrence: one program has all neurons of its samples, since each step needs the spikes of the one before.

    It goes through them tile by tile and reads the last step's states back from where they were written (a few
    kilobytes, in cache); the barrier makes them visible to all its threads.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    failed = tl.zeros([ROWS, COLUMNS], tl.int32)
    previous = start
    for t in range(steps):
        for left in range(0, neurons, COLUMNS):
            column = left + tl.arange(0, COLUMNS)[None, :]
            mask = (row < batch) & (column < neurons)
            tile = row.to(tl.int64) * neurons + column
            total = recurrent_sum(
                previous, row, column, batch, neurons, t >= fresh, first, theta, w_rec, w_high, RULE, WIDE, ROWS,
                COLUMNS, DEPTH,
            )  # fmt: skip
            a, fails = update(
                tl.load(x + tile, mask=mask, other=0.0), load_state(previous + tile, mask, RULE), total,
                tl.load(rec_scale + column, mask=column < neurons, other=0.0), t >= fresh, column, neurons, table,
                reset, bias, limit, beta, theta, table_stride, shift, first, RULE, RESET, DROP, True,
            )  # fmt: skip
            failed |= fails.to(tl.int32)
            after = quantize(a, bound, bound_stride, column, neurons, RULE, BITS)
            write(a, after, tile, mask, theta, levels, first, out, state, membrane, RULE, SPIKING, KEEP)
            if PACK:
                pack(a, ends, ends_stride, row, column, batch, neurons, packed, inside, ROWS, COLUMNS)
        tl.debug_barrier()
        previous = state
        x, out, state, inside = x + x_stride, out + plane, state + plane, inside + batch * packed
        membrane = membrane + plane
    tl.store(wrong + tl.program_id(0), tl.max(tl.max(failed, 1), 0))


@triton.jit
def load_state(pointers, mask, RULE: tl.constexpr):
    """Membranes, or codes as int32."""
    state = tl.load(pointers, mask=mask, other=0)
    if RULE != "membrane":
        state = state.to(tl.int32)
    return state


@triton.jit
def update(
    current, before, total, rec_scale, started, column, neurons, table, reset, bias, limit, beta, theta, table_stride,
    shift, first, RULE: tl.constexpr, RESET: tl.constexpr, DROP: tl.constexpr, RECURRENT: tl.constexpr,
):  # fmt: skip
    """The membrane before the quantizer, and where it or the current is not as promised."""
    neuron = tl.minimum(column, neurons - 1)
    if RULE == "integer":
        fails = (tl.abs(current) > tl.load(limit)) | (tl.floor(current) != current)
        z = tl.where(fails, 0.0, current).to(tl.int32)
        if RECURRENT:
            z += total
        a = (z << shift) + tl.load(bias + neuron)
        a += tl.load(table + neuron * table_stride + before, mask=started, other=0)
        fired = (before >= first) & started
    elif RULE == "float":
        a = tl.load(table + neuron * table_stride + before, mask=started, other=0.0) + current
        if RECURRENT:
            a += total * rec_scale
        a -= tl.load(reset + before, mask=started, other=0.0)
        fired = (before >= first) & started
    else:
        fired = before > tl.load(theta)
        if RESET == "zero":
            before = tl.where(fired, 0.0, before)
        a = tl.load(beta + neuron) * before + current
        if RECURRENT:
            a += total * rec_scale
        if RESET == "subtract":
            a -= tl.where(fired, tl.load(theta), 0.0)
    if DROP:
        a = tl.where(fired, 0, a)
    if RULE != "integer":
        fails = (tl.abs(a) < float("inf")) == 0
    return a, fails


@triton.jit
def quantize(a, bound, bound_stride, column, neurons, RULE: tl.constexpr, BITS: tl.constexpr):
    """`#{k : a > bound[k]}` by a binary search without branches among `2**BITS - 1` bounds; float states stay `a`."""
    if RULE == "membrane":
        after = a
    else:
        bound += tl.minimum(column, neurons - 1) * bound_stride
        after = tl.zeros(a.shape, tl.int32)
        for level in tl.static_range(BITS):
            half = 1 << (BITS - 1 - level)
            after += tl.where(a > tl.load(bound + after + (half - 1)), half, 0)
    return after


@triton.jit
def write(
    a, after, tile, mask, theta, levels, first, out, state, membrane, RULE: tl.constexpr, SPIKING: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    """State; spikes or membranes; the membrane before the quantizer where the threshold's gradient needs it."""
    tl.store(state + tile, after.to(state.dtype.element_ty), mask=mask)
    if RULE == "membrane":
        if SPIKING:
            tl.store(out + tile, (a > tl.load(theta)).to(out.dtype.element_ty), mask=mask)
    elif SPIKING:
        tl.store(out + tile, (after >= first).to(out.dtype.element_ty), mask=mask)
    else:
        tl.store(out + tile, tl.load(levels + after), mask=mask)
    if KEEP:
        tl.store(membrane + tile, a, mask=mask)


@triton.jit
def pack(
    a, ends, ends_stride, row, column, batch, neurons, packed, inside, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """One bit a neuron, eight a byte, lowest bit first: whether the membrane lies within the levels."""
    ends += tl.minimum(column, neurons - 1) * ends_stride
    flags = (a >= tl.load(ends)) & (a <= tl.load(ends + 1)) & (column < neurons)
    bits = flags.to(tl.int32) << (column % 8)
    byte = tl.sum(tl.reshape(bits, [ROWS, COLUMNS // 8, 8]), 2)
    place = tl.min(column, 1)[:, None] // 8 + tl.arange(0, COLUMNS // 8)[None, :]
    pointers = inside + row.to(tl.int64) * packed + place
    tl.store(pointers, byte.to(tl.uint8), mask=(row < batch) & (place < packed))


@triton.jit
def recurrent_sum(
    previous, row, column, batch, neurons, started, first, theta, w_rec, w_high, RULE: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """`sum over presynaptic j of s[j] * w_rec[j, n]`, exactly as specified.

    Integers are multiplied as bytes and summed in int32; weights that outgrow a byte are `256*w_high + w_rec`. Float
    weights are added in the order of `j`, since the specification rounds in that order: slow, but equal.
    """
    row = row.to(tl.int64)
    if RULE == "integer":
        total, high = tl.zeros([ROWS, COLUMNS], tl.int32), tl.zeros([ROWS, COLUMNS], tl.int32)
        for top in range(0, neurons, DEPTH):
            source = top + tl.arange(0, DEPTH)
            codes = tl.load(
                previous + row * neurons + source[None, :], mask=(row < batch) & (source[None, :] < neurons), other=0
            )
            fired = ((codes.to(tl.int32) >= first) & started).to(tl.int8)
            weight = source[:, None] * neurons + column
            known = (source[:, None] < neurons) & (column < neurons)
            total = tl.dot(fired, tl.load(w_rec + weight, mask=known, other=0), total, out_dtype=tl.int32)
            if WIDE:
                high = tl.dot(fired, tl.load(w_high + weight, mask=known, other=0), high, out_dtype=tl.int32)
        total += high * 256
    else:
        total = tl.zeros([ROWS, COLUMNS], w_rec.dtype.element_ty)
        for j in range(neurons):
            state = load_state(previous + row * neurons + j, row < batch, RULE)
            fired = state > tl.load(theta) if RULE == "membrane" else (state >= first) & started
            weights = tl.load(w_rec + j * neurons + column, mask=column < neurons, other=0.0)
            total += tl.where(fired, weights, 0.0)
    return total
