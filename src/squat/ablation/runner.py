"""Runs what is missing of an ablation: inline, in worker processes (loky) or on a Ray cluster."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.ablation.budget import Budget, duration, parse_budget
from squat.ablation.config import AblationConfig
from squat.ablation.grid import Group, Job, expand
from squat.ablation.progress import RunProgress
from squat.ablation.records import (
    ABLATION,
    Folder,
    claim_folder,
    envelope,
    only_user,
    plain,
    read_records,
    write_json,
)
from squat.ablation.schedule import Schedule, Workers
from squat.ablation.tools import Tools, about_data, default_tools
from squat.ablation.workers import Inline, Processes
from squat.checks import check_int
from squat.text import brief

if TYPE_CHECKING:
    from squat.train.config import RunConfig


@dataclass(frozen=True)
class Options:
    """How an ablation is run; nothing here changes a result.

    Args:
        n_jobs: runs at a time, each in its own process; 1 runs in this one. On a cluster -1 takes all of it.
        cluster: None, "local" (a Ray of this machine) or the address of a Ray cluster ("auto": the one of this node).
            Its nodes need squat and the data, not the results folder: records and networks come back.
        budget: time such as "100m"; no run starts that is not expected to end in it.
        retry_failed: run failed runs again.
        progress: show the progress display.
    """

    n_jobs: int = 1
    cluster: str | None = None
    budget: str | None = None
    retry_failed: bool = False
    progress: bool = True

    __repr__ = brief

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

    __repr__ = brief

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
        ChildProcessError: if worker processes die before they start a run, or no node of the cluster is left.
    """
    groups = expand(config)
    return run_groups(groups, Folder(Path(folder).resolve()), ABLATION, config.to_json(), options, tools)


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
        pending = [job for job in jobs if job.id not in done]
        shown = RunProgress(folder, jobs, done) if options.progress else contextlib.nullcontext()
        if pending:
            with shown, contextlib.closing(_workers(folder, tools, options, jobs[0].run)) as workers:
                Schedule(folder, Budget(deadline, folder), workers).execute(pending)
        return _summary(jobs, folder, options.budget)


def _forget_failed(jobs: list[Job], folder: Folder) -> None:
    for job, record in read_records(folder, [job.id for job in jobs]).items():
        if record["status"] == "failed":
            folder.record(job).unlink()


def _write_data(folder: Folder, jobs: list[Job], tools: Tools) -> None:
    """Name, sizes and test labels of the data; labels by seed where every seed has data of its own."""
    data_of = {job.seed: job.run.data for job in jobs}
    data = tools.load_data(jobs[0].run.data)
    about = about_data(data)
    if len(set(data_of.values())) > 1:
        labels = {seed: tools.load_data(config).test.labels.tolist() for seed, config in data_of.items()}
        about = {**about, "test_labels": labels}
    write_json(folder.data, plain(envelope(name=Path(data.name).name, **about)))


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


def _workers(folder: Folder, tools: Tools, options: Options, run: RunConfig) -> Workers:
    if options.cluster is not None:
        from squat.ablation.cluster import Cluster

        return Cluster(folder, tools, options.cluster, options.n_jobs, run)
    if options.n_jobs == 1:
        return Inline(folder, tools)
    return Processes(folder, tools, options.n_jobs, run.train.threads)
