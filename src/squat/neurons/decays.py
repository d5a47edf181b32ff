"""Decays: how they may be learned, their check, and what neurons do with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_real
from squat.neurons.granularity import SHAPES, checked_values, over_neurons
from squat.neurons.stateful import Stateful
from squat.remember import Remembered

LEARN_DECAY = (False, "clamp", "sigmoid")
DECAY_ACCEPTED = f"a decay in [0, 1], {SHAPES}"


def refuse_nan(name: str, value: Tensor) -> Tensor:
    """A learned parameter that is used, by its name if training has lost it; unseen where code is traced.

    Raises:
        ValueError: for NaN.
    """
    if not torch.compiler.is_compiling() and bool(value.detach().isnan().any()):
        raise ValueError(f"{name}: NaN after training, expected numbers; lower the learning rate or clip the gradients")
    return value


def checked_decay(name: str, value: float | Sequence[float] | Tensor) -> Tensor:
    """One decay or several as a new tensor, see `squat.neurons.granularity`; refused outside [0, 1]."""
    if isinstance(value, (int, float)):
        return torch.tensor(check_real(name, value, 0.0, 1.0))
    values = checked_values(name, value, DECAY_ACCEPTED)
    if not bool(((values >= 0) & (values <= 1)).all()):
        outside = values[~((values >= 0) & (values <= 1))].flatten()[0]
        raise ValueError(f"{name}: holds {float(outside):.4g}, expected {DECAY_ACCEPTED}; clamp it first")
    return values


class Decaying(Stateful):
    """A layer whose states decay: by `beta`, and by others of the same kind, each with its `learn_...`."""

    learn_beta: bool | str
    remembered_decay: Remembered

    def set_decay(self, name: str, value: float | Sequence[float] | Tensor, learn: bool | str) -> None:
        """Make the buffer or parameter of a decay."""
        decay = checked_decay(name, value)
        if learn == "sigmoid":
            self.register_parameter(f"{name}_logit", nn.Parameter(torch.logit(decay, eps=1e-6)))
        elif learn == "clamp":
            self.register_parameter(name, nn.Parameter(decay))
        else:
            self.register_buffer(name, decay)

    def decay(self, name: str = "beta") -> Tensor:
        """A decay in force, in [0, 1]: 0-dim, or of the shape that it was given in."""
        learn = getattr(self, f"learn_{name}")
        if learn == "sigmoid":
            return torch.sigmoid(refuse_nan(name, getattr(self, f"{name}_logit")))
        value: Tensor = getattr(self, name)
        return refuse_nan(name, value).clamp(0.0, 1.0) if learn else value

    def decay_over(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The decay for neurons of this shape in the loop's dtype, 0-dim or `[N]`.

        The same tensor from call to call while nothing changes it.
        """
        stored: Any = self.beta_logit if self.learn_beta == "sigmoid" else self.beta

        def compute() -> Tensor:
            return over_neurons("beta", self.decay().to(dtype), shape)

        if torch.compiler.is_compiling() or not (self.learn_beta or stored.dtype != dtype or stored.dim() > 1):
            return compute()
        return self.remembered_decay((stored,), (dtype, tuple(shape)), compute)
