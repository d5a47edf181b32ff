"""Budgets and the progress display."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, run
from squat.ablation.budget import Budget, parse_budget
from squat.ablation.grid import expand
from squat.ablation.progress import RunProgress
from squat.ablation.records import Folder, envelope, write_json


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("100m", 6000), ("2h", 7200), ("1d", 86400), ("1h30m", 5400)]
)
def test_parse(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "100", "m", "30m1h", "-5m", "0s", "1 h", "ten"])
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"budget=.*: expected a time such as '90s', '100m', '2h' or '1h30m'"):
        parse_budget(text)


def test_no_run_starts_that_would_not_end_in_time(tmp_path: Path) -> None:
    folder, (group, *_) = Folder(tmp_path), expand(small_config())
    train, calibration = group.train, group.calibrations[0]
    assert Budget(None, folder).allows(train)
    assert Budget(time.time() + 5, folder).allows(train)  # nothing known yet
    assert not Budget(time.time() - 1, folder).allows(train)
    known = {"id": "a", "status": "ok", "parent": None, "cell": "float", "seconds": 60.0}
    found = {"accuracy": 0.5, "tied_share": 0.0, "predictions": [0], "spike_rates": {}}
    found = {"validation": found, "test": found, "size": {"weights": 1, "states": 1}}
    write_json(folder.record("a"), envelope(**known, **found))
    write_json(folder.record("b"), envelope(**{**known, "status": "failed", "error": "none", "seconds": 1000.0}))
    assert Budget(None, folder).estimate(train) == 60.0
    assert Budget(None, folder).estimate(expand(small_config(cells=("qat",)))[0].train) == 60.0  # the same kind
    assert not Budget(time.time() + 30, folder).allows(train)
    assert Budget(time.time() + 90, folder).allows(train)
    assert Budget(time.time() + 5, folder).allows(calibration)


def test_a_used_up_budget_says_what_remains(tmp_path: Path) -> None:
    config = small_config()
    (tmp_path / "slow.txt").write_text("0.4")
    summary = run(config, tmp_path, Options(budget="1s", progress=False), TOOLS)
    assert 0 < len(summary.remaining) < summary.total
    assert summary.message.startswith("stopped by the budget of 1s: ")
    assert f"{len(summary.remaining)} remain (about " in summary.message
    assert summary.message.endswith("; the same command continues")
    (tmp_path / "slow.txt").unlink()
    assert run(config, tmp_path, Options(progress=False), TOOLS).complete


def test_progress_names_every_finished_run(tmp_path: Path) -> None:
    config, console = small_config(seeds=(0,)), Console(file=io.StringIO(), width=200)
    jobs = [job for group in expand(config) for job in group.jobs]
    (tmp_path / "break.txt").write_text("squat.uniform")
    with RunProgress(Folder(tmp_path), jobs, set(), console):
        run(config, tmp_path, Options(progress=False), TOOLS)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "float seed 0: test " in text
    assert "squat uniform s4 seed 0: FAILED, RuntimeError: no convergence" in text
    assert f"{len(jobs)}/{len(jobs)}" in text
