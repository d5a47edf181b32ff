"""The loops on a GPU: from torch tensors to the Triton kernels and back; see `protocol.py`.

Imported on first use. On tensors of the CPU it runs in Triton's interpreter only, which the tests do.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from squat.ops.lif import gpu_backward, gpu_forward
from squat.ops.lif.protocol import CodesBackward, CodesForward, MembraneBackward, MembraneForward, Needs
from squat.ops.lif.tables import CodeTables, LoopConfig
from squat.ops.product import integer_limit

WIDE_TILE, NARROW_TILE = 1024, 128
"""Neurons of a program: a wide tile reads more at once, narrow ones are more programs where there is little work."""
MANY = 2**20
"""Samples x neurons from which wide tiles keep a whole device busy."""
WARPS, RECURRENT_WARPS = 4, 8
EXACT = {"enable_fp_fusion": False, "num_stages": 1}
"""How forward kernels are compiled: each operation rounds, as in the specification."""
INTEGER_TABLES = ("table", "bound", "ends", "bias", "shift")


def forward_codes(
    x: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None, scale: Tensor | None, codes0: Tensor | None, fresh: bool,
    tables: CodeTables, config: LoopConfig, steps: int, input_bound: int | None, keep_membrane: bool,
) -> CodesForward:  # fmt: skip
    """A loop with quantized states, both rules."""
    check_device(x)
    batch, neurons = x.shape[1:]
    integers = tables.integers
    codes = x.new_empty(steps, batch, neurons, dtype=torch.uint8)
    packed = -(-neurons // 8) if config.clipped or keep_membrane else 0
    inside = x.new_empty(steps, batch, packed, dtype=torch.uint8)
    kept = (steps, batch, neurons) if keep_membrane else (0, 0, 0)
    membrane = x.new_empty(kept, dtype=x.dtype if integers is None else torch.int32)
    start = x.new_zeros(batch, neurons, dtype=torch.uint8) if codes0 is None else codes0.contiguous()
    if integers is None:
        table, bound, ends, bias, shift = tables.leak, tables.bound, tables.levels[[0, -1]][None], None, 0
    else:
        table, bound, ends, bias, shift = (getattr(integers, name) for name in INTEGER_TABLES)
    # As in the other backends: the bound itself may round when it becomes a float.
    limit = x.new_tensor(torch.inf)
    if input_bound is not None:
        limit = x.new_tensor(integer_limit(input_bound, x.dtype))
    out, wrong = _launch_forward(
        x, w_rec, rec_scale, start, fresh, config, steps, codes, inside, membrane,
        (table, tables.reset, bound, ends, _per_neuron(bias, neurons, x, torch.int32, 0)), (limit, x, x, tables.levels),
        shift, tables.first, "float" if integers is None else "integer",
    )  # fmt: skip
    return CodesForward(out, codes, inside, membrane, wrong.sum() == 0)


def forward_membrane(
    x: Tensor, u0: Tensor, fresh: bool, beta: Tensor, threshold: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None,
    config: LoopConfig, steps: int,
) -> MembraneForward:  # fmt: skip
    """A loop with float states."""
    check_device(x)
    batch, neurons = x.shape[1:]
    u = x.new_empty(steps, batch, neurons)
    none, theta = x.new_empty(0), threshold.detach().to(x.dtype)
    out, wrong = _launch_forward(
        x, w_rec, rec_scale, u0.detach().contiguous(), fresh, config, steps, u, none, none, (x, x, x, x, x),
        (x, _per_neuron(beta, neurons, x, x.dtype), theta, x), 0, 0, "membrane",
    )  # fmt: skip
    return MembraneForward(out if config.spiking else u, u, wrong.sum() == 0)


def _launch_forward(
    x: Tensor, w_rec: Tensor | None, rec_scale: Tensor | None, start: Tensor, fresh: bool, config: LoopConfig,
    steps: int, state: Tensor, inside: Tensor, membrane: Tensor, tables: tuple[Tensor, ...],
    constants: tuple[Tensor, ...], shift: int, first: int, rule: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Runs the kernel with or without recurrence; returns the output and a flag for each program."""
    batch, neurons = x.shape[1:]
    x, plane, packed = x.detach().contiguous(), batch * neurons, inside.shape[-1] if inside.dim() == 3 else 0
    quantized = rule != "membrane"
    out = torch.empty_like(state, dtype=x.dtype) if quantized or config.spiking else state
    by_neuron = (tables[0], tables[2], tables[3])
    strides = [table.stride(0) if quantized and len(table) > 1 else 0 for table in by_neuron]
    rows, columns = _tile(batch, neurons, w_rec is not None)
    grid = (-(-batch // rows), -(-neurons // columns) if w_rec is None else 1)
    wrong = x.new_empty(grid, dtype=torch.int32)
    arguments = (
        x, start, *tables, *constants, out, state, inside, membrane, wrong, steps, batch, neurons, plane, packed,
        plane if len(x) > 1 else 0, *strides, shift, first, int(fresh),
    )  # fmt: skip
    options = {
        "RULE": rule, "RESET": config.reset, "DROP": config.reset == "zero" and config.drop_input,
        "SPIKING": config.spiking, "BITS": 0 if config.state is None else config.state.bits, "PACK": packed > 0,
        "KEEP": quantized and membrane.numel() > 0, "ROWS": rows, "COLUMNS": columns, **EXACT,
    }  # fmt: skip
    with torch.cuda.device_of(x):
        if w_rec is None:
            gpu_forward.forward[grid](*arguments, num_warps=WARPS, **options)
        else:
            low, high = _recurrent_weights(w_rec.detach().T, x.dtype, rule)
            gpu_forward.forward_recurrent[grid](
                *arguments, low, low if high is None else high, _per_neuron(rec_scale, neurons, x, x.dtype),
                WIDE=high is not None, DEPTH=32, num_warps=RECURRENT_WARPS, **options,
            )  # fmt: skip
    return out, wrong


def backward_codes(
    g_out: Tensor, g_last: Tensor, codes: Tensor, codes0: Tensor | None, fresh: bool, inside: Tensor, membrane: Tensor,
    unit: Tensor, beta: Tensor, threshold: Tensor, scale: Tensor | None, w_rec: Tensor | None,
    rec_scale: Tensor | None, tables: CodeTables, config: LoopConfig, x_steps: int, needs: Needs,
) -> CodesBackward:  # fmt: skip
    """Gradients of `forward_codes`."""
    neurons, dtype = codes.shape[2], g_out.dtype
    start = torch.zeros_like(codes[0]) if codes0 is None else codes0.contiguous()
    lookups = [table.to(dtype) for table in (tables.surrogate, tables.keep, tables.levels)]
    unit = unit.detach().to(g_out.device, dtype).reshape(-1)
    gx, gu0, g_beta, g_bias, g_theta = _launch_backward(
        g_out, g_last, codes, start, (*lookups, _per_neuron(beta, neurons, g_out, dtype)), None,
        inside, membrane, unit, threshold, _per_neuron(scale, neurons, g_out, dtype), w_rec, rec_scale, tables.first,
        fresh, config, x_steps, needs, "codes",
    )  # fmt: skip
    if w_rec is not None and scale is not None:
        gx *= scale.detach().to(dtype)
    return CodesBackward(gx, gu0, g_beta, g_bias, g_theta)


def backward_membrane(
    g_out: Tensor, g_last: Tensor, u: Tensor, u0: Tensor, fresh: bool, beta: Tensor, threshold: Tensor,
    w_rec: Tensor | None, rec_scale: Tensor | None, config: LoopConfig, x_steps: int, needs: Needs,
) -> MembraneBackward:  # fmt: skip
    """Gradients of `forward_membrane`."""
    neurons, dtype = u.shape[2], u.dtype
    theta = threshold.detach().to(dtype)
    slope, slope0 = (
        config.surrogate.derivative(v.detach() - theta) if config.spiking and config.surrogate is not None else v
        for v in (u, u0)
    )
    none = u.new_empty(0)
    gx, gu0, g_beta, _, g_theta = _launch_backward(
        g_out, g_last, u, u0.detach().contiguous(), (slope, none, none, _per_neuron(beta, neurons, u, dtype)), slope0,
        none, none, none, threshold, _per_neuron(None, neurons, u, dtype), w_rec, rec_scale, 0, fresh, config, x_steps,
        needs, "membrane",
    )  # fmt: skip
    return MembraneBackward(gx, gu0, g_beta, g_theta)


def _launch_backward(
    g_out: Tensor, g_last: Tensor, state: Tensor, start: Tensor, tables: tuple[Tensor, ...], slope0: Tensor | None,
    inside: Tensor, membrane: Tensor, unit: Tensor, threshold: Tensor, x_scale: Tensor, w_rec: Tensor | None,
    rec_scale: Tensor | None, first: int, fresh: bool, config: LoopConfig, x_steps: int, needs: Needs, rule: str,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Runs the kernel with or without recurrence (which leaves `gx` unscaled) and sums what programs left."""
    (steps, batch, neurons), dtype = state.shape, g_out.dtype
    constant = x_steps == 1 and w_rec is None
    gx = g_out.new_empty(1 if constant else steps, batch, neurons)
    carry = g_last.clone(memory_format=torch.contiguous_format)
    sums = [g_out.new_zeros((batch, neurons) if need else 0, dtype=torch.float64) for need in needs]
    slope, keep, levels, beta = tables
    packed = inside.shape[-1] if inside.dim() == 3 else 0
    rows, columns = _tile(batch, neurons, w_rec is not None)
    grid = (-(-batch // rows), -(-neurons // columns) if w_rec is None else 1)
    plane, constants = batch * neurons, (1 if unit.numel() > 1 else 0, first, int(fresh))
    walked = (_last(g_out.contiguous()), _last(state), start, _last(slope) if rule == "membrane" else slope)
    saved = (_last(inside), _last(membrane), unit, threshold.detach().to(dtype))
    options = {
        "RULE": rule, "RESET": config.reset, "DROP": config.reset == "zero" and config.drop_input,
        "SPIKING": config.spiking, "CLIPPED": config.clipped, "PACK": packed > 0, "BETA": needs.beta,
        "BIAS": needs.bias, "THETA": needs.theta, "ROWS": rows, "COLUMNS": columns, "num_stages": 1,
    }  # fmt: skip
    with torch.cuda.device_of(g_out):
        if w_rec is None:
            gpu_backward.backward[grid](
                *walked, keep, levels, beta, x_scale, *saved, _last(gx), carry, *sums, steps, batch, neurons, plane,
                packed, 0 if constant else plane, *constants, CONSTANT=constant, num_warps=WARPS, **options,
            )  # fmt: skip
        else:
            weights = w_rec.detach() if rec_scale is None else w_rec.detach() * rec_scale.detach().reshape(-1, 1)
            gpu_backward.backward_recurrent[grid](
                *walked, keep, levels, beta, weights.to(dtype).contiguous(), *saved, _last(gx), carry, *sums,
                slope if slope0 is None else slope0, steps, batch, neurons, plane, packed, *constants, DEPTH=32,
                num_warps=RECURRENT_WARPS, **options,
            )  # fmt: skip
    g_beta, g_bias, g_theta = (total.sum(0) if need else None for total, need in zip(sums, needs, strict=True))
    return gx, carry, g_beta, g_bias, None if g_theta is None else g_theta.sum()


def check_device(x: Tensor) -> None:
    """Refuses tensors that Triton cannot reach.

    Raises:
        ValueError: `x` is on the CPU, and Triton does not interpret.
    """
    if not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"x: on device '{x.device}' with backend 'gpu', which runs on CUDA tensors; move network and inputs with "
            ".to('cuda'), use backend 'cpu', or, to test without a GPU, set TRITON_INTERPRET=1 before Python starts"
        )


def _tile(batch: int, neurons: int, recurrent: bool) -> tuple[int, int]:
    """Rows and columns of a program's tile; the matrix products of a recurrent one need 16 rows and columns."""
    if recurrent:
        return 16, min(128, _power_of_two(neurons, 16))
    size = WIDE_TILE if batch * neurons >= MANY else NARROW_TILE
    columns = min(size, _power_of_two(neurons, 8))
    return size // columns, columns


def _power_of_two(number: int, least: int) -> int:
    """The smallest power of two that is at least `number` and `least`."""
    return max(least, 1 << (number - 1).bit_length())


def _last(tensor: Tensor) -> Tensor:
    """The last step, where a loop backwards starts."""
    return tensor[-1] if tensor.dim() == 3 and len(tensor) else tensor


def _per_neuron(values: Tensor | None, neurons: int, like: Tensor, dtype: torch.dtype, default: int = 1) -> Tensor:
    """`[N]` on the device of `like`."""
    if values is None:
        return like.new_full((neurons,), default, dtype=dtype)
    return values.detach().to(like.device, dtype).reshape(-1).expand(neurons).contiguous()


def _recurrent_weights(w_rec: Tensor, dtype: torch.dtype, rule: str) -> tuple[Tensor, Tensor | None]:
    """Presynaptic first: float weights; or integers as their low byte and, where one is too few, the high byte."""
    if rule != "integer":
        return w_rec.to(dtype).contiguous(), None
    integers = w_rec.to(torch.int32).contiguous()
    low = ((integers + 128) % 256 - 128).to(torch.int8)
    high = ((integers - low) // 256).to(torch.int8)
    return low, high if bool(high.any()) else None
