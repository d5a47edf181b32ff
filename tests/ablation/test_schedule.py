"""The schedule over workers that come, go and lose runs: every pattern ends in the records of one process."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, run
from squat.ablation.budget import Budget
from squat.ablation.execute import Outcome, run_job
from squat.ablation.grid import Job, expand
from squat.ablation.records import Folder, read_records, without_times
from squat.ablation.schedule import ATTEMPTS, Schedule


class Lost(Exception):
    """What a worker's death is here."""


class Unreliable:
    """Workers elsewhere: runs see a folder of their own, end in any order, and are lost as often as `losses` says."""

    lost = (Lost,)

    def __init__(self, far: Path, losses: dict[str, int], room: list[int], order: Any) -> None:
        self.far, self.losses, self.room, self.order = Folder(far), losses, room, order
        self.held: list[tuple[Job, bytes | None, Future[Outcome]]] = []
        self.started: Counter[str] = Counter()

    def capacity(self) -> int:
        """One run ends whenever the schedule looks; the room changes."""
        if self.held:
            self._end(self.held[self.order.randrange(len(self.held))])
        return self.room[sum(self.started.values()) % len(self.room)]

    def _end(self, held: tuple[Job, bytes | None, Future[Outcome]]) -> None:
        job, parent, future = held
        self.held.remove(held)
        if self.started[job.id] <= self.losses.get(job.id, 0):
            future.set_exception(Lost("gone"))
        else:
            future.set_result(run_job(job, self.far, TOOLS, parent))

    def submit(self, job: Job, parent: bytes | None) -> Future[Outcome]:
        assert (parent is None) == (job.parent is None)
        self.started[job.id] += 1
        future: Future[Outcome] = Future()
        self.held.append((job, parent, future))
        return future

    def close(self) -> None: ...


CONFIG = small_config(seeds=(0,))
JOBS = [job for group in expand(CONFIG) for job in group.jobs]


@pytest.fixture(autouse=True, scope="module")
def _no_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("squat.ablation.schedule.LOOK_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inline")
    assert run(CONFIG, folder, Options(progress=False), TOOLS).complete
    return without_times(read_records(Folder(folder)))


@settings(max_examples=15)
@given(
    losses=st.dictionaries(st.sampled_from([job.id for job in JOBS]), st.integers(1, ATTEMPTS + 1)),
    room=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_runs_that_are_lost_are_run_again_or_recorded_as_failed(
    expected: dict[str, Any], losses: dict[str, int], room: list[int], order: Any
) -> None:
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as far:
        folder, workers = Folder(Path(here)), Unreliable(Path(far), losses, room, order)
        Schedule(folder, Budget(None, folder), workers).execute(JOBS)
        records = read_records(folder)
        assert records.keys() == expected.keys()
        given_up = {name for name, times in losses.items() if times >= ATTEMPTS}
        hopeless = given_up | {job.id for job in JOBS if job.parent in given_up}
        assert {name for name, record in records.items() if record["status"] == "failed"} == hopeless
        assert all(times <= ATTEMPTS for times in workers.started.values())
        kept = {name: record for name, record in records.items() if name not in hopeless}
        assert without_times(kept) == {name: expected[name] for name in kept}
        assert {path.stem for path in (folder.path / "networks").glob("*")} == kept.keys()
        assert folder.running_jobs() == []
        assert not list(Path(far).glob("[rn]e*"))  # neither records nor networks


def test_what_the_record_of_a_lost_run_says(tmp_path: Path) -> None:
    workers = Unreliable(tmp_path / "far", {JOBS[0].id: ATTEMPTS}, [1], random.Random(0))
    Schedule(Folder(tmp_path), Budget(None, Folder(tmp_path)), workers).execute(JOBS[:2])
    records = read_records(Folder(tmp_path))
    text = "a worker process died while this run was in progress, 3 times (gone); retry failed runs"
    assert records[JOBS[0].id]["error"] == text


def test_a_budget_that_has_ended_starts_nothing(tmp_path: Path) -> None:
    workers = Unreliable(tmp_path / "far", {}, [2], None)
    Schedule(Folder(tmp_path), Budget(0.0, Folder(tmp_path)), workers).execute(JOBS)
    assert not workers.started
