"""What squat must reach, each judged from the ratios of one run; a target that is missed is printed like the others."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from benchmarks.cases import COPY, FLOAT, PRODUCTS, PUBLISHED, QUANTIZER, SQUAT, TRAINING


class Ratio(NamedTuple):
    """Median over the repetitions of the ratio within each repetition, with its lowest and highest value."""

    median: float
    lowest: float
    highest: float


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> Ratio:
    """Of two stacks that took turns."""
    ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True)
class Target:
    """`over / under` on the measures of all cases that match `cases`; the worst of them counts.

    `memory` takes the peak memory instead of the time; `at_least` says on which side of `limit` good is.
    """

    text: str
    cases: str
    over: str
    under: str
    limit: float
    at_least: bool = True
    memory: bool = False
    measure: str = "*"

    @property
    def required(self) -> str:
        """The requirement in words."""
        if self.at_least:
            return f"{self.limit:g} times faster"
        limit = f"1/{1 / self.limit:g}" if self.limit < 1 else f"{self.limit:.1f}"
        return f"at most {limit}"


TARGETS = (
    Target(
        "feed-forward 4/4 training step against snnTorch + Brevitas",
        "feedforward-4", PUBLISHED, SQUAT, 25, measure=TRAINING,
    ),
    Target("feed-forward 8/8 training step against the same", "feedforward-8", PUBLISHED, SQUAT, 80, measure=TRAINING),
    Target("recurrent 4/4 training step against the same", "recurrent-4", PUBLISHED, SQUAT, 20, measure=TRAINING),
    Target("feed-forward 4/4 training step against float snnTorch", "feedforward-4", FLOAT, SQUAT, 4, measure=TRAINING),
    Target("recurrent 4/4 training step against float snnTorch", "recurrent-4", FLOAT, SQUAT, 4, measure=TRAINING),
    Target(
        "feed-forward 4/4 training step against the matrix products, 5 % input spikes",
        "feedforward-4", SQUAT, PRODUCTS, 1.0, at_least=False, measure=TRAINING,
    ),
    Target(
        "feed-forward 4/4 training step against the matrix products, 20 % input spikes",
        "feedforward20-4", SQUAT, PRODUCTS, 1.3, at_least=False, measure=TRAINING,
    ),
    Target("state quantizer, 8 bits, against snnTorch", "quantizer-8", FLOAT, SQUAT, 50),
    Target("the same, peak memory", "quantizer-8", SQUAT, FLOAT, 1 / 50, at_least=False, memory=True),
    Target("training step of snnTorch with the drop-in, 8 bits", "drop-in-8", FLOAT, SQUAT, 8, measure=TRAINING),
    Target(
        "peak memory of the drop-in, 8 bits, against snnTorch's own",
        "drop-in-8", SQUAT, FLOAT, 1 / 10, at_least=False, memory=True, measure=QUANTIZER,
    ),
    Target("neuron loop against the memory copy, worst case", "loop-*", SQUAT, COPY, 1.5, at_least=False),
    Target(
        "peak memory of a training step, recurrent 4/4, against snnTorch + Brevitas",
        "recurrent-4", SQUAT, PUBLISHED, 1 / 4, at_least=False, memory=True, measure=TRAINING,
    ),
    Target("one-sample streaming step, recurrent 4/4, against float snnTorch", "stream-4", FLOAT, SQUAT, 5),
    Target("integer engine 4/4, batch 64, against float snnTorch", "engine-*-4", FLOAT, SQUAT, 10),
    Target("integer engine 4/4, batch 64, against snnTorch + Brevitas", "engine-*-4", PUBLISHED, SQUAT, 60),
)  # fmt: skip


def judge(target: Target, records: list[dict[str, Any]], smoke_run: bool = False) -> dict[str, Any]:
    """The target, what was measured (None without its case in the run), whether it is reached (None: not judged)."""
    found = []
    for record in records:
        if not fnmatch.fnmatchcase(record["name"], target.cases):
            continue
        for measure, values in record["memory" if target.memory else "seconds"].items():
            if fnmatch.fnmatchcase(measure, target.measure):
                found.append((_ratio_of(target, values), f"{record['name']}, {measure}"))
    judged: dict[str, Any] = {"case": target.text, "required": target.required, "measured": None, "reached": None}
    if not found:
        return judged
    worst, where = (min if target.at_least else max)(found)
    judged |= {"measured": worst._asdict(), "where": where}
    if not smoke_run:
        good = worst.median >= target.limit if target.at_least else worst.median <= target.limit
        judged["reached"] = good
    return judged


def _ratio_of(target: Target, values: dict[str, Any]) -> Ratio:
    if not target.memory:
        return ratio(values, target.over, target.under)
    over, under = (values[stack]["added"] for stack in (target.over, target.under))
    return Ratio(*[over / under if under > 0 else math.inf] * 3)


def judge_all(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target, measured or not."""
    return [judge(target, record["cases"], record["smoke_run"]) for target in TARGETS]


def target_cells(judged: dict[str, Any]) -> list[str]:
    """Case, required, measured, reached, as words."""
    measured, reached = judged["measured"], {True: "yes", False: "no", None: "not judged"}[judged["reached"]]
    if measured is None:
        return [judged["case"], judged["required"], "not measured", "not judged"]
    spread = (
        ""
        if measured["lowest"] == measured["highest"]
        else f" ({plain(measured['lowest'])} to {plain(measured['highest'])})"
    )
    return [judged["case"], judged["required"], plain(measured["median"]) + spread, reached]


def plain(value: float) -> str:
    """Three digits, never an exponent.

    Example:
        >>> plain(0.01234), plain(1.256), plain(1234.0)
        ('0.0123', '1.26', '1234')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
