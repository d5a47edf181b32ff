"""One run, from job to what came of it: train or calibrate, choose on validation, read the test set once.

A run returns its record and its network; whoever started it writes them. So it may run in another process, or on
another machine that does not see the results folder.
"""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from squat.ablation.grid import Job
from squat.ablation.records import Folder, envelope, plain, read_json, versions
from squat.ablation.tools import Tools

CALIBRATION_BATCH = 64
EVALUATION_BATCH = 256


class Outcome(NamedTuple):
    """What came of a run.

    Args:
        record: its record.
        network: the file of its network; None of a run that failed.
        traceback: of a run that failed.
    """

    record: dict[str, Any]
    network: bytes | None = None
    traceback: str | None = None


def run_job(job: Job, folder: Folder, tools: Tools, parent: bytes | None = None) -> Outcome:
    """Runs a job. One that raises ends in an outcome too.

    Args:
        job: what to train or to calibrate.
        folder: the job's work folder in it is all that is written, and stays.
        tools: the functions to use.
        parent: file of the network to calibrate; None for a job that trains.
    """
    start = time.perf_counter()
    folder.work(job.id).mkdir(parents=True, exist_ok=True)
    try:
        found, network = _trained(job, folder, tools) if parent is None else _calibrated(job, folder, tools, parent)
    except Exception as error:
        return failed(job, error_text(error, folder), time.perf_counter() - start, traceback.format_exc())
    before_resume = found.pop("training_seconds", 0.0)
    body = {"status": "ok", "error": None, **found}
    return Outcome(record_of(job, body, seconds=max(time.perf_counter() - start, before_resume)), network)


def failed(job: Job, error: str, seconds: float = 0.0, trace: str | None = None) -> Outcome:
    """The outcome of a run that failed, or could not be started."""
    return Outcome(record_of(job, {"status": "failed", "error": error}, seconds), traceback=trace)


def parent_network(job: Job, folder: Folder) -> bytes | None:
    """The file of the network that a job calibrates; None for a job that trains.

    Raises:
        ValueError: if the run that trained it failed, or its file is gone.
    """
    if job.parent is None:
        return None
    parent = read_json(folder.record(job.parent))
    if parent["status"] != "ok":
        raise ValueError(f"the run it starts from failed ({job.parent}: {parent['error']})")
    path = folder.network(job.parent)
    if not path.exists():
        raise ValueError(f"the network it starts from is gone ({path}); delete its record to train it again")
    return path.read_bytes()


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


def _trained(job: Job, folder: Folder, tools: Tools) -> tuple[dict[str, Any], bytes]:
    data = tools.load_data(job.run.data)
    result = tools.fit(job.run, folder.work(job.id), data=data, progress=False, resume=True)
    found = _evaluations(job, result.network, data, tools)
    body = {"training_seconds": result.seconds, "history": result.history, **found}
    return body, _file_of(job, result.network, folder, tools)


def _calibrated(job: Job, folder: Folder, tools: Tools, parent: bytes) -> tuple[dict[str, Any], bytes]:
    path = folder.work(job.id) / "parent.safetensors"
    path.write_bytes(parent)
    network = tools.load(path)
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
    chosen = best if job.calibrate_states is not None else None
    body = {"history": [], "state_range": chosen, "state_ranges": ranges, **found}
    return body, _file_of(job, networks[best], folder, tools)


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


def _file_of(job: Job, network: Any, folder: Folder, tools: Tools) -> bytes:
    path = folder.work(job.id) / f"{job.id}.safetensors"
    tools.save(network, path, {"id": job.id, "cell": job.cell, "seed": job.seed}, overwrite=True)
    return path.read_bytes()
