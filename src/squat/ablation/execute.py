"""One run, from job to record: train or calibrate, choose on validation, read the test set once."""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from squat.ablation.grid import Group, Job
from squat.ablation.records import Folder, envelope, plain, read_json, versions, write_json
from squat.ablation.tools import Tools

CALIBRATION_BATCH = 64
EVALUATION_BATCH = 256


def run_group(group: Group, folder: Folder, tools: Tools, may_start: Callable[[Job], bool]) -> None:
    """Runs what is missing of a group, a trained job first; every run ends in a record, failed ones too.

    Args:
        group: a trained job and those calibrated from it.
        folder: the results folder.
        tools: the functions to use.
        may_start: asked before every run; a run it refuses is left out (the budget).
    """
    for job in group.jobs:
        if folder.record(job.id).exists():
            continue
        if not may_start(job):
            return
        with _marked(folder, job):
            record = _record(job, folder, tools)
            write_json(folder.record(job.id), record)
        if record["status"] == "ok":
            shutil.rmtree(folder.work(job.id), ignore_errors=True)


@contextlib.contextmanager
def _marked(folder: Folder, job: Job) -> Iterator[None]:
    marker = folder.running(job.id)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    yield
    marker.unlink(missing_ok=True)


def _record(job: Job, folder: Folder, tools: Tools) -> dict[str, Any]:
    start = time.perf_counter()
    body: dict[str, Any] = {"status": "ok", "error": None}
    try:
        body |= _calibrated(job, folder, tools) if job.parent else _trained(job, folder, tools)
    except Exception as error:
        body = {"status": "failed", "error": error_text(error, folder)}
        folder.work(job.id).mkdir(parents=True, exist_ok=True)
        (folder.work(job.id) / "traceback.txt").write_text(traceback.format_exc())
    before_resume = body.pop("training_seconds", 0.0)
    return record_of(job, body, seconds=max(time.perf_counter() - start, before_resume))


def record_of(job: Job, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The record of a job: its coordinates and settings, then what came of it."""
    return envelope(
        id=job.id,
        cell=job.cell,
        scheme=job.scheme,
        weight_bits=job.weight_bits,
        state_bits=job.state_bits,
        seed=job.seed,
        parent=job.parent,
        config=job.run.to_json(),
        versions=versions(),
        seconds=round(seconds, 3),
        **plain(body),
    )


def error_text(error: BaseException, folder: Folder) -> str:
    """An error as text for a record: type and message, without this machine's paths."""
    text = f"{type(error).__name__}: {error}"
    for path, name in ((str(folder.path.resolve()), "FOLDER"), (str(folder.path), "FOLDER"), (str(Path.home()), "~")):
        text = text.replace(path, name) if len(path) > 1 else text
    return text


def _trained(job: Job, folder: Folder, tools: Tools) -> dict[str, Any]:
    data = tools.load_data(job.run.data)
    result = tools.fit(job.run, folder.work(job.id), data=data, progress=False, resume=True)
    found = _evaluations(job, result.network, data, tools)
    _save(job, result.network, folder, tools)
    return {"training_seconds": result.seconds, "history": result.history, **found}


def _calibrated(job: Job, folder: Folder, tools: Tools) -> dict[str, Any]:
    parent = read_json(folder.record(str(job.parent)))
    if parent["status"] != "ok":
        raise ValueError(f"the run it starts from failed ({job.parent}: {parent['error']})")
    network = tools.load(folder.network(str(job.parent)))
    data = tools.load_data(job.run.data)
    ranges: dict[str, Any] = {}
    networks: dict[str, Any] = {}
    for state_range in job.state_ranges:
        networks[state_range], report = tools.calibrate(
            network,
            data.train,
            weights=job.calibrate_weights,
            states=job.calibrate_states,
            state_range=state_range,
            batches=max(1, job.calibration_samples // CALIBRATION_BATCH),
            batch_size=min(CALIBRATION_BATCH, job.calibration_samples),
        )
        found = _evaluate(job, networks[state_range], data.validation, tools)
        ranges[state_range] = {"validation_accuracy": found["accuracy"], "report": report.to_json()}
    best = max(ranges, key=lambda name: ranges[name]["validation_accuracy"])  # the first of equals
    found = _evaluations(job, networks[best], data, tools)
    _save(job, networks[best], folder, tools)
    chosen = best if job.calibrate_states is not None else None
    return {"history": [], "state_range": chosen, "state_ranges": ranges, **found}


def _evaluations(job: Job, network: Any, data: Any, tools: Tools) -> dict[str, Any]:
    validation = _evaluate(job, network, data.validation, tools)
    test = _evaluate(job, network, data.test, tools) if job.read_test else None
    return {"validation": validation, "test": test, "size": tools.measure(network, data.validation)}


def _evaluate(job: Job, network: Any, split: Any, tools: Tools) -> dict[str, Any]:
    train = job.run.train
    found = tools.evaluate(
        network, split, EVALUATION_BATCH, train.threads, loss=train.loss, logit_scale=train.logit_scale
    )
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "tied_share": found.tied_share,
        "spike_rates": found.spike_rates,
        "predictions": found.predictions,
    }


def _save(job: Job, network: Any, folder: Folder, tools: Tools) -> None:
    path = folder.network(job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    tools.save(network, path, {"id": job.id, "cell": job.cell, "seed": job.seed}, overwrite=True)
