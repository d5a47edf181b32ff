"""Thresholds: their check, and how they are learned.

A learned threshold is positive by construction: what an optimizer moves is the logarithm of its ratio to the start,

    theta = start * exp(clamp(log_ratio, -LOG_LIMIT, LOG_LIMIT))            d theta / d log_ratio = theta

so that it starts, bit for bit, at the value that was given, no step can bring it to zero, and none so far that the
accumulators of the integer rule overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_real
from squat.neurons.granularity import SHAPES, checked_values
from squat.operators import operator

THRESHOLD_ACCEPTED = f"a threshold > 0, {SHAPES}"
LOG_LIMIT = 8.0
"""A learned threshold stays within this factor, exp(8) = 2981, of where it started."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Beyond, levels do not fit float32."""


def checked_threshold(threshold: float | Sequence[float] | Tensor) -> Tensor:
    """One threshold or several as a new tensor, see `squat.neurons.granularity`.

    Numbers are kept in float64, since the published levels are computed from the number that the user wrote.
    """
    if isinstance(threshold, list | tuple | Tensor):
        values = checked_values("threshold", threshold, THRESHOLD_ACCEPTED, torch.float64)
    else:
        values = torch.tensor(check_real("threshold", threshold, 0.0, open_low=True), dtype=torch.float64)
    wrong = values[~((values >= SMALLEST) & (values <= LARGEST))].flatten()
    if len(wrong):
        raise ValueError(
            f"threshold: holds {float(wrong[0]):.4g}, expected 1e-30 to 1e30, so that its levels fit float32; rescale"
        )
    return values if values.numel() > 1 else values.reshape(()).double()


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1], output)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
    """The derivative; beyond a limit only what leads back inside, so that a step too far is not for ever."""
    log_ratio, theta = ctx.saved_tensors
    slope = grad * theta
    outward = ((log_ratio > LOG_LIMIT) & (slope < 0)) | ((log_ratio < -LOG_LIMIT) & (slope > 0))
    return None, slope.masked_fill(outward, 0.0)


@operator(
    "(Tensor start, Tensor log_ratio) -> Tensor", lambda start, _: torch.empty_like(start), (_save, _differentiate)
)
def _learned_threshold(start: Tensor, log_ratio: Tensor) -> Tensor:
    """The threshold in force. One operator where code is traced: `exp` must not be compiled another way."""
    return start * log_ratio.clamp(-LOG_LIMIT, LOG_LIMIT).exp()


learned_threshold = _learned_threshold.registered  # in eager code too, for its gradient
