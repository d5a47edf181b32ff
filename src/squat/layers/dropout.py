"""`Dropout`: values dropped for a whole sequence; those kept stay integers and are worth more."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from squat.checks import check_real, check_type
from squat.layers.current import Current
from squat.text import brief


class Dropped(NamedTuple):
    """What `Dropout` hands the layer behind it in training.

    Args:
        kept: `[T, B, ...]`, the inputs, 0 where dropped.
        worth: what one unit of them is worth, `1 / (1 - p)`.
    """

    kept: Tensor
    worth: float

    def dense(self) -> Tensor:
        """What it is worth, as a tensor."""
        return self.kept * self.worth

    def dropped(self, again: Tensor | Dropped) -> Dropped:
        """What a further `Dropout` made of `kept`."""
        kept, worth = again if isinstance(again, Dropped) else (again, 1.0)
        return Dropped(kept, self.worth * worth)

    def __repr__(self) -> str:
        return brief(self)


class Dropout(nn.Module):
    """Drops each value with probability `p`, in training, for the whole sequence.

    One mask a sample, the same at every time step: a mask that changed from step to step would be averaged out by the
    membrane. What is kept has to be worth `1 / (1 - p)` as much:

    - before a `Linear`, `Conv2d` or `Conv1d`, perhaps pooled and flattened on the way, *spikes* are dropped. Since they
      are integers, the factor goes into the scale of that layer's sums, not into the spikes.
    - behind a layer with integer weights *sums* are dropped, `i = z * scale / (1 - p) + bias`: they stay integers, and
      the bias is kept.
    - elsewhere the values of a float tensor, as in torch.

    In eval mode it does nothing, and `squat.lower` passes over it. The mask comes from torch's global generator of the
    CPU; `squat.train.fit` seeds it for every step, so that resumed runs draw what uninterrupted ones drew.

    Args:
        p: probability, in [0, 1).
        channels: drop whole channels (axis 2) and not single values.

    Raises:
        TypeError, ValueError: an argument is out of its range; `Sequential` refuses, in training, to give other layers
            with integer weights what is not worth an integer.

    Source: Srivastava et al. 2014, "Dropout"; constant over time: Gal and Ghahramani 2016, arXiv 1512.05287.

    Example:
        >>> from squat import Linear, Sequential
        >>> net = Sequential(Dropout(0.5), Linear(4, 2, bias=False))
        >>> currents, _ = net(torch.ones(3, 1, 4))
        >>> bool((currents[0] == currents[2]).all())
        True
    """

    def __init__(self, p: float = 0.5, channels: bool = False) -> None:
        super().__init__()
        self.p = check_real("p", p, 0.0, 1.0)
        if self.p == 1.0:
            raise ValueError("p=1.0: expected a probability in [0, 1); at 1 no input would be left")
        self.channels = check_type("channels", channels, bool, "True or False")

    def forward(self, x: Tensor | Current) -> Tensor | Dropped | Current:
        """`x` itself in eval mode, else `Dropped` of a tensor and a `Current` of a `Current`.

        An input that is constant over time (time stride 0) stays so.
        """
        if not self.training or self.p == 0.0:
            return x
        worth = 1.0 / (1.0 - self.p)
        if not isinstance(x, Current):
            return Dropped(self._kept(x), worth)
        z = self._kept(x.z)
        return x._replace(z=z, scale=x.scale * worth, checked=z if x.exact else None)

    def _kept(self, x: Tensor) -> Tensor:
        steps = x[:1] if x.shape[0] > 1 and x.stride(0) == 0 else x
        shape = [*x.shape[1:3], *[1] * (x.dim() - 3)] if self.channels else x.shape[1:]
        keep = torch.rand(shape, dtype=torch.float32) >= self.p
        kept = steps * keep.to(x)
        return kept if steps is x else kept.expand(x.shape)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {"p": self.p, **({"channels": True} if self.channels else {})}

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
