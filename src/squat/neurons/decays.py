"""Decays: how they may be learned, and their check."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from squat.checks import check_real, check_type

LEARN_DECAY = (False, "clamp", "sigmoid")
DECAY_ACCEPTED = "a decay in [0, 1], or one per neuron"


def checked_decay(name: str, value: float | Sequence[float] | Tensor) -> Tensor:
    """One decay, or one per neuron, as a new tensor; refused outside [0, 1]."""
    if isinstance(value, (int, float)):
        return torch.tensor(check_real(name, value, 0.0, 1.0))
    check_type(name, value, (Tensor, Sequence), DECAY_ACCEPTED)
    values = value.detach() if isinstance(value, Tensor) else torch.tensor(list(value))
    if not values.is_floating_point() or values.dim() > 1 or values.numel() == 0:
        raise ValueError(f"{name}: {values.dtype} of shape {tuple(values.shape)}, expected {DECAY_ACCEPTED}")
    if not bool(((values >= 0) & (values <= 1)).all()):
        outside = values[~((values >= 0) & (values <= 1))].flatten()[0]
        raise ValueError(f"{name}: holds {float(outside):.4g}, expected {DECAY_ACCEPTED}; clamp it first")
    return values.clone()
