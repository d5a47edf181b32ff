"""Which run goes next, where, and what comes of it: the one place that writes records and networks."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from squat.ablation.budget import Budget
from squat.ablation.execute import Outcome, error_text, failed, parent_network
from squat.ablation.grid import Job
from squat.ablation.records import Folder, write_json
from squat.atomic import atomic_write

ATTEMPTS = 3
"""How often a run is started whose worker dies."""
LOOK_SECONDS = 5.0
"""Time between two looks at how many runs the workers take, where none ends."""


class Workers(Protocol):
    """Where runs run; `lost` are the errors of a run whose worker died, not of the run itself."""

    lost: tuple[type[BaseException], ...]

    def capacity(self) -> int:
        """Number of runs at a time, now.

        Raises:
            ChildProcessError: if there is no worker, and none can be made.
        """
        ...

    def submit(self, job: Job, parent: bytes | None) -> Future[Outcome]:
        """Start a run where there is room."""
        ...

    def close(self) -> None:
        """End the workers, and the runs that are in progress."""
        ...


class Schedule:
    """Runs jobs in their order, each as soon as there is room and the network it starts from is trained.

    Args:
        folder: the results folder.
        budget: asked before every run; one that it refuses is left out, with those that start from it.
        workers: where the runs run.
    """

    def __init__(self, folder: Folder, budget: Budget, workers: Workers) -> None:
        self._folder, self._budget, self._workers = folder, budget, workers
        self._pending: dict[str, Job] = {}
        self._running: dict[Future[Outcome], Job] = {}
        self._lost: Counter[str] = Counter()

    def execute(self, jobs: list[Job]) -> None:
        """Run the jobs; every one that was started ends in a record, failed ones too.

        Raises:
            ChildProcessError: if the workers cannot be started, or none is left.
        """
        self._pending = {job.id: job for job in jobs}
        while self._fill():
            finished, _ = wait(self._running, LOOK_SECONDS, FIRST_COMPLETED)
            for future in finished:
                self._collect(self._running.pop(future), future)

    def _fill(self) -> bool:
        """Start runs while there is room; whether any is in progress."""
        capacity = self._workers.capacity()
        while len(self._running) < capacity and (job := self._next()) is not None:
            self._start(job)
        return bool(self._running)

    def _next(self) -> Job | None:
        waiting = self._pending.keys() | {job.id for job in self._running.values()}
        for job in list(self._pending.values()):
            if job.parent in waiting or (job.parent and not self._folder.record(job.parent).exists()):
                continue
            del self._pending[job.id]
            if self._budget.allows(job):
                return job
        return None

    def _start(self, job: Job) -> None:
        try:
            parent = parent_network(job, self._folder)
        except ValueError as error:
            self._write(job, failed(job, error_text(error, self._folder)))
            return
        marker = self._folder.running(job.id)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        self._running[self._workers.submit(job, parent)] = job

    def _collect(self, job: Job, future: Future[Outcome]) -> None:
        error = future.exception()
        if error is None:
            self._write(job, future.result())
        elif not isinstance(error, self._workers.lost):
            raise error
        elif (times := self._count_loss(job)) < ATTEMPTS:
            self._pending = {job.id: job, **self._pending}
        else:
            reason = " ".join(str(error).split())
            text = f"a worker process died while this run was in progress, {times} times ({reason}); retry failed runs"
            self._write(job, failed(job, text))
        self._folder.running(job.id).unlink(missing_ok=True)

    def _count_loss(self, job: Job) -> int:
        self._lost[job.id] += 1
        return self._lost[job.id]

    def _write(self, job: Job, outcome: Outcome) -> None:
        """Network before record: what has a record is whole, and is not run again."""
        work, network = self._folder.work(job.id), self._folder.network(job.id)
        if outcome.network is not None:
            network.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(network, outcome.network)
        if outcome.traceback is not None:
            work.mkdir(parents=True, exist_ok=True)
            (work / "traceback.txt").write_text(outcome.traceback)
        write_json(self._folder.record(job.id), outcome.record)
        if outcome.record["status"] == "ok":
            shutil.rmtree(work, ignore_errors=True)
