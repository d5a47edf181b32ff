"""`Dropout`: inputs of a layer dropped for a whole sequence; those kept stay integers and are worth more."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from squat.checks import check_real
from squat.text import brief


class Dropped(NamedTuple):
    """What `Dropout` hands the layer behind it in training.

    Args:
        kept: `[T, B, ...]`, the inputs, 0 where dropped.
        worth: what one unit of them is worth, `1 / (1 - p)`.
    """

    kept: Tensor
    worth: float

    def __repr__(self) -> str:
        return brief(self)


class Dropout(nn.Module):
    """Drops each input of the next `Linear` or `Conv2d` with probability `p`, in training, for the whole sequence.

    One mask a sample, the same at every time step: a mask that changed from step to step would be averaged out by the
    membrane. What is kept has to be worth `1 / (1 - p)` as much; since spikes are integers, that factor goes into the
    scale of the next layer's sums, not into the spikes. In eval mode it does nothing, and `squat.lower` passes over it.
    The mask comes from torch's global generator of the CPU; `squat.train.fit` seeds it for every step, so that resumed
    runs draw what uninterrupted ones drew.

    Args:
        p: probability, in [0, 1).

    Raises:
        TypeError, ValueError: `p` is out of its range; `Sequential` refuses it where no `Linear` or `Conv2d` follows.

    Source: Srivastava et al. 2014, "Dropout"; constant over time: Gal and Ghahramani 2016, arXiv 1512.05287.

    Example:
        >>> from squat import Linear, Sequential
        >>> net = Sequential(Dropout(0.5), Linear(4, 2, bias=False))
        >>> currents, _ = net(torch.ones(3, 1, 4))
        >>> bool((currents[0] == currents[2]).all())
        True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_real("p", p, 0.0, 1.0)
        if self.p == 1.0:
            raise ValueError("p=1.0: expected a probability in [0, 1); at 1 no input would be left")

    def forward(self, x: Tensor) -> Tensor | Dropped:
        """`x` itself in eval mode, else `Dropped`; an input that is constant over time (time stride 0) stays so."""
        if not self.training or self.p == 0.0:
            return x
        steps = x[:1] if x.shape[0] > 1 and x.stride(0) == 0 else x
        keep = torch.rand(x.shape[1:], dtype=torch.float32) >= self.p
        kept = steps * keep.to(x)
        return Dropped(kept if steps is x else kept.expand(x.shape), 1.0 / (1.0 - self.p))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"p": self.p}

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
