"""Straight-through functions: each rounds in the forward pass and states its gradient in the backward pass.

Rounding has derivative 0 almost everywhere; a straight-through estimator (STE) replaces it by a useful one
(Bengio, Leonard, Courville 2013, arXiv 1308.3432). All of them live in this file, so that no layer has one of its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, qmax: int, limit: float) -> Tensor:
        ratio = x / scale
        ctx.save_for_backward(ratio, scale)
        ctx.limit = limit
        return ratio.round().clamp_(-qmax, qmax)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        ratio, scale = ctx.saved_tensors
        # torch's own one-pass mask: the gradient where -limit < ratio < limit, else 0
        inside = torch.ops.aten.hardtanh_backward(gradient, ratio, -ctx.limit, ctx.limit).div_(scale)
        grad_scale = None
        if ctx.needs_input_grad[1]:
            grad_scale = (inside * ratio).neg_().sum_to_size(scale.shape)
        return inside if ctx.needs_input_grad[0] else None, grad_scale, None, None


def round_ste(x: Tensor) -> Tensor:
    """Nearest integer, ties to even, with the gradient of the identity.

    Forward: `round(x)`. Backward: `dL/dx = g`.

    Args:
        x: any shape, any float dtype.

    Returns:
        Integers in the shape and dtype of `x`.

    Example:
        >>> x = torch.tensor([0.5, 1.5, -1.2], requires_grad=True)
        >>> round_ste(x).tolist()
        [0.0, 2.0, -1.0]
        >>> round_ste(x).sum().backward(); x.grad.tolist()
        [1.0, 1.0, 1.0]
    """
    return _Round.apply(x)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The same values, with the gradient multiplied by a constant.

    Forward: `x`. Backward: `dL/dx = factor * g`. LSQ steps its scales this way (see `lsq_factor`).

    Args:
        x: any shape.
        factor: what the gradient is multiplied by.

    Returns:
        `x`, values unchanged.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> scale_gradient(x, 0.5).sum().backward(); x.grad.tolist()
        [0.5]
    """
    return _ScaleGradient.apply(x, factor)


def lsq_factor(shared_by: int, qmax: int) -> float:
    """The constant `1 / sqrt(shared_by * qmax)` that LSQ multiplies the gradient of a scale by.

    Args:
        shared_by: number of weights that share the scale.
        qmax: largest integer of the grid.

    Returns:
        The factor. Source: Esser et al. 2020, "Learned step size quantization", arXiv 1902.08153, section 2.2.

    Example:
        >>> lsq_factor(100, 1)
        0.1
    """
    return 1.0 / math.sqrt(shared_by * qmax)


def quantize_ste(x: Tensor, scale: Tensor, qmax: int, limit: float) -> Tensor:
    """Symmetric integers `q = clamp(round(x / scale), -qmax, qmax)` with a straight-through gradient.

    Forward: `q` as above, ties to even. Backward, with the mask `inside = |x / scale| < limit`:

        dL/dx     = g / scale                      inside, else 0
        dL/dscale = sum( -g * x / scale^2 )        over inside, per scale

    so that `scale * q` has gradient 1 in `x` inside, and in `scale` LSQ's: `q - x / scale` inside, `q` outside.
    With `limit = qmax + 0.5` inside is exactly where rounding alone stays on the grid (the largest weight of a scale by
    maximum still learns); with `limit = qmax` it is the interval of the LSQ paper (arXiv 1902.08153, equation 3).

    Args:
        x: values, any shape, float32 or float64.
        scale: positive, broadcastable to `x`, in the same units.
        qmax: largest integer.
        limit: where the gradient ends, in integers.

    Returns:
        Integers in the shape and dtype of `x`.

    Example:
        >>> x = torch.tensor([0.1, 0.9, -9.0], requires_grad=True)
        >>> q = quantize_ste(x, torch.tensor(0.5), qmax=7, limit=7.5)
        >>> q.tolist()
        [0.0, 2.0, -7.0]
        >>> q.sum().backward(); x.grad.tolist()
        [2.0, 2.0, 0.0]
    """
    return _Quantize.apply(x, scale, qmax, limit)
