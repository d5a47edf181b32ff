"""A time budget: no run starts that is not expected to end in time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from squat.ablation.grid import Job
from squat.ablation.records import Folder, read_records
from squat.text import brief

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_budget(text: str) -> float:
    """Seconds of a budget such as "90s", "100m", "2h" or "1h30m".

    Args:
        text: numbers with the units d, h, m, s, largest first.

    Returns:
        seconds, > 0.

    Raises:
        ValueError: for other text and for a budget of zero.

    Example:
        >>> parse_budget("100m"), parse_budget("1h30m"), parse_budget("0.5h")
        (6000.0, 5400.0, 1800.0)
    """
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch("".join(f"(?:{number}{unit})?" for unit in "dhms"), str(text).strip())
    units = (_UNITS[unit] for unit in "dhms")
    seconds = sum(float(value or 0) * unit for value, unit in zip(found.groups(), units, strict=True)) if found else 0.0
    if seconds <= 0:
        raise ValueError(f"budget={text!r}: expected a time such as '90s', '100m', '2h' or '1h30m'")
    return seconds


@dataclass(frozen=True)
class Budget:
    """Decides before each run whether it is expected to end before the deadline.

    Args:
        deadline: time of day (`time.time()`, so that processes agree) or None for no limit.
        folder: results folder, whose records say how long runs take.
    """

    deadline: float | None
    folder: Folder

    __repr__ = brief

    def allows(self, job: Job) -> bool:
        """Whether the job may start now; a kind of run not yet seen may start while any time is left."""
        if self.deadline is None:
            return True
        left = self.deadline - time.time()
        return left > 0 and (self.estimate(job) or 0.0) <= left

    def estimate(self, job: Job) -> float | None:
        """Expected seconds: the longest run of the same cell so far, else of the same kind (trained, calibrated)."""
        records = [record for record in read_records(self.folder).values() if record["status"] == "ok"]
        same_kind = [record for record in records if (record["parent"] is None) == (job.parent is None)]
        same_cell = [record["seconds"] for record in same_kind if record["cell"] == job.cell]
        return max(same_cell or [record["seconds"] for record in same_kind], default=None)


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> duration(42), duration(150), duration(7300)
        ('42 s', '2 m 30 s', '2 h 1 m')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} m"
