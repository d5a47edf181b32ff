"""Verdicts on the claims, each from a paired comparison on the test set; never assumed.

(1) threshold-centred levels beat uniform ones, in `squat` and in `qat+squat`;
(2) `qat+squat` beats the better of the mixed cells;
(3) quantized weights gain more from training than quantized states: `qat+state-ptq` beats `squat+weight-ptq`, and `qat`
    beats `squat`;
(4) the trends hold on all data sets (`trends`).
Beside them, as (own): `Anchored` levels beat the better of the published ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from squat.ablation.cells import get_cell
from squat.ablation.grid import Coordinates
from squat.ablation.results import Results
from squat.ablation.stats import RESAMPLES, Difference, holm, paired_difference
from squat.text import brief

LEVEL = 0.05
EQUIVALENCE_POINTS = 1.0
FLOOR_POINTS = 5.0
MIN_SEEDS = 3


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a cell, with a scheme where it depends on one."""

    cell: str
    scheme: str | None = None

    def __str__(self) -> str:
        return self.cell if self.scheme is None else f"{self.cell} {self.scheme}"

    def at(self, weight_bits: int, state_bits: int) -> Coordinates:
        """The coordinates of the arm at a pair of bit widths."""
        return Coordinates(self.scheme, weight_bits, state_bits).within(get_cell(self.cell))


@dataclass(frozen=True)
class Comparison:
    """`first` against the best of `rivals`; one family of Holm's correction, over bits and data sets."""

    claim: str
    first: Arm
    rivals: tuple[Arm, ...]

    __repr__ = brief


@dataclass(frozen=True)
class Verdict:
    """What the data say about one comparison at one pair of bit widths on one data set.

    Args:
        comparison: what is compared.
        data_set: name of the ablation.
        bits: the bit widths that the arms depend on, as "w4 s4".
        rival: the rival compared with, the one of higher test accuracy.
        accuracies: mean test accuracies of both, in percent.
        difference: their difference with its intervals; None without a finished pair of runs.
        p_adjusted: p-value after Holm's correction.
        verdict: "supported", "refuted", "equivalent", "undecided" or "floor".
    """

    comparison: Comparison
    data_set: str
    bits: str
    rival: Arm
    accuracies: tuple[float, float] | None
    difference: Difference | None
    p_adjusted: float
    verdict: str

    __repr__ = brief

    @property
    def significant(self) -> int:
        """Sign of the difference where it is significant after the correction, else 0."""
        if self.difference is None or self.difference.seeds < MIN_SEEDS or self.p_adjusted >= LEVEL:
            return 0
        return 1 if self.difference.mean > 0 else -1


def comparisons(schemes: Sequence[str]) -> Iterator[Comparison]:
    """The comparisons that the claims make among the given schemes.

    Args:
        schemes: names of schemes.
    """
    published = [name for name in ("uniform", "threshold_centered") if name in schemes]
    for cell in ("squat", "qat+squat"):
        if len(published) == 2:
            yield Comparison("1", Arm(cell, "threshold_centered"), (Arm(cell, "uniform"),))
    for scheme in schemes:
        mixed = (Arm("qat+state-ptq", scheme), Arm("squat+weight-ptq", scheme))
        yield Comparison("2", Arm("qat+squat", scheme), mixed)
        yield Comparison("3", mixed[0], mixed[1:])
        yield Comparison("3", Arm("qat"), (Arm("squat", scheme),))
    if "anchored" in schemes and published:
        for cell in ("squat", "qat+squat"):
            yield Comparison("own", Arm(cell, "anchored"), tuple(Arm(cell, name) for name in published))


def judge(
    difference: Difference | None, p_adjusted: float, accuracies: tuple[float, float] | None, chance: float
) -> str:
    """The verdict of one comparison.

    In this order: "floor" if the worse side is within 5 points of chance; "undecided" with fewer than 3 seeds;
    "equivalent" if the interval lies within 1 point of zero, significant or not; "supported" or "refuted" if the
    corrected p-value is below 5 %; else "undecided".

    Args:
        difference: first less second; None if nothing can be compared.
        p_adjusted: p-value after Holm's correction.
        accuracies: mean accuracies of both sides, percent.
        chance: accuracy of guessing, percent.

    Example:
        >>> judge(Difference(3.0, (1.5, 4.5), 0.001, 2.1, (1.0, 5.0), 5), 0.01, (63.0, 60.0), chance=10.0)
        'supported'
    """
    if difference is None or accuracies is None:
        return "undecided"
    if min(accuracies) <= chance + FLOOR_POINTS:
        return "floor"
    if difference.seeds < MIN_SEEDS:
        return "undecided"
    if difference.interval[0] >= -EQUIVALENCE_POINTS and difference.interval[1] <= EQUIVALENCE_POINTS:
        return "equivalent"
    if p_adjusted >= LEVEL:
        return "undecided"
    return "supported" if difference.mean > 0 else "refuted"


