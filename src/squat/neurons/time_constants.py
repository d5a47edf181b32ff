"""Decays of single neurons, drawn from a distribution of time constants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from squat.checks import check_choice, check_int, check_real

SPREAD = 2.0
"""Standard deviations from the middle of the range to its ends, where the normal distribution is cut."""


def _uniform(q: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * q


def _log_uniform(q: Tensor, low: float, high: float) -> Tensor:
    return low * (high / low) ** q


def _normal(q: Tensor, low: float, high: float) -> Tensor:
    ends = torch.special.ndtr(torch.tensor([-SPREAD, SPREAD], dtype=q.dtype))
    deviation = torch.special.ndtri(ends[0] + (ends[1] - ends[0]) * q)
    return (low + high) / 2 + (high - low) / (2 * SPREAD) * deviation


DISTRIBUTIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "uniform": _uniform,
    "log_uniform": _log_uniform,
    "normal": _normal,
}
"""Quantile functions by name: from probabilities in [0, 1) to time constants in [low, high]."""


def sample_beta(
    features: int,
    tau_low: float,
    tau_high: float,
    distribution: str = "log_uniform",
    *,
    dt: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A decay for each neuron from random time constants, for `beta` of a neuron (with `learn_beta`, where it starts).

        beta = exp(-dt / tau),    tau_low <= tau <= tau_high

    Args:
        features: neurons, N (of an image, the product of its axes).
        tau_low: shortest time constant, > 0, in the unit of `dt`.
        tau_high: longest time constant, >= `tau_low`.
        distribution: of the time constants: `"uniform"`, `"log_uniform"` (every octave is as likely), or `"normal"`
            about the middle of the range, whose ends are two standard deviations away and cut it.
        dt: duration of a time step, > 0.
        generator: source of the random numbers; torch's global one by default.

    Returns:
        `[N]` float32, in [0, 1].

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Perez-Nieves et al. 2021, "Neural heterogeneity promotes robust learning", for why they should differ.

    Example:
        >>> from squat import LIF, sample_beta
        >>> beta = sample_beta(4, 5.0, 100.0, generator=torch.Generator().manual_seed(0))
        >>> beta
        tensor([0.9891, 0.9763, 0.9507, 0.9874])
        >>> LIF(beta, learn_beta="sigmoid").decay().shape
        torch.Size([4])
    """
    check_int("features", features, 1)
    low = check_real("tau_low", tau_low, 0.0, open_low=True)
    high = check_real("tau_high", tau_high, low)
    check_choice("distribution", distribution, DISTRIBUTIONS)
    step = check_real("dt", dt, 0.0, open_low=True)
    q = torch.rand(features, generator=generator, dtype=torch.float64)
    return torch.exp(-step / DISTRIBUTIONS[distribution](q, low, high)).float()
