"""Verdicts on results made up with known effects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation_fakes import small_config
from squat.ablation.cells import get_cell
from squat.ablation.config import AblationConfig
from squat.ablation.grid import expand
from squat.ablation.presets import ALL_CELLS
from squat.ablation.records import Folder
from squat.ablation.results import Results
from squat.ablation.stats import Difference
from squat.ablation.verdicts import Arm, Comparison, Verdict, comparisons, depends_on_beta, judge, trends, verdicts

SAMPLES = 1000


def made_up(accuracy: Any, name: str = "made-up", seeds: int = 5, wobble: float = 0.005, **changes: Any) -> Results:
    """Results in which a cell is right with probability `accuracy(cell, scheme)`, the same difficulty for all."""
    config: AblationConfig = small_config(name=name, cells=ALL_CELLS, seeds=tuple(range(seeds)), **changes)
    rng = np.random.default_rng(len(name) + seeds)
    labels = rng.integers(0, 10, SAMPLES)
    shared = rng.random(SAMPLES)
    records = {}
    for job in (job for group in expand(config) for job in group.jobs):
        chance = accuracy(job.cell, job.scheme) + wobble * rng.normal()
        right = 0.7 * shared + 0.3 * rng.random(SAMPLES)
        right = right < np.quantile(right, min(max(chance, 0.0), 1.0))
        predictions = np.where(right, labels, (labels + 1) % 10)
        records[job.id] = {"status": "ok", "test": {"predictions": predictions.tolist()}}
    data = {"classes": 10, "test_labels": labels.tolist()}
    return Results(Folder(Path("nowhere")), config, data, records)


def table(found: list[Verdict]) -> dict[tuple[str, str], str]:
    return {(v.comparison.claim, str(v.comparison.first)): v.verdict for v in found}


def test_the_comparisons_of_the_design() -> None:
    found = [
        (c.claim, str(c.first), [str(r) for r in c.rivals]) for c in comparisons(("uniform", "threshold_centered"))
    ]
    assert found == [
        ("1", "squat threshold_centered", ["squat uniform"]),
        ("1", "qat+squat threshold_centered", ["qat+squat uniform"]),
        ("2", "qat+squat uniform", ["qat+state-ptq uniform", "squat+weight-ptq uniform"]),
        ("3", "qat+state-ptq uniform", ["squat+weight-ptq uniform"]),
        ("3", "qat", ["squat uniform"]),
        (
            "2",
            "qat+squat threshold_centered",
            ["qat+state-ptq threshold_centered", "squat+weight-ptq threshold_centered"],
        ),
        ("3", "qat+state-ptq threshold_centered", ["squat+weight-ptq threshold_centered"]),
        ("3", "qat", ["squat threshold_centered"]),
    ]
    own = [c for c in comparisons(("uniform", "threshold_centered", "anchored")) if c.claim == "own"]
    assert [str(c.first) for c in own] == ["squat anchored", "qat+squat anchored"]


def test_no_difference_is_not_supported() -> None:
    found = verdicts([made_up(lambda cell, scheme: 0.6)], 1000)
    assert {v.verdict for v in found} <= {"equivalent", "undecided"}


def test_effects_are_found_with_their_sign() -> None:
    def accuracy(cell: str, scheme: str | None) -> float:
        base = {"qat+squat": 0.70, "qat+state-ptq": 0.55, "squat+weight-ptq": 0.65, "qat": 0.70, "squat": 0.60}.get(
            cell, 0.5
        )
        return base + (0.06 if scheme == "threshold_centered" else 0.0)

    found = table(verdicts([made_up(accuracy)], 1000))
    assert found["1", "squat threshold_centered"] == "supported"
    assert found["1", "qat+squat threshold_centered"] == "supported"
    assert found["2", "qat+squat uniform"] == "supported"
    assert found["3", "qat+state-ptq uniform"] == "refuted"
    assert found["3", "qat"] == "supported"


def test_the_better_of_the_mixed_cells_is_the_rival() -> None:
    def accuracy(cell: str, scheme: str | None) -> float:
        return {"qat+squat": 0.66, "qat+state-ptq": 0.40, "squat+weight-ptq": 0.70}.get(cell, 0.5)

    claim = next(v for v in verdicts([made_up(accuracy)], 1000) if v.comparison.claim == "2")
    assert str(claim.rival) == "squat+weight-ptq uniform"
    assert claim.verdict == "refuted"


def test_floor() -> None:
    found = verdicts([made_up(lambda cell, scheme: 0.6 if scheme == "threshold_centered" else 0.14)], 1000)
    assert table(found)["1", "squat threshold_centered"] == "floor"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(seeds: int) -> None:
    results = made_up(lambda cell, scheme: 0.8 if scheme == "threshold_centered" else 0.5, seeds=seeds)
    found = verdicts([results], 1000)
    assert {v.verdict for v in found} == {"undecided"}
    assert all(v.significant == 0 for v in found)
    first = found[0].difference
    assert first is not None
    assert (first.t_interval is None) == (seeds == 1)


def test_missing_runs_leave_a_comparison_undecided() -> None:
    results = made_up(lambda cell, scheme: 0.6)
    for name in list(results.records):
        if name.startswith("squat.uniform"):
            results.records[name]["status"] = "failed"
    claim = verdicts([results], 1000)[0]
    assert (claim.verdict, claim.difference, claim.accuracies) == ("undecided", None, None)
    for name in list(results.records):
        if name.startswith("qat+squat.uniform") and "seed0" in name:
            del results.records[name]
    pairs = {v.comparison.claim: v for v in verdicts([results], 1000) if v.comparison.first.cell == "qat+squat"}
    assert pairs["1"].difference is not None
    assert pairs["1"].difference.seeds == 4  # the seeds that both have


def test_holm_over_bits_and_data_sets() -> None:
    one = made_up(lambda cell, scheme: 0.6 + 0.015 * (scheme == "uniform"), bits=(8, 4, 2))
    two = made_up(lambda cell, scheme: 0.6, name="other", bits=(8, 4, 2))
    family = [v for v in verdicts([one, two], 1000) if str(v.comparison.first) == "squat threshold_centered"]
    assert len(family) == 6
    raw = [v.difference.p for v in family if v.difference is not None]
    assert min(v.p_adjusted for v in family) == pytest.approx(min(1.0, 6 * min(raw)))
    assert all(v.p_adjusted >= p for v, p in zip(family, raw, strict=True))


def test_bits_that_do_not_matter_are_compared_once() -> None:
    found = verdicts([made_up(lambda cell, scheme: 0.6, bits=((4, 4), (8, 4), (4, 2)))], 1000)
    of_states = [v.bits for v in found if str(v.comparison.first) == "squat threshold_centered"]
    assert of_states == ["s4", "s2"]
    assert [v.bits for v in found if v.comparison.first == Arm("qat")][:3] == ["w4 s4", "w8 s4", "w4 s2"]


@pytest.mark.parametrize(
    ("mean", "interval", "p", "accuracies", "verdict"),
    [
        (3.0, (1.0, 5.0), 0.01, (63.0, 60.0), "supported"),
        (-3.0, (-5.0, -1.0), 0.01, (60.0, 63.0), "refuted"),
        (3.0, (1.0, 5.0), 0.06, (63.0, 60.0), "undecided"),
        (0.5, (0.2, 0.8), 0.01, (60.5, 60.0), "equivalent"),
        (0.5, (-0.5, 1.1), 0.3, (60.5, 60.0), "undecided"),
        (30.0, (28.0, 32.0), 0.001, (45.0, 15.0), "floor"),
        (30.0, (28.0, 32.0), 0.001, (45.1, 15.1), "supported"),
    ],
)
def test_judge(
    mean: float, interval: tuple[float, float], p: float, accuracies: tuple[float, float], verdict: str
) -> None:
    assert judge(Difference(mean, interval, p, 2.0, None, 5), p, accuracies, 10.0) == verdict


def a_verdict(data_set: str, mean: float, p: float, verdict: str) -> Verdict:
    difference = Difference(mean, (mean - 1, mean + 1), p, 2.0, None, 5)
    comparison = Comparison("1", Arm("squat", "threshold_centered"), (Arm("squat", "uniform"),))
    return Verdict(comparison, data_set, "s4", comparison.rivals[0], (60.0, 60.0), difference, p, verdict)


def test_trends_over_data_sets() -> None:
    for_it, against = a_verdict("a", 3.0, 0.01, "supported"), a_verdict("c", -3.0, 0.01, "refuted")
    nothing = a_verdict("d", -1.0, 0.4, "undecided")
    assert trends([for_it, a_verdict("b", 2.0, 0.01, "supported"), nothing])[0].verdict == "supported"
    assert trends([for_it, nothing])[0].verdict == "undecided"
    assert trends([for_it, a_verdict("b", 2.0, 0.01, "supported"), against])[0].verdict == "refuted"


def test_verdicts_that_depend_on_beta() -> None:
    primary = [a_verdict("a", 3.0, 0.01, "supported"), a_verdict("b", 3.0, 0.01, "supported")]
    secondary = [a_verdict("a", 0.1, 0.9, "undecided"), a_verdict("b", 3.0, 0.01, "supported")]
    assert depends_on_beta(primary, secondary) == (primary[:1], [])


def test_verdicts_without_a_partner_are_not_the_same() -> None:
    primary = [a_verdict("a", 3.0, 0.01, "supported"), a_verdict("b", 3.0, 0.01, "supported")]
    same = a_verdict("a", 2.0, 0.01, "supported")
    assert depends_on_beta(primary, [same]) == ([], primary[1:])
    assert depends_on_beta(primary, [replace(same, bits="s2")]) == ([], primary)
    assert depends_on_beta(primary, [replace(same, difference=None, verdict="undecided")]) == ([], primary)
    with pytest.raises(ValueError, match=r"secondary experiment 'c': expected the name of a primary one, among \['a'"):
        depends_on_beta(primary, [a_verdict("c", 3.0, 0.01, "supported")])


def test_results_find_runs_by_coordinates() -> None:
    results = made_up(lambda cell, scheme: 0.6, betas={"uniform/4": 0.5})
    for cell, at in results.rows():
        assert len(results.runs(cell, at)) == 5
        assert at.within(get_cell(cell)) == at
