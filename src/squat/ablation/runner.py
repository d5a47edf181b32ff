"""Runs what is missing of an ablation: inline, in worker processes (joblib, loky) or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squat.ablation.budget import Budget, duration, parse_budget
from squat.ablation.config import AblationConfig
from squat.ablation.execute import record_of, run_group
from squat.ablation.grid import Group, Job, expand
from squat.ablation.progress import RunProgress
from squat.ablation.records import Folder, claim_folder, envelope, only_user, plain, read_records, write_json
from squat.ablation.tools import Tools, default_tools
from squat.checks import check_int


@dataclass(frozen=True)
class Options:
    """How an ablation is run; nothing here changes a result.

    Args:
        n_jobs: runs at a time, each in its own process; 1 runs in this one. On a cluster -1 takes all of it.
        cluster: None, "local" (a Ray of this machine) or the address of a Ray cluster ("auto": the one of this node).
            The results folder must be on storage that all its nodes share.
        budget: time such as "100m"; no run starts that is not expected to end in it.
        retry_failed: run failed runs again.
        progress: show the progress display.
    """

    n_jobs: int = 1
    cluster: str | None = None
    budget: str | None = None
    retry_failed: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.n_jobs != -1:
            check_int("n_jobs", self.n_jobs, 1, remedy="-1 takes all processors")
        if self.budget is not None:
            parse_budget(self.budget)


@dataclass(frozen=True)
class Summary:
    """What a call of `run` ended with.

    Args:
        total: number of runs of the ablation.
        failed: labels and errors of failed runs.
        remaining: labels of runs that have no record.
        expected_seconds: expected time of the remaining runs, one after the other; None if unknown.
        budget: the budget, if there was one.
    """

    total: int
    failed: tuple[tuple[str, str], ...]
    remaining: tuple[str, ...]
    expected_seconds: float | None = None
    budget: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every run has ended well."""
        return not self.failed and not self.remaining

    @property
    def message(self) -> str:
        """The state in one or two sentences: what is done, what failed, what remains and how to go on."""
        done = self.total - len(self.remaining) - len(self.failed)
        text = f"{done} of {self.total} runs done"
        if self.failed:
            text += f", {len(self.failed)} failed (first: {self.failed[0][0]}: {self.failed[0][1]})"
        if self.remaining:
            about = "" if self.expected_seconds is None else f" (about {duration(self.expected_seconds)} of computing)"
            why = "" if self.budget is None else f"stopped by the budget of {self.budget}: "
            return f"{why}{text}, {len(self.remaining)} remain{about}; the same command continues"
        return text


def run(
    config: AblationConfig, folder: Path | str, options: Options | None = None, tools: Tools | None = None
) -> Summary:
    """Runs an ablation, or what is missing of it, and leaves one record per run in `folder`.

    Args:
        config: the ablation.
        folder: results folder; made if missing. One that an interrupted call left is continued.
        options: how to run.
        tools: the functions to train, evaluate and calibrate with; squat's own if None.

    Returns:
        what is done, failed and remaining.

    Raises:
        ValueError: if the folder holds another experiment or another process is using it.
        ChildProcessError: if worker processes die before they start a run.
    """
    groups = expand(config)
    return run_groups(groups, Folder(Path(folder).resolve()), "ablation", config.to_json(), options, tools)


def run_groups(
    groups: list[Group],
    folder: Folder,
    kind: str,
    identity: dict[str, Any],
    options: Options | None,
    tools: Tools | None,
) -> Summary:
    """Runs groups of jobs in a folder that belongs to the experiment `identity`; see `run`."""
    options, tools = options or Options(), tools or default_tools()
    jobs = [job for group in groups for job in group.jobs]
    with only_user(folder):
        claim_folder(folder, kind, identity)
        for marker in folder.running_jobs():  # left by a kill
            folder.running(marker).unlink()
        _write_data(folder, jobs, tools)
        if options.retry_failed:
            _forget_failed(jobs, folder)
        done = set(read_records(folder, [job.id for job in jobs]))
        for job in done:  # a kill between a record and the end of its clean-up
            if folder.work(job).exists():
                shutil.rmtree(folder.work(job), ignore_errors=True)
        deadline = None if options.budget is None else time.time() + parse_budget(options.budget)
        task = _Task(folder, tools, Budget(deadline, folder), os.getpid())
        pending = [group for group in groups if any(job.id not in done for job in group.jobs)]
        with RunProgress(folder, jobs, done) if options.progress else contextlib.nullcontext():
            _execute(task, pending, options, jobs[0].run.train.threads)
        return _summary(jobs, folder, options.budget)


