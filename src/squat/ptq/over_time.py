"""A state over time: its histogram, and its mean, spread and saturation at every step of a sequence.

The start of a sequence is no sample of its end: membranes begin at zero and take some time constants to spread.
"""

from __future__ import annotations

import torch
from torch import Tensor

from squat.ptq.histogram import StreamingHistogram


class StateObservation:
    """One state of one layer on some data.

    Args:
        low: below this value a state counts as saturated low.
        high: above this value a state counts as saturated high.
        bins: of the histogram.

    Example:
        >>> seen = StateObservation(low=-1.0, high=1.0)
        >>> seen.add(torch.tensor([[[0.0, 0.0]], [[-2.0, 4.0]]]))
        >>> seen.mean.tolist(), seen.spread.tolist()
        ([0.0, 1.0], [0.0, 3.0])
        >>> seen.below.tolist(), seen.above.tolist()
        ([0.0, 0.5], [0.0, 0.5])
    """

    def __init__(self, low: float = -torch.inf, high: float = torch.inf, bins: int = 4096) -> None:
        self.low, self.high = low, high
        self.histogram = StreamingHistogram(bins)
        self._sums = torch.zeros(5, 0, dtype=torch.float64)  # values, sum, sum of squares, below, above; by step

    def add(self, values: Tensor) -> None:
        """Watch the values `[T, B, ...]` of one batch; sequences may differ in length.

        Raises:
            ValueError: for NaN or infinity.
        """
        self.histogram.add(values)
        steps = values.detach().cpu().flatten(1)
        wide = steps.double()
        sums = [
            torch.full((len(wide),), float(wide.shape[1]), dtype=torch.float64),
            wide.sum(1),
            wide.square().sum(1),
            (steps < self.low).sum(1, dtype=torch.float64),
            (steps > self.high).sum(1, dtype=torch.float64),
        ]
        missing = len(wide) - self._sums.shape[1]
        self._sums = torch.nn.functional.pad(self._sums, (0, max(missing, 0)))
        self._sums[:, : len(wide)] += torch.stack(sums)

    @property
    def saturated(self) -> tuple[float, float]:
        """Shares of all values below `low` and above `high`."""
        total, _, _, below, above = self._sums.sum(1).tolist()
        return below / total, above / total

    @property
    def mean(self) -> Tensor:
        """Mean over samples and neurons `[T]`, float64."""
        return self._sums[1] / self._sums[0]

    @property
    def spread(self) -> Tensor:
        """Standard deviation over samples and neurons `[T]`, float64."""
        return (self._sums[2] / self._sums[0] - self.mean**2).clamp(min=0).sqrt()

    @property
    def below(self) -> Tensor:
        """Share of values below `low` `[T]`, float64."""
        return self._sums[3] / self._sums[0]

    @property
    def above(self) -> Tensor:
        """Share of values above `high` `[T]`, float64."""
        return self._sums[4] / self._sums[0]
