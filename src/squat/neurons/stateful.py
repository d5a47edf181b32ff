"""What every layer with a state shares: single time steps, its threshold, and what half precision must not narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from squat.checks import check_real, check_type


class Stateful(nn.Module):
    """A layer that carries a state from call to call: `forward(x [T, B, ...], state=None) -> (output, state)`."""

    carries_state = True
    spiking = True
    states_per_neuron: int = 1
    threshold: Tensor
    wide: tuple[str, ...] = ()
    """Parameters and buffers that are never narrowed: in half precision 8-bit levels would merge."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step: `x [B, ...]` and the state of the step before."""
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def _set_threshold(self, threshold: float, learn: bool) -> None:
        theta = check_real("threshold", threshold, 0.0, open_low=True)
        if not 1e-30 <= theta <= 1e30:
            raise ValueError(f"threshold={theta!r}: expected 1e-30 to 1e30, so that its levels fit float32; rescale")
        if check_type("learn_threshold", learn, bool, "True or False"):
            self.threshold = nn.Parameter(torch.tensor(theta))
        else:
            # In float64, since the published levels are computed from the number that the user wrote.
            self.register_buffer("threshold", torch.tensor(theta, dtype=torch.float64))
        self.learn_threshold = learn

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        names = [name for name in self.wide if getattr(self, name, None) is not None]
        before = {name: getattr(self, name).detach() for name in names}
        super()._apply(fn, recurse)
        for name in names:
            after = getattr(self, name)
            if torch.finfo(after.dtype).bits < torch.finfo(before[name].dtype).bits:
                after.data = before[name].to(after.device)
        return self
