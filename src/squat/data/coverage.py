"""How much of the recordings the steps cover: which events lie past the last one, and when that is too many."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from squat.data.events import bin_of
from squat.text import brief

LARGEST_LOSS = 0.1
"""Share of a user's events that may lie past the last step; beyond it the file is refused."""
MOST = 0.5
"""Share of recordings that may be without any event in a step."""
MANY_STEPS = 10_000
"""More are not proposed."""
EVENTS_AT_ONCE = 1 << 22
UNITS = {1.0: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds", 1e-9: "nanoseconds"}
ACCEPT = "accept_loss=true"


@dataclass(frozen=True)
class Coverage:
    """What binning leaves of the recordings of a data set, all parts together.

    Args:
        steps: bins `T`.
        bin_ms: width of a bin in milliseconds.
        events: events of all recordings.
        late: those past the last step, which are left out.
        recordings: number of recordings.
        shortened: recordings that lose an event.
        empty: recordings without an event in any step.
        silent: those of them that had no event to begin with.
        longest: steps that hold every event.
        typical: steps that hold all events of half of the recordings.
        unit_s: seconds in a unit of the times, where a user's file declares it.
        counted: what `events` and `late` count.

    Example:
        >>> times, offsets = np.array([0, 5, 11, 40]), np.array([0, 2, 4])
        >>> print(coverage(times, offsets, steps=2, ticks_per_bin=10, bin_ms=1.0))
        1 of 4 events (25 %) in 1 of 2 recordings (50 %) past the last of 2 steps of 1 ms, and left out
    """

    steps: int
    bin_ms: float
    events: int
    late: int
    recordings: int
    shortened: int
    empty: int
    silent: int
    longest: int
    typical: int
    unit_s: float | None = None
    counted: str = "events"

    __repr__ = brief

    @classmethod
    def of(cls, counts: Any, late: Any, last: Any, *, steps: int, bin_ms: float, **more: Any) -> Coverage:
        """From arrays of one integer a recording: its events, those past the last step, the bin of its last (or -1)."""
        counts, late, last = np.asarray(counts), np.asarray(late), np.asarray(last)
        return cls(
            steps,
            bin_ms,
            events=int(counts.sum()),
            late=int(late.sum()),
            recordings=len(counts),
            shortened=int(np.count_nonzero(late)),
            empty=int(np.count_nonzero(late == counts)),
            silent=int(np.count_nonzero(counts == 0)),
            longest=int(last.max(initial=-1)) + 1,
            typical=int(np.median(last)) + 1 if len(last) else 0,
            **more,
        )

    @property
    def late_share(self) -> float:
        """Share of the events that is left out."""
        return self.late / max(self.events, 1)

    def __str__(self) -> str:
        window = f"{self.steps:,} steps of {self.bin_ms:g} ms"
        if self.late:
            text = (
                f"{self.late:,} of {self.events:,} {self.counted} ({percent(self.late, self.events)}) in "
                f"{self.shortened:,} of {self.recordings:,} recordings ({percent(self.shortened, self.recordings)}) "
                f"past the last of {window}, and left out"
            )
        else:
            text = f"all {self.events:,} {self.counted} of {self.recordings:,} recordings within {window}"
        if self.empty:
            text += f"; {self.empty:,} recordings have no event in any step"
        if self.events and self.steps > 1 and self.longest * 10 <= self.steps:
            text += (
                f"; all lie in the first {self.longest:,} of {self.steps:,}: is the unit of the times right, bin_ms?"
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return asdict(self)

    def check(self, name: str, largest_loss: float) -> None:
        """Refuse data of which too much is lost.

        Args:
            name: of the data.
            largest_loss: share of events that may be cut.

        Raises:
            ValueError: a larger share is cut, or most recordings are empty; with the likely cause and the way out.
        """
        if self.late_share <= largest_loss and self.empty <= MOST * self.recordings:
            return
        if self.silent > MOST * self.recordings:
            came = f"{self.silent:,} of {self.recordings:,} recordings have no event at all"
            raise ValueError(f"{name}: {came}: look at `offsets`, which says where each begins; {ACCEPT} {_ACCEPTS}")
        too_many = (
            f"more than {largest_loss:.0%} of the events" if self.late_share > largest_loss else "most recordings"
        )
        raise ValueError(f"{name}: {self}; {too_many} would be lost: {self._cause()}; {ACCEPT} {_ACCEPTS}")

    def _cause(self) -> str:
        """What is probably wrong, and the values of the options that would hold every event."""
        width = _rounded_up(self.longest * self.bin_ms / self.steps)
        more = f"steps={self.longest} or " if self.longest <= MANY_STEPS else ""
        fits = f"{more}bin_ms={width:g} would hold every event"
        unit = self._likely_unit()
        if unit is None or self.unit_s is None:
            return f"recordings are longer than the steps ({fits})"
        declared = UNITS.get(self.unit_s, f"units of {self.unit_s:g} s")
        right = f"time_unit_s={unit:g} in the file if so"
        return f"times look like {UNITS[unit]} declared as {declared} ({right}, else {fits})"

    def _likely_unit(self) -> float | None:
        """A smaller unit, in which recordings are about as long as the steps, if in the declared one they are not."""
        if self.unit_s is None or self.typical < 30 * self.steps:
            return None
        misfits = {
            u: abs(math.log(self.typical * u / self.unit_s / self.steps)) for u in UNITS if u <= self.unit_s / 999
        }
        best = min(misfits, key=lambda unit: misfits[unit], default=None)
        return best if best is not None and misfits[best] < math.log(100) else None


_ACCEPTS = "(--data-option) takes the data as they are"


def coverage(times: np.ndarray, offsets: np.ndarray, *, steps: int, ticks_per_bin: float, **more: Any) -> Coverage:
    """What `steps` bins of `ticks_per_bin` leave of events; arguments as of `per_recording` and `Coverage.of`."""
    return Coverage.of(*per_recording(times, offsets, steps, ticks_per_bin), steps=steps, **more)


def per_recording(
    times: np.ndarray, offsets: np.ndarray, steps: int, ticks_per_bin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the events past the last step, some recordings at a time, so that events may stay on disk.

    Args:
        times: `[E]`, numbers, in ticks since the start of the recording.
        offsets: `[N + 1]`, integers: events of recording n are `offsets[n] : offsets[n+1]`.
        steps: bins `T`.
        ticks_per_bin: width of a bin in ticks.

    Returns:
        int64 `[N]` each: events of every recording, those past the last step, and the bin of the latest (-1 if none).
    """
    counts = np.diff(offsets).astype(np.int64)
    late, last = np.zeros_like(counts), np.full_like(counts, -1)
    first = 0
    while first < len(counts):
        end = max(first + 1, int(np.searchsorted(offsets, offsets[first] + EVENTS_AT_ONCE, "right")) - 1)
        chosen = first + np.flatnonzero(counts[first:end])
        if len(chosen):
            step = bin_of(times[int(offsets[first]) : int(offsets[end])], ticks_per_bin)
            begins = (offsets[chosen] - offsets[first]).astype(np.int64)
            late[chosen] = np.add.reduceat(step >= steps, begins, dtype=np.int64)
            last[chosen] = np.maximum.reduceat(step, begins)
        first = end
    return counts, late, last


def percent(part: int, whole: int) -> str:
    """A share in percent; 100 only where it is all."""
    share = part / whole if whole else 0.0
    return f"{100 * (share if part == whole else min(share, 0.9999)):.{2 if share < 0.995 else 4}g} %"


def _rounded_up(value: float) -> float:
    """To two digits that count."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return math.ceil(value / unit - 1e-9) * unit
