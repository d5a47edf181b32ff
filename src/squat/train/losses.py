"""Losses on scores: cross-entropy of any readout, and the squared error of spike rates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from squat.checks import check_choice
from squat.train.config import LOSSES

CORRECT_RATE = 0.8
WRONG_RATE = 0.2


def loss_of(
    scores: Tensor, labels: Tensor, steps: int, loss: str = "cross_entropy", logit_scale: float = 1.0
) -> Tensor:
    """Mean loss of a batch.

    `cross_entropy`: `-log softmax(logit_scale * score)[label]`. `count_mse`: mean over samples and classes of
    `(score / T - target)^2`, target 0.8 for the right class and 0.2 for the others; scores are spike counts.

    Args:
        scores: `[B, classes]`.
        labels: int64 `[B]`.
        steps: number of time steps T.
        loss: `"cross_entropy"` or `"count_mse"`.
        logit_scale: factor of the scores, used by the cross-entropy only.

    Returns:
        0-dim tensor.

    Raises:
        ValueError: for another loss.

    Source: targets 0.8 and 0.2 as in snnTorch's `mse_count_loss`.

    Example:
        >>> loss_of(torch.tensor([[20.0, 5.0]]), torch.tensor([0]), steps=25, loss="count_mse")
        tensor(0.)
    """
    check_choice("loss", loss, LOSSES)
    if loss == "cross_entropy":
        return F.cross_entropy(scores * logit_scale, labels)
    target = torch.full_like(scores, WRONG_RATE).scatter_(1, labels[:, None], CORRECT_RATE)
    return F.mse_loss(scores / steps, target)
