"""Integer-valued convolution as a matrix product, for CUDA: libraries there choose algorithms that round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


def unfolded_conv2d(x: Tensor, w_int: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """Integer sums of a two-dimensional convolution, by copying each window into a column and one matrix product.

        z[b, n, p] = sum over k of w_int[n, k] * window[b, k, p]

    cuDNN may sum in a transformed space (Winograd, Fourier), which rounds. A matrix product adds plain products: each
    partial sum is an integer, so in any order, and with or without fused multiply-adds, it is exact while it stays
    below 2^24 in float32 (2^53 in float64). TF32 is switched off meanwhile, since it would cut factors to 11 bits. The
    price is memory: `kh * kw` copies of the input.

    Args:
        x: `[B, C, H, W]`, integer-valued, float32 or float64.
        w_int: `[N, C, kh, kw]`, integer-valued, in the dtype of `x`.
        stride: rows, columns.
        padding: rows, columns; padded with 0.

    Returns:
        `[B, N, H', W']` in the dtype of `x`, differentiable.

    Example:
        >>> unfolded_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), (1, 1), (0, 0)).item()
        4.0
    """
    kernel = (w_int.shape[2], w_int.shape[3])
    windows = F.unfold(x, kernel, padding=padding, stride=stride)
    with ieee_products():
        z = w_int.flatten(1) @ windows
    rows = (x.shape[2] + 2 * padding[0] - kernel[0]) // stride[0] + 1
    return z.unflatten(2, (rows, -1))


@contextmanager
def ieee_products() -> Iterator[None]:
    """Float32 matrix products in full precision, whatever `torch.set_float32_matmul_precision` says."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
