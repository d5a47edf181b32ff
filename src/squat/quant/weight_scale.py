"""Scales for symmetric integer weights: by maximum, by least squared error (search), and one step of following it.

All functions take rows `[R, M]` that share one scale each (R = 1 per tensor) and return `[R, 1]`, positive. Codes are
`q = clamp(round(w / s), -qmax, qmax)`. For fixed codes the best scale is the least-squares one, `<w, q> / <q, q>`, and
leaves the error `|w|^2 - <w, q>^2 / <q, q>`; for a fixed scale the best codes are the nearest ones. Alternating the two
is Lloyd's method (Lloyd 1982, "Least squares quantization in PCM"): the error never rises.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_RATIOS = 128
LLOYD_STEPS = 32
LARGEST_SHIFT = 7
OCTAVE_STEPS = 32


def learned_scale(logarithm: Tensor, name: str = "log_scale") -> Tensor:
    """The scale or gain that a parameter holds as its logarithm.

    Raises:
        ValueError: where training has driven it to 0, infinity or NaN, by its name; unseen where code is traced.

    Example:
        >>> learned_scale(torch.zeros(2))
        tensor([1., 1.])
    """
    scale = logarithm.exp()
    good = (scale > 0) & scale.isfinite()
    if not torch.compiler.is_compiling() and not bool(good.all()):
        raise ValueError(
            f"{name}: its exponential is {float(scale.detach()[~good].flatten()[0]):.4g} after training, expected a "
            "finite number > 0; lower the learning rate or clip the gradients"
        )
    return scale


def max_scale(rows: Tensor, qmax: int) -> Tensor:
    """`max|w| / qmax`: nothing is clipped. All-zero rows get `1 / qmax`, so that nobody divides by zero.

    Args:
        rows: `[R, M]` weights.
        qmax: largest integer.

    Returns:
        `[R, 1]`, > 0.

    Example:
        >>> max_scale(torch.tensor([[0.5, -7.0], [0.0, 0.0]]), 7).flatten()
        tensor([1.0000, 0.1429])
    """
    largest = rows.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest / qmax, 1.0 / qmax).clamp_min(torch.finfo(torch.float32).tiny)


def search_scale(rows: Tensor, qmax: int) -> Tensor:
    """The scale of least squared error `|w - s q|^2` by a full search.

    128 clip ratios between 1/128 and 1 of the scale by maximum; for each the codes and the error left by their
    least-squares scale; the best is then refined by Lloyd's method until it stands still. In float64.

    Args:
        rows: `[R, M]` weights.
        qmax: largest integer.

    Returns:
        `[R, 1]`, > 0, in the dtype of `rows`; the error is at most that of `max_scale`.

    Example:
        >>> search_scale(torch.tensor([[0.75, -0.75, 0.75, 1.75]]), 1).item()
        1.0
    """
    exact = rows.double()
    widest = max_scale(exact, qmax)
    best_gain, best = torch.full_like(widest, -1.0), widest
    for step in range(CLIP_RATIOS, 0, -1):
        scale = widest * (step / CLIP_RATIOS)
        wq, qq = _moments(exact, scale, qmax)
        gain = torch.where(qq > 0, wq * wq / qq, 0.0)
        better = gain > best_gain
        best_gain = torch.where(better, gain, best_gain)
        best = torch.where(better, torch.where(qq > 0, wq / qq, scale), best)
    for _ in range(LLOYD_STEPS):
        refined = lloyd_step(exact, best, qmax)
        if torch.equal(refined, best):
            break
        best = refined
    return best.to(rows.dtype)


def lloyd_step(rows: Tensor, scale: Tensor, qmax: int) -> Tensor:
    """One step of Lloyd's method: the least-squares scale `<w, q> / <q, q>` of the codes at the present scale.

    Where every code is 0 (weights shrunk below half a step) there is no such scale: it becomes the scale by maximum.
    The same where the sums overflow.

    Args:
        rows: `[R, M]` weights.
        scale: `[R, 1]` present scale, > 0.
        qmax: largest integer.

    Returns:
        `[R, 1]`, > 0.

    Example:
        >>> lloyd_step(torch.tensor([[2.5, 2.5]]), torch.tensor([[1.0]]), 7).item()
        1.25
    """
    wq, qq = _moments(rows, scale, qmax)
    refined = wq / qq
    usable = refined.isfinite()  # 0 / 0 without codes; huge weights may overflow the sum
    if not bool(usable.all()):
        refined = torch.where(usable, refined, max_scale(rows, qmax))
    return refined.clamp_min(torch.finfo(torch.float32).tiny)


def _moments(rows: Tensor, scale: Tensor, qmax: int) -> tuple[Tensor, Tensor]:
    codes = (rows / scale).round_().clamp_(-qmax, qmax)
    return torch.linalg.vecdot(rows, codes).unsqueeze(1), torch.linalg.vecdot(codes, codes).unsqueeze(1)


def power_of_two_multiples(scale: Tensor) -> Tensor:
    """One scale times 1, 2, 4, ... `2**LARGEST_SHIFT`, for each row the nearest on a logarithmic axis.

    The one scale is the best of `OCTAVE_STEPS` in an octave, by squared distance on that axis. Rows are raised to
    `2**-LARGEST_SHIFT` of the largest, so that small ones lose resolution and large ones are never clipped.

    Args:
        scale: `[R, 1]`, > 0.

    Returns:
        `[R, 1]`; the ratios to the smallest are exact powers of two.

    Example:
        >>> power_of_two_multiples(torch.tensor([[0.5], [1.0], [2.0], [1e-9]])).flatten()
        tensor([0.5000, 1.0000, 2.0000, 0.0156])
    """
    exponent = scale.clamp_min(scale.max() * 2.0**-LARGEST_SHIFT).log2()
    steps = torch.arange(OCTAVE_STEPS, dtype=scale.dtype, device=scale.device).reshape(-1, 1, 1)
    offsets = exponent.max() - steps / OCTAVE_STEPS
    error = exponent - offsets - (exponent - offsets).round()
    offset = offsets[error.square().sum((1, 2)).argmin()]
    power = (exponent - offset).round()
    power = power.clamp_min(power.max() - LARGEST_SHIFT)  # rounding may reach one further
    return offset.exp2() * power.exp2()
