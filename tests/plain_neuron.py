"""A LIF neuron in plain PyTorch, differentiated by autograd alone: the oracle of the loops and of their gradients.

Written from the equations of the documentation:

    a[t] = (beta*u[t-1] + i[t]) + w_rec s[t-1] - theta*s[t-1]      u[t] = level[c[t]]      s[t] = (u[t] > theta)

The quantizer passes gradients straight through, the reset is detached, the spike has a surrogate gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import squat


@dataclass(frozen=True)
class Plain:
    """One neuron layer's fixed arguments; see `run`."""

    spec: squat.StateSpec | None = None
    reset: str = "subtract"
    drop_input: bool = False
    clipped: bool = False
    surrogate: Any = squat.FastSigmoid(25.0)

    def quantize(self, a: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor | None]:
        """Level of each value with its straight-through gradients, and its code."""
        if self.spec is None:
            return a, None
        theta = float(threshold.detach())
        codes = self.spec.encode(a.detach(), theta)
        levels = self.spec.levels(theta).to(a.dtype)
        level = levels[codes.long()]
        inside = (a.detach() >= levels[0]) & (a.detach() <= levels[-1])
        to_a = inside.to(a.dtype) if self.clipped else torch.ones_like(a.detach())
        slope = (level - a.detach() * inside) / theta  # unit level, minus a/theta inside the range
        return level + to_a * (a - a.detach()) + slope * (threshold - threshold.detach()), codes

    def step(self, i: Tensor, u: Tensor | None, spikes: Tensor | None, parameters: dict[str, Tensor]) -> Tensor:
        """The membrane before quantization; `u=None` is the first step from rest."""
        beta, threshold, recurrent = parameters["beta"], parameters["threshold"], parameters.get("recurrent")
        if u is None:
            return i
        fired = (u.detach() > threshold.detach()).to(u.dtype)
        kept = (1 - fired) * u if self.reset == "zero" and not self.drop_input else u
        a = beta * kept + i
        if recurrent is not None:
            a = a + spikes @ recurrent.t()
        if self.reset == "subtract":
            return a - fired * threshold
        return (1 - fired) * a if self.reset == "zero" and self.drop_input else a

    def run(
        self, currents: Tensor, parameters: dict[str, Tensor], u: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Spikes `[T, B, ...]`, membranes `[T, B, ...]` and codes, or None, of a whole sequence."""
        all_spikes, all_u, all_codes = [], [], []
        spikes = None if u is None else self.surrogate(u - parameters["threshold"])
        for i in currents:
            a = self.step(i, u, spikes, parameters)
            u, codes = self.quantize(a, parameters["threshold"])
            spikes = self.surrogate(u - parameters["threshold"])
            all_spikes.append(spikes)
            all_u.append(u)
            all_codes.append(codes)
        return torch.stack(all_spikes), torch.stack(all_u), None if self.spec is None else torch.stack(all_codes)


def largest_error(ours: Tensor, oracle: Tensor) -> float:
    """Largest deviation in units of the oracle's largest value."""
    return float((ours - oracle).abs().max() / oracle.abs().max().clamp(min=1e-30))
