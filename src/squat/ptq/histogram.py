"""A histogram of a stream of values whose range is not known beforehand: bounded memory, one pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from squat.checks import check_int, check_real

_SMALLEST_REACH = 2.0**-20


class StreamingHistogram:
    """Counts on equal bins over `[-reach, reach]`; `reach` is a power of two and doubles when a value lies outside.

    Doubling merges neighbouring bins, so no count is ever estimated: only the bin width grows.

    Args:
        bins: number of bins, a multiple of 4. A value is known to within `2 * reach / bins`, at most
            `4 / bins` of the largest magnitude seen.

    Raises:
        TypeError, ValueError: if `bins` is not a positive multiple of 4.

    Example:
        >>> histogram = StreamingHistogram(bins=8)
        >>> histogram.add(torch.tensor([-0.9, 0.1, 0.2, 0.6]))
        >>> histogram.add(torch.tensor([1.9]))
        >>> histogram.low, histogram.high, histogram.reach
        (-0.8999999761581421, 1.899999976158142, 2.0)
        >>> histogram.counts.tolist()
        [0, 0, 1, 0, 2, 1, 0, 1]
        >>> histogram.share_above(1.0)
        0.2
    """

    def __init__(self, bins: int = 4096) -> None:
        if check_int("bins", bins, 4) % 4:
            raise ValueError(f"bins={bins}: expected a multiple of 4; doubling the range merges pairs around 0")
        self.counts = torch.zeros(bins, dtype=torch.int64)
        self.reach = _SMALLEST_REACH
        self.low = math.inf
        self.high = -math.inf

    def add(self, values: Tensor) -> None:
        """Count all `values` (any shape, float).

        Raises:
            ValueError: for NaN or infinity.
        """
        if values.numel() == 0:
            return
        low, high = (float(end) for end in values.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values contain NaN or infinity: expected finite values; no bin holds them")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) > self.reach:
            self._double()
        bins = len(self.counts)
        index = ((values.detach().flatten() + self.reach) * (bins / (2 * self.reach))).long().clamp_(0, bins - 1)
        self.counts += torch.bincount(index, minlength=bins).cpu()

    def _double(self) -> None:
        bins = len(self.counts)
        merged = self.counts.view(-1, 2).sum(1)
        self.counts = torch.zeros_like(self.counts)
        self.counts[bins // 4 : bins - bins // 4] = merged
        self.reach *= 2

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    @property
    def centres(self) -> Tensor:
        """Middle of each bin, float64."""
        bins = len(self.counts)
        return (torch.arange(bins, dtype=torch.float64) + 0.5) * (2 * self.reach / bins) - self.reach

    def share_below(self, value: float) -> float:
        """Share of the values in bins that lie wholly below `value`; 0 where nothing was counted."""
        return self._share(self.centres + self._half_bin < value)

    def share_above(self, value: float) -> float:
        """Share of the values in bins that lie wholly above `value`; 0 where nothing was counted."""
        return self._share(self.centres - self._half_bin > value)

    def percentile(self, percent: float) -> float:
        """The value that `percent` % of the values do not exceed, to within a bin; between `low` and `high`.

        Raises:
            TypeError, ValueError: if `percent` is not in [0, 100], or nothing was counted.

        Example:
            >>> histogram = StreamingHistogram()
            >>> histogram.add(torch.linspace(0, 1, 1001))
            >>> round(histogram.percentile(90), 2)
            0.9
        """
        check_real("percent", percent, 0.0, 100.0)
        return min(max(float(self.centres[self._bin_of(percent)]) + self._half_bin, self.low), self.high)

    def _bin_of(self, percent: float) -> int:
        if self.total == 0:
            raise ValueError("histogram is empty: it has no percentiles; add values first")
        below = self.counts.cumsum(0).double() < percent / 100.0 * self.total
        return min(int(below.sum()), len(self.counts) - 1)

    def clipped(self, percent: float) -> StreamingHistogram:
        """A histogram in which values beyond the percentiles `100 - percent` and `percent` count as at them.

        Raises:
            TypeError, ValueError: if `percent` is not in [50, 100], or nothing was counted.

        Example:
            >>> histogram = StreamingHistogram(bins=8)
            >>> histogram.add(torch.tensor([-0.9, -0.2, 0.1, 0.2, 0.9]))
            >>> histogram.clipped(75).counts.tolist()
            [0, 0, 0, 2, 3, 0, 0, 0]
        """
        check_real("percent", percent, 50.0, 100.0)
        low, high = self._bin_of(100.0 - percent), self._bin_of(percent)
        clipped = StreamingHistogram(len(self.counts))
        clipped.reach = self.reach
        clipped.low = max(self.low, float(self.centres[low]) - self._half_bin)
        clipped.high = min(self.high, float(self.centres[high]) + self._half_bin)
        clipped.counts[low : high + 1] = self.counts[low : high + 1]
        clipped.counts[low] += self.counts[:low].sum()
        clipped.counts[high] += self.counts[high + 1 :].sum()
        return clipped

    def around(self, low: float, high: float, bins: int) -> tuple[float, float, tuple[int, ...]]:
        """The part about `[low, high]` in about `bins` wider bins, for a picture or a file.

        Returns:
            Lower end of the first bin, upper end of the last, and the counts between.

        Example:
            >>> histogram = StreamingHistogram(bins=8)
            >>> histogram.add(torch.tensor([-0.9, 0.1, 0.2, 0.6]))
            >>> histogram.around(-0.5, 1.0, bins=3)
            (-0.5, 1.0, (0, 2, 1))
        """
        width = 2 * self._half_bin
        first = max(int((low + self.reach) / width), 0)
        last = min(math.ceil((high + self.reach) / width), len(self.counts))
        merged = max((last - first) // bins, 1)
        counts = [int(part.sum()) for part in self.counts[first:last].split(merged)]
        start = first * width - self.reach
        return start, start + len(counts) * merged * width, tuple(counts)

    @property
    def _half_bin(self) -> float:
        return self.reach / len(self.counts)

    def _share(self, chosen: Tensor) -> float:
        return int(self.counts[chosen].sum()) / max(self.total, 1)
