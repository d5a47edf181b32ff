"""Surrogate gradients: the spike is `s = (u - threshold > 0)`, strictly; backward uses `derivative(u - threshold)`.

A surrogate is a frozen dataclass, so it prints, compares and can be swept. Kernels contain none: for quantized states
the derivative is a table over the codes that is computed here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_choice, check_real


@dataclass(frozen=True)
class Surrogate:
    """Base: a scalar shape parameter, `derivative(x)`, and a call that spikes with that gradient."""

    compact = False
    """Whether the derivative is zero outside some range; the backward pass then leaves neurons out."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_real(name, value, 0.0, open_low=True)

    def derivative(self, x: Tensor) -> Tensor:
        """Stand-in for the derivative of the spike with respect to `x = u - threshold`."""
        raise TypeError(f"{type(self).__name__} is abstract; use one of {', '.join(SURROGATES)}")

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes `x > 0` in the dtype of `x`, differentiable through `derivative`."""
        return _Spike.apply(x, self)

    def to_json(self) -> dict[str, Any]:
        """The surrogate as JSON values; `surrogate_from_json` is the inverse."""
        return {"type": type(self).__name__, **asdict(self)}


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.surrogate.derivative(ctx.saved_tensors[0]), None


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """`1 / (1 + slope*|x|)^2`.

    Args:
        slope: steepness, > 0.

    Source: Zenke & Ganguli 2018 (SuperSpike); snnTorch `surrogate.fast_sigmoid`.

    Example:
        >>> FastSigmoid(25.0).derivative(torch.tensor([0.0, 0.04]))
        tensor([1.0000, 0.2500])
    """

    slope: float = 25.0

    def derivative(self, x: Tensor) -> Tensor:
        """`1 / (1 + slope*|x|)^2`."""
        return x.abs().mul_(self.slope).add_(1.0).square_().reciprocal_()  # one allocation: it runs on whole sequences


@dataclass(frozen=True)
class ATan(Surrogate):
    """`(alpha/2) / (1 + (pi/2 * alpha * x)^2)`.

    Args:
        alpha: steepness, > 0.

    Source: Fang et al. 2021; snnTorch `surrogate.atan`.

    Example:
        >>> ATan(2.0).derivative(torch.tensor(0.0))
        tensor(1.)
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        """`(alpha/2) / (1 + (pi/2 * alpha * x)^2)`."""
        return self.alpha / 2.0 / (1.0 + (math.pi / 2.0 * self.alpha * x).square())


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """`slope * sigma(slope*x) * (1 - sigma(slope*x))`.

    Args:
        slope: steepness, > 0.

    Source: Zenke & Vogels 2021; snnTorch `surrogate.sigmoid`.

    Example:
        >>> Sigmoid(4.0).derivative(torch.tensor(0.0))
        tensor(1.)
    """

    slope: float = 25.0

    def derivative(self, x: Tensor) -> Tensor:
        """`slope * sigma(slope*x) * (1 - sigma(slope*x))`."""
        sigma = torch.sigmoid(self.slope * x)
        return self.slope * sigma * (1.0 - sigma)


@dataclass(frozen=True)
class Triangular(Surrogate):
    """`max(0, 1 - |x|/width) / width`: compact support, unit area.

    Args:
        width: half width of the support, > 0.

    Source: Bellec et al. 2018 (shape; scaled to unit area).

    Example:
        >>> Triangular(1.0).derivative(torch.tensor([0.0, 0.5, 2.0]))
        tensor([1.0000, 0.5000, 0.0000])
    """

    compact = True
    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        """`max(0, 1 - |x|/width) / width`."""
        return (1.0 - x.abs() / self.width).clamp(min=0.0) / self.width


@dataclass(frozen=True)
class Boxcar(Surrogate):
    """`1 / (2*width)` for `|x| <= width`, else 0: compact support, unit area.

    Args:
        width: half width of the support, > 0.

    Source: Kaiser et al. 2020 (DECOLLE), boxcar surrogate.

    Example:
        >>> Boxcar(0.5).derivative(torch.tensor([0.0, 0.5, 0.6]))
        tensor([1., 1., 0.])
    """

    compact = True
    width: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        """`1 / (2*width)` for `|x| <= width`, else 0."""
        return (x.abs() <= self.width).to(x.dtype) / (2.0 * self.width)


SURROGATES: dict[str, type[Surrogate]] = {
    surrogate.__name__: surrogate for surrogate in (FastSigmoid, ATan, Sigmoid, Triangular, Boxcar)
}
"""Every surrogate by class name. A new one is added here and inherits the contract tests."""


def surrogate_from_json(data: dict[str, Any]) -> Surrogate:
    """The surrogate that `Surrogate.to_json` described.

    Raises:
        ValueError: for an unknown type or field; the message lists what is known.

    Example:
        >>> surrogate_from_json({"type": "ATan", "alpha": 2.0})
        ATan(alpha=2.0)
    """
    arguments = dict(data)
    name = check_choice("surrogate type", arguments.pop("type", None), SURROGATES)
    names = [field.name for field in fields(SURROGATES[name])]
    for argument in arguments:
        check_choice(f"field of {name}", argument, names)
    return SURROGATES[name](**arguments)
