"""Codes and quantized values of a tensor: plain PyTorch, the specification, and a compiled kernel for many values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from squat.checks import check_choice, check_dense, check_real, check_type
from squat.quant.spec import StateSpec, level_tables

STE_RULES = ("identity", "clipped")
"""Straight-through gradients across the quantizer: 1 everywhere (published), or 1 inside the range of the levels."""


def count_below(x: Tensor, bounds: Tensor, evenly_spaced: bool = False) -> Tensor:
    """`#{k : x > bounds[k]}` for sorted bounds: a guess and one repair if evenly spaced, else a binary search."""
    if not evenly_spaced or len(bounds) < 3:
        return torch.bucketize(x.contiguous(), bounds)
    step = (bounds[-1] - bounds[0]) / (len(bounds) - 1)
    code = ((x - bounds[0]) / step).clamp(-1, len(bounds) - 1).floor().long() + 1
    code = code - ((code > 0) & (x <= bounds[(code - 1).clamp(min=0)])).long()
    return code + ((code < len(bounds)) & (x > bounds[code.clamp(max=len(bounds) - 1)])).long()


def encode(spec: StateSpec, x: Tensor, threshold: float = 1.0) -> Tensor:
    """Codes of `x` under `spec`; see `StateSpec.encode`."""
    x = checked_values(x)
    threshold = check_real("threshold", threshold, 0.0, open_low=True)
    levels, bounds, _ = level_tables(spec, threshold, x.dtype)
    if has_kernel(x):
        return look_up(x, bounds, torch.arange(len(levels), dtype=torch.uint8))
    refuse_not_finite(bool(torch.isfinite(x).all()))
    return count_below(x, bounds.to(x.device), spec.evenly_spaced).to(torch.uint8)


def quantize_state(x: Tensor, spec: StateSpec, threshold: float = 1.0, ste: str = "identity") -> Tensor:
    """Nearest level of each value: forward `level[encode(x)]`, backward straight-through.

    Args:
        x: float values of any shape.
        spec: the state spec.
        threshold: firing threshold that the levels refer to.
        ste: `"identity"` passes every gradient (as published), `"clipped"` only inside `[level[0], level[-1]]`.

    Returns:
        Values of the shape and dtype of `x`, each a level.

    Raises:
        ValueError: for NaN or infinity in `x`, a threshold that is not positive, or an unknown `ste`.

    Source: arXiv 2404.19668; snnTorch 1.0.0 `state_quant`.

    Example:
        >>> from squat.quant.spec import Uniform
        >>> quantize_state(torch.tensor([-0.3, 0.9]), Uniform(2))
        tensor([-0.2667,  1.2000])
    """
    check_choice("ste", ste, STE_RULES)
    return _Quantize.apply(x, spec, threshold, ste == "clipped")


class _Quantize(torch.autograd.Function):
    """Saves nothing for the identity STE and one byte per value for the clipped one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spec: StateSpec, threshold: float, clipped: bool) -> Tensor:
        levels = level_tables(spec, threshold, torch.float32)[0].to(x.device, x.dtype)
        if clipped:
            ctx.save_for_backward((x >= levels[0]) & (x <= levels[-1]))
        if has_kernel(x):
            threshold = check_real("threshold", threshold, 0.0, open_low=True)
            return look_up(x, level_tables(spec, threshold, x.dtype)[1], levels)
        return levels[encode(spec, x, threshold).int()]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        inside = ctx.saved_tensors
        return (grads[0] * inside[0] if inside else grads[0]), None, None, None


COMPILED_SIZE = 2**14
"""From so many float32 values on the CPU the compiled encoder serves; its first use in a process loads numba."""


def has_kernel(x: Tensor) -> bool:
    """Whether the compiled encoder serves these values."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() >= COMPILED_SIZE
    return plain and not torch.compiler.is_compiling()


def look_up(x: Tensor, bounds: Tensor, table: Tensor, encoder: Any = None) -> Tensor:
    """`table[#{k : x > bounds[k]}]` of many float32 values, by the compiled encoder.

    Args:
        x: float32 values on the CPU, of any shape.
        bounds: sorted float32 boundaries.
        table: what each code is replaced by: codes (uint8) or levels (float32).
        encoder: what `squat.ops.encoder.make_encoder` gave for the bounds, if it is at hand.

    Returns:
        Entries of the table, in the shape of `x`.

    Raises:
        ValueError: for NaN or infinity.

    Example:
        >>> look_up(torch.tensor([0.2, 0.7]), torch.tensor([0.5]), torch.tensor([-1.0, 1.0]))
        tensor([-1.,  1.])
    """
    from squat.ops.encoder import encode_all, make_encoder
    from squat.ops.threads import use_torch_threads

    out = torch.empty(x.shape, dtype=table.dtype)
    use_torch_threads(x.numel())
    values = x.detach().contiguous().view(-1).numpy()
    encoder = make_encoder(bounds.numpy()) if encoder is None else encoder
    refuse_not_finite(encode_all(values, encoder, table.numpy(), out.view(-1).numpy()))
    return out


def checked_values(x: Tensor) -> Tensor:
    """`x` as float32 or float64, or the error for what is no floating-point tensor."""
    check_type("x", x, Tensor, "a floating-point tensor")
    check_dense("x", x)
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}: expected a floating-point tensor; convert it with x.float()")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def refuse_not_finite(finite: bool) -> None:
    """The error for NaN and infinity."""
    if not finite:
        raise ValueError("x contains NaN or infinity: expected finite values; a quantizer would hide them as a code")