def _forget_failed(jobs: list[Job], folder: Folder) -> None:
    for job, record in read_records(folder, [job.id for job in jobs]).items():
        if record["status"] == "failed":
            folder.record(job).unlink()


def _write_data(folder: Folder, jobs: list[Job], tools: Tools) -> None:
    """Name, sizes and test labels of the data; labels by seed where every seed has data of its own."""
    data_of = {job.seed: job.run.data for job in jobs}
    data = tools.load_data(jobs[0].run.data)
    sizes = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    labels: Any = data.test.labels.tolist()
    if len(set(data_of.values())) > 1:
        labels = {seed: tools.load_data(config).test.labels.tolist() for seed, config in data_of.items()}
    value = envelope(
        name=Path(data.name).name, classes=data.classes, steps=data.steps, samples=sizes, test_labels=labels
    )
    write_json(folder.data, plain(value))


def _summary(jobs: list[Job], folder: Folder, budget: str | None) -> Summary:
    records = read_records(folder, [job.id for job in jobs])
    failed = [(job.label, records[job.id]["error"]) for job in jobs if _status(records, job) == "failed"]
    remaining = [job for job in jobs if job.id not in records]
    estimates = [Budget(None, folder).estimate(job) for job in remaining]
    known = [seconds for seconds in estimates if seconds is not None]
    expected = sum(known) if len(known) == len(estimates) else None
    return Summary(len(jobs), tuple(failed), tuple(job.label for job in remaining), expected, budget)


def _status(records: dict[str, dict[str, Any]], job: Job) -> str | None:
    return records[job.id]["status"] if job.id in records else None


@dataclass(frozen=True)
class _Task:
    """What a worker needs to run a group; picklable."""

    folder: Folder
    tools: Tools
    budget: Budget
    parent: int

    def __call__(self, group: Group) -> None:
        if os.getpid() != self.parent:
            _end_with_parent(self.parent)
        run_group(group, self.folder, self.tools, self.budget.allows)


def _end_with_parent(parent: int) -> None:
    """Ends this worker when the process that started it is gone: after a kill, orphans must not go on writing into a
    folder that a new call has taken over."""
    if os.getppid() != parent or any(thread.name == "squat-parent-watch" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os._exit(1)

    threading.Thread(target=watch, name="squat-parent-watch", daemon=True).start()


def _execute(task: _Task, groups: list[Group], options: Options, threads: int) -> None:
    if options.cluster is None and options.n_jobs == 1:
        for group in groups:
            task(group)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    while groups:
        try:
            with _backend(options, threads) as backend, parallel_config(**backend):
                Parallel(n_jobs=options.n_jobs, pre_dispatch="n_jobs", batch_size=1)(
                    delayed(task)(group) for group in groups
                )
            return
        except BrokenProcessPool:
            groups = _after_lost_worker(task, groups)


@contextlib.contextmanager
def _backend(options: Options, threads: int) -> Iterator[dict[str, Any]]:
    if options.cluster is None:
        yield {"backend": "loky", "inner_max_num_threads": threads}
        return
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        remedy = "pip install 'squat-snn[cluster]'"
        raise ValueError(f"cluster={options.cluster!r}: Ray is not installed; {remedy}") from None
    register_ray()
    started = not ray.is_initialized()
    if started:
        ray.init(address=options.cluster, log_to_driver=False)
    try:
        yield {"backend": "ray", "ray_remote_args": {"num_cpus": threads}}
    finally:
        if started:
            ray.shutdown()


def _after_lost_worker(task: _Task, groups: list[Group]) -> list[Group]:
    """Records the runs that were in progress when a worker process died as failed; returns the groups, to
    go on with what has no record. Raises ChildProcessError if no run was: going on would do the same for ever."""
    marked = set(task.folder.running_jobs())
    lost = [job for group in groups for job in group.jobs if job.id in marked]
    if not lost:
        raise ChildProcessError("a worker process died before it started a run; look for the cause with n_jobs=1")
    error = "a worker process died (killed, or out of memory) while this run was in progress; retry failed runs"
    for job in lost:
        write_json(task.folder.record(job.id), record_of(job, {"status": "failed", "error": error}, seconds=0.0))
        task.folder.running(job.id).unlink()
    return groups