def verdicts(experiments: Sequence[Results], resamples: int = RESAMPLES) -> list[Verdict]:
    """Verdicts on all claims, for every bit width and data set, Holm-corrected over both.

    Args:
        experiments: results, one per data set.
        resamples: of the bootstrap.

    Returns:
        one verdict per comparison, bit widths and data set; comparisons whose cells were not run are left out.
    """
    compared: list[Verdict] = []
    for results in experiments:
        for comparison in comparisons(tuple(results.config.schemes)):
            if all(arm.cell in results.cells for arm in (comparison.first, *comparison.rivals)):
                compared += _at_all_bits(results, comparison, resamples)
    for family in dict.fromkeys(verdict.comparison for verdict in compared):
        places = [i for i, v in enumerate(compared) if v.comparison == family and v.difference is not None]
        adjusted = holm([compared[i].difference.p for i in places])  # type: ignore[union-attr]
        for place, p in zip(places, adjusted, strict=True):
            compared[place] = replace(compared[place], p_adjusted=p)
    chances = {results.config.name: results.chance for results in experiments}
    return [replace(v, verdict=judge(v.difference, v.p_adjusted, v.accuracies, chances[v.data_set])) for v in compared]


def _at_all_bits(results: Results, comparison: Comparison, resamples: int) -> list[Verdict]:
    found: dict[str, Verdict] = {}
    arms = (comparison.first, *comparison.rivals)
    for weight_bits, state_bits in results.config.pairs:
        used = [arm.at(weight_bits, state_bits) for arm in arms]
        names = (
            f"w{weight_bits}" if any(at.weight_bits for at in used) else "",
            f"s{state_bits}" if any(at.state_bits for at in used) else "",
        )
        bits = " ".join(name for name in names if name)
        if bits not in found:
            found[bits] = _compare(results, comparison, bits, used, resamples)
    return list(found.values())


def _compare(results: Results, comparison: Comparison, bits: str, used: list[Coordinates], resamples: int) -> Verdict:
    best: Verdict | None = None
    runs = results.runs(comparison.first.cell, used[0])
    for rival, at in zip(comparison.rivals, used[1:], strict=True):
        seeds = sorted(runs.keys() & results.runs(rival.cell, at).keys())
        if not seeds:
            return Verdict(comparison, results.config.name, bits, rival, None, None, 1.0, "undecided")
        first = results.correct(comparison.first.cell, used[0], seeds)
        second = results.correct(rival.cell, at, seeds)
        accuracies = (100 * float(first.mean()), 100 * float(second.mean()))
        if best is None or best.accuracies is None or accuracies[1] > best.accuracies[1]:
            difference = paired_difference(first, second, resamples)
            best = Verdict(comparison, results.config.name, bits, rival, accuracies, difference, 1.0, "undecided")
    if best is None:
        raise ValueError(f"{comparison}: expected at least one rival")
    return best


@dataclass(frozen=True)
class Trend:
    """Claim (4) for one comparison at one pair of bit widths: whether it holds on all data sets."""

    comparison: Comparison
    bits: str
    data_sets: int
    supporting: int
    opposing: int
    verdict: str

    __repr__ = brief


def trends(found: Sequence[Verdict]) -> list[Trend]:
    """Claim (4): "refuted" where a data set has the opposite sign significantly, "supported" where none has and at
    least two support, else "undecided".

    Args:
        found: verdicts on claims (1) to (3) for all data sets.
    """
    rows = []
    for key in dict.fromkeys((v.comparison, v.bits) for v in found):
        group = [v for v in found if (v.comparison, v.bits) == key]
        supporting = sum(v.verdict == "supported" for v in group)
        opposing = sum(v.significant < 0 for v in group)
        verdict = "refuted" if opposing else "supported" if supporting >= 2 else "undecided"
        rows.append(Trend(*key, len(group), supporting, opposing, verdict))
    return rows


def depends_on_beta(primary: Sequence[Verdict], secondary: Sequence[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """The primary verdicts (one beta for all cells) that differ from the secondary ones (beta per scheme and bits),
    and those that cannot be compared because either side has no finished runs.

    Args:
        primary: verdicts with one beta.
        secondary: verdicts on some of the same data sets, by the same names, with a beta per scheme and bits.

    Raises:
        ValueError: if a secondary verdict is on a data set that no primary one is on.
    """
    names = list(dict.fromkeys(v.data_set for v in primary))
    for name in (v.data_set for v in secondary if v.data_set not in names):
        raise ValueError(f"secondary experiment {name!r}: expected the name of a primary one, among {names}")
    found = {(v.comparison, v.data_set, v.bits): v.verdict for v in secondary if v.difference is not None}
    others = [found.get((v.comparison, v.data_set, v.bits)) if v.difference is not None else None for v in primary]
    pairs = list(zip(primary, others, strict=True))
    return [v for v, other in pairs if other not in (None, v.verdict)], [v for v, other in pairs if other is None]
