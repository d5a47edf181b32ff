"""The progress display over runs. It watches the results folder, so it shows parallel and remote runs alike."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from squat.ablation.budget import duration
from squat.ablation.grid import Job
from squat.ablation.records import Folder, read_json

POLL_SECONDS = 0.5


class RunProgress:
    """Context manager: a bar over runs, the names of the running ones, and a line for each that has ended.

    Args:
        folder: the results folder.
        jobs: all jobs of the ablation.
        done: ids of those done before.
        console: a rich console; a new one if None.
    """

    def __init__(self, folder: Folder, jobs: list[Job], done: set[str], console: Any = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("{task.description}"), console=console)
        self._folder, self._jobs, self._done = folder, {job.id: job for job in jobs}, set(done)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RunProgress:
        self._task = self._progress.add_task("starting", total=len(self._jobs), completed=len(self._done))
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._update()
        self._progress.update(self._task, description="")
        self._progress.stop()

    def _say(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._update()

    def _update(self) -> None:
        for job in self._jobs.values():
            if job.id not in self._done and self._folder.record(job.id).exists():
                self._done.add(job.id)
                self._say(describe(job, read_json(self._folder.record(job.id))))
        running = [self._jobs[name].label for name in self._folder.running_jobs() if name in self._jobs]
        self._progress.update(self._task, completed=len(self._done), description=", ".join(running))


def describe(job: Job, record: dict[str, Any]) -> str:
    """One line on a finished run: what it was, its accuracy, how long it took.

    Args:
        job: the job.
        record: its record.
    """
    if record["status"] == "failed":
        return f"{job.label}: FAILED, {record['error']}"
    split = "test" if record["test"] else "validation"
    return f"{job.label}: {split} {100 * record[split]['accuracy']:.1f} %, {duration(record['seconds'])}"
