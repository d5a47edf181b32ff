"""Measurements in a process of its own: `python -m benchmarks.worker JOBS THREADS`, one line of JSON per job.

Jobs are JSON, `[{"task": ..., "case": ...}, ...]`.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.cases import SQUAT, Case, Unavailable

Result = dict[str, Any]
MIB = 2**20


def check(case: Case) -> Result:
    """The equality tests of what the case measures."""
    return import_module(case.family).check(case.settings)


def measure_time(case: Case, repetitions: int) -> Result:
    """Seconds of every measure and stack. Stacks take turns, repetition by repetition, after one turn unmeasured."""
    family, seconds, skipped = import_module(case.family), {}, {}
    for measure in case.measures:
        runs: dict[str, Callable[[], object]] = {}
        for stack in case.stacks:
            try:
                runs[stack] = family.build(case.settings, measure, stack)
            except Unavailable as reason:
                skipped[stack] = str(reason)
        seconds[measure] = _take_turns(runs, repetitions, case.calls, case.seconds)
        del runs
        gc.collect()
    return {"seconds": seconds, "skipped": skipped}


def _take_turns(
    runs: dict[str, Callable[[], object]], repetitions: int, calls: int, limit: float
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {stack: [] for stack in runs}
    start = time.perf_counter()
    for run in runs.values():
        run()
    one_turn = time.perf_counter() - start
    least = min(repetitions, 3 if 3 * one_turn < limit else 1)
    for repetition in range(repetitions):
        if repetition >= least and time.perf_counter() - start > limit:
            break
        for stack, run in runs.items():
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[stack].append((time.perf_counter() - begin) / calls)
    return seconds


def measure_memory(case: Case, measure: str, stack: str) -> Result:
    """Peak resident memory of building a stack and three calls (input data included), in MiB above what the process
    holds after the same in tiny: libraries imported, compiled loops loaded, allocators and thread pools started."""
    family = import_module(case.family)
    _three_calls(family.build(case.smoke().settings, measure, stack))
    gc.collect()
    before = _forget_peak()
    _three_calls(family.build(case.settings, measure, stack))
    return {"before": before / MIB, "added": (_peak() - before) / MIB}


def _three_calls(run: Callable[[], object]) -> None:
    for _ in range(3):
        run()


def _forget_peak() -> float:
    """Bytes held now, the peak set back to them; where the system cannot do that, the peak so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> float:
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def measure_start(case: Case, stack: str) -> Result:
    """Seconds of a fresh process's first things: imports, building the network, its first and its second step."""
    seconds = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = run()
        seconds[name] = time.perf_counter() - begin
        return result

    timed("import torch", lambda: import_module("torch"))
    libraries = ("squat",) if stack == SQUAT else ("snntorch", "brevitas.nn")
    for library in libraries:
        timed(f"import {library}", lambda library=library: _import_quietly(library))
    family = import_module(case.family)
    run = timed("build", lambda: family.build(case.settings, case.measures[0], stack))
    timed("first step", run)
    timed("second step", run)
    return seconds


def _import_quietly(library: str) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module(library)


def profile(case: Case) -> Result:
    """Where the time of squat's first measure goes: torch's profiler over five calls."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    run = import_module(case.family).build(case.settings, case.measures[0], SQUAT)
    _three_calls(run)
    with watch(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(5):
            run()
    return {"table": watched.key_averages().table(sort_by="self_cpu_time_total", row_limit=20)}


TASKS: dict[str, Callable[..., Result]] = {
    "check": check,
    "time": measure_time,
    "memory": measure_memory,
    "start": measure_start,
    "profile": profile,
}


def main() -> None:
    jobs, threads = json.loads(sys.argv[1]), int(sys.argv[2])
    for job in jobs:
        task, case = job.pop("task"), Case(**job.pop("case"))
        if task != "start":
            import torch

            torch.set_num_threads(threads)
        result = TASKS[task](case, **job)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
