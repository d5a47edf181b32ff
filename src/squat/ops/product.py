"""Products of integer-valued inputs and weights: exact integer sums in float, whatever autocast says.

A float32 sum of integers is exact in any order while every partial sum stays below 2^24 in magnitude. The layer's
bound `max over outputs of sum |w_int| * input_max` is certain: below 2^24 the product runs in float32, else in
float64. Under `torch.set_float32_matmul_precision` below "highest" the factors must fit the shorter significand:
integers up to 2048 in TF32, up to 256 in bfloat16 (spikes, 8-bit pixels and weights do).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FLOAT32_EXACT = 2**24


class _IntegerLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w_int: Tensor, exact_in_float32: bool) -> Tensor:
        from squat.ops.events import add_weight_rows, events_of

        rows = x.reshape(-1, x.shape[-1]).to(w_int.dtype)
        ctx.events = events_of(rows) if exact_in_float32 else None
        ctx.save_for_backward(rows if ctx.events is None else None, w_int)
        ctx.input_shape, ctx.input_dtype = x.shape, x.dtype
        with torch.autocast(x.device.type, enabled=False):
            if ctx.events is not None:
                z = add_weight_rows(ctx.events, w_int)
            elif exact_in_float32:
                z = rows @ w_int.T
            else:
                z = _narrow(rows.double() @ w_int.double().T, w_int.dtype)
        return z.reshape(*x.shape[:-1], w_int.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, w_int = ctx.saved_tensors
        gz = gz.reshape(-1, gz.shape[-1])
        gx = gw = None
        with torch.autocast(gz.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                gx = (gz @ w_int).reshape(ctx.input_shape).to(ctx.input_dtype)
            if ctx.needs_input_grad[1] and ctx.events is not None:
                from squat.ops.events import add_gradient_rows

                gw = add_gradient_rows(ctx.events, gz)
            elif ctx.needs_input_grad[1]:
                gw = gz.T @ rows
        return gx, gw, None


def integer_linear(x: Tensor, w_int: Tensor, exact_in_float32: bool) -> Tensor:
    """Integer sums `z = x w_int^T`, exact.

    Backward: `dL/dx = gz w_int` (left out where `x` needs no gradient), `dL/dw_int = gz^T x`.

    Args:
        x: `[..., in]`, integer-valued, any float dtype.
        w_int: `[N, in]`, integer-valued, float32 or float64.
        exact_in_float32: the bound of `|z|` is below 2^24; otherwise the product runs in float64.

    Returns:
        `[..., N]` in the dtype of `w_int`, integer-valued, also under autocast.

    Raises:
        ValueError: a sum cannot be held in float32.

    Example:
        >>> integer_linear(torch.tensor([[[1.0, 0.0, 1.0]]]), torch.tensor([[2.0, 5.0, -7.0]]), True).tolist()
        [[[-5.0]]]
    """
    return _IntegerLinear.apply(x, w_int, exact_in_float32)


def integer_conv2d(
    x: Tensor, w_int: Tensor, stride: tuple[int, int], padding: tuple[int, int], exact_in_float32: bool
) -> Tensor:
    """Integer sums of a two-dimensional convolution (cross-correlation, as in torch), exact.

    The algorithms that sum in a transformed space (Winograd, Fourier) round, so cuDNN and NNPACK, which may choose
    them, are left out.

    Args:
        x: `[B, C, H, W]`, integer-valued, any float dtype.
        w_int: `[N, C, kh, kw]`, integer-valued, float32 or float64.
        stride: rows, columns.
        padding: rows, columns; padded with 0.
        exact_in_float32: as for `integer_linear`.

    Returns:
        `[B, N, H', W']` in the dtype of `w_int`, integer-valued, also under autocast.

    Raises:
        ValueError: a sum cannot be held in float32.

    Example:
        >>> integer_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), (1, 1), (0, 0), True).item()
        4.0
    """
    kind = w_int.dtype if exact_in_float32 else torch.float64
    with (
        torch.autocast(x.device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=False) if x.is_cuda else nullcontext(),
        torch.backends.nnpack.flags(enabled=False),
    ):
        z = F.conv2d(x.to(kind), w_int.to(kind), stride=stride, padding=padding)
    return z if exact_in_float32 else _narrow(z, w_int.dtype)


def check_sums(z: Tensor, bound: int) -> None:
    """Refuses sums that are not integers within the bound, which means that the inputs were not what was promised.

    Args:
        z: sums of any shape.
        bound: certain upper bound of `|z|` for integer inputs up to the layer's `input_max`.

    Raises:
        ValueError: a sum is NaN, infinite, not an integer, or larger than `bound`.

    Example:
        >>> check_sums(torch.tensor([3.0, -4.0]), 4)
    """
    if z.numel() == 0:
        return
    z = z.detach()
    low, high = (side.item() for side in torch.aminmax(z))
    if not (-bound <= low and high <= bound):
        raise ValueError(
            f"x: its products with the integer weights reach from {low:g} to {high:g}, beyond the bound {bound}; "
            "expected finite integers up to input_max; raise input_max or scale the inputs down"
        )
    if not torch.equal(z, z.round()):
        raise ValueError(
            "x: got fractions, expected integer values for a layer with integer weights (spikes, or pixels 0..255 with "
            "input_max=255 and input_scale=1/255); round the inputs to a grid and give its step as input_scale"
        )


def _narrow(z: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = z.to(dtype)
    if not torch.equal(narrow.double(), z):
        raise ValueError(
            f"x: an integer sum (largest {z.abs().max().item():.0f}) does not fit float32, exact up to 2^24; "
            "use fewer inputs per output, fewer weight bits, a smaller input_max, or a float64 network (.double())"
        )
    return narrow
