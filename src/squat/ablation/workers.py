"""Workers on this machine: this process, or processes of their own (loky)."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import Any

from squat.ablation.execute import Outcome, run_job
from squat.ablation.grid import Job
from squat.ablation.records import Folder
from squat.ablation.tools import Tools

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Inline:
    """Runs one job after the other in this process."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, folder: Folder, tools: Tools) -> None:
        self._folder, self._tools = folder, tools

    def capacity(self) -> int:
        return 1

    def submit(self, job: Job, parent: bytes | None) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(run_job(job, self._folder, self._tools, parent))
        return future

    def close(self) -> None:
        """Nothing to end."""


class Processes:
    """Worker processes, each a pool of its own: one that dies takes no other run with it, and its run is known.

    Args:
        folder: the results folder, in which runs work.
        tools: the functions to use.
        n_jobs: number of processes; -1 for one per processor.
        threads: threads of a run.
    """

    def __init__(self, folder: Folder, tools: Tools, n_jobs: int, threads: int) -> None:
        from joblib import effective_n_jobs
        from joblib.externals.loky.process_executor import BrokenProcessPool

        self.lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)
        self._folder, self._tools = folder, tools
        self._environment = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self._slots: list[_Slot | None] = [None] * effective_n_jobs(n_jobs)

    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, job: Job, parent: bytes | None) -> Future[Outcome]:
        """Start a run in an idle process; a dead one is replaced.

        Raises:
            ChildProcessError: if a process died before its first run.
        """
        number = next(number for number, slot in enumerate(self._slots) if slot is None or slot.idle)
        slot = self._slots[number]
        if slot is None or slot.broken:
            slot = self._slots[number] = _Slot(self._environment)
        slot.last = slot.pool.submit(run_job, job, self._folder, self._tools, parent)
        return slot.last

    def close(self) -> None:
        """Kills the processes."""
        for slot in self._slots:
            if slot is not None:
                slot.pool.shutdown(wait=True, kill_workers=True)


class _Slot:
    """A pool of one process, and its last run."""

    def __init__(self, environment: dict[str, str]) -> None:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(1, initializer=_end_with_parent, initargs=(os.getpid(),), env=environment)
        self.ready: Future[None] = self.pool.submit(_ready)
        self.last: Future[Any] = self.ready

    @property
    def idle(self) -> bool:
        return self.last.done()

    @property
    def broken(self) -> bool:
        """Whether its process died in a run, so that another takes its place."""
        if self.ready.exception() is not None:
            raise ChildProcessError("a worker process died before it started a run; look for the cause with n_jobs=1")
        return self.last.exception() is not None


def _ready() -> None:
    """The first call in a worker process: it has imported squat."""


def _end_with_parent(parent: int) -> None:
    """Ends this process when the one that started it is gone: after a kill, orphans must not go on writing into a
    folder that a new call has taken over."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os._exit(1)

    threading.Thread(target=watch, name="squat-parent-watch", daemon=True).start()
