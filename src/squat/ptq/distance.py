"""How far two sets of spike trains are apart: differing spikes, spike counts, and the distance of van Rossum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from squat.checks import check_real
from squat.text import brief


def van_rossum(spikes: Tensor, reference: Tensor, time_constant: float = 10.0) -> Tensor:
    """The distance of van Rossum between pairs of spike trains.

    Each spike becomes a step with an exponential decay, `f(t) = sum_k [t >= t_k] exp(-(t - t_k) / tau)`, and

        D^2 = 1/tau * integral over t >= 0 of (f - g)^2 dt = (1 - exp(-2/tau)) / 2 * sum over t of y[t]^2

    with `y[t] = exp(-1/tau)*y[t-1] + spikes[t] - reference[t]`; the sum goes on behind the last step. One spike that is
    missing gives D^2 = 1/2, one that moves by `d` steps `1 - exp(-d/tau)`, and spikes far apart add up.

    Args:
        spikes: spike trains `[T, ...]`, 0 or 1.
        reference: the trains to compare with, of the same shape.
        time_constant: tau, in steps: small, and D counts spikes that do not coincide; large, and it compares counts.

    Returns:
        Distances `D [...]`, float64.

    Raises:
        TypeError, ValueError: for different shapes, or a time constant that is no positive number.

    Source: M. C. W. van Rossum 2001, "A novel spike distance", Neural Computation 13.

    Example:
        >>> a, b = torch.zeros(50, 1), torch.zeros(50, 1)
        >>> a[10] = 1
        >>> float(van_rossum(a, b)) ** 2
        0.5...
        >>> b[20] = 1
        >>> float(van_rossum(a, b)) ** 2  # 1 - exp(-1)
        0.632...
    """
    check_real("time_constant", time_constant, 0.0, open_low=True)
    if spikes.shape != reference.shape or spikes.dim() == 0:
        raise ValueError(
            f"reference: shape {tuple(reference.shape)}, expected {tuple(spikes.shape)} [T, ...] like spikes; compare "
            "trains of the same neurons on the same input"
        )
    decay = math.exp(-1.0 / time_constant)
    y = torch.zeros(spikes.shape[1:], dtype=torch.float64, device=spikes.device)
    total = torch.zeros_like(y)
    for step in spikes.double() - reference.double():
        y.mul_(decay).add_(step)
        total += y * y
    return (total * (1.0 - decay**2) / 2 + y * y * decay**2 / 2).sqrt()


@dataclass(frozen=True)
class SpikeSummary:
    """How the spike trains of a layer differ from those of the float network; a train is one neuron on one sample.

    Attributes:
        differing: share of steps at which one network spikes and the other does not.
        count_difference: mean over trains of the absolute difference in spikes.
        count_change: mean over trains of the spikes more (positive) or less (negative) than in the float network.
        van_rossum: mean over trains of van Rossum's distance.
        van_rossum_to_silence: the same for a network that never spikes: what is as far has lost its spike times.
    """

    differing: float
    count_difference: float
    count_change: float
    van_rossum: float
    van_rossum_to_silence: float

    __repr__ = brief


@dataclass
class SpikeDistance:
    """Sums over batches that make a `SpikeSummary`.

    Example:
        >>> distance = SpikeDistance(time_constant=10.0)
        >>> float_trains = torch.eye(4).reshape(4, 1, 4)  # each of 4 neurons spikes once
        >>> distance.add(torch.zeros(4, 1, 4), float_trains)
        >>> found = distance.summary()
        >>> found.differing, found.count_difference, found.count_change
        (0.25, 1.0, -1.0)
        >>> found.van_rossum == found.van_rossum_to_silence
        True
    """

    time_constant: float
    _places: int = 0
    _trains: int = 0
    _differing: int = 0
    _absolute: float = 0.0
    _signed: float = 0.0
    _distance: float = 0.0
    _silence: float = 0.0

    __repr__ = brief

    def add(self, spikes: Tensor, reference: Tensor) -> None:
        """Compare one batch of spikes `[T, B, ...]` with the float network's."""
        distance = van_rossum(spikes, reference, self.time_constant)
        counts = spikes.sum(0, dtype=torch.float64) - reference.sum(0, dtype=torch.float64)
        self._places += spikes.numel()
        self._trains += counts.numel()
        self._differing += int((spikes != reference).sum())
        self._absolute += float(counts.abs().sum())
        self._signed += float(counts.sum())
        self._distance += float(distance.sum())
        self._silence += float(van_rossum(torch.zeros_like(reference), reference, self.time_constant).sum())

    def summary(self) -> SpikeSummary:
        """The means over what was added."""
        trains = (self._absolute, self._signed, self._distance, self._silence)
        return SpikeSummary(self._differing / self._places, *(total / self._trains for total in trains))
