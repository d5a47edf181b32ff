"""Runs the workers and collects one record. This process imports no framework before all is measured."""

from __future__ import annotations

import fnmatch
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import cases
from benchmarks.cases import Case

Record = dict[str, Any]
Watch = Callable[[str], None]
PACKAGES = ("squat-snn", "torch", "numba", "snntorch", "brevitas", "spikingjelly", "norse")
NEEDED = {cases.FLOAT: ("snntorch",), cases.PUBLISHED: ("snntorch", "brevitas")}
ROOT = Path(__file__).parents[1]
START_CASE = "recurrent-4"
FASHION_MNIST = "FashionMNIST"


def choose(patterns: Sequence[str], curves: bool) -> list[Case]:
    """The cases whose names match one of the patterns (all without any), curves among them if wanted.

    Raises:
        ValueError: for a pattern that matches no case.
    """
    known = [*cases.CASES, *(cases.CURVES if curves else [])]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(case.name, pattern) for case in known):
            names = ", ".join(case.name for case in known)
            raise ValueError(f"--case {pattern!r}: no such case; expected names or patterns (feedforward*) of {names}")
    return [case for case in known if not patterns or any(fnmatch.fnmatchcase(case.name, p) for p in patterns)]


def check_installed(chosen: Sequence[Case]) -> None:
    """Refuse to start where a library is missing that the cases compare with.

    Raises:
        ValueError: naming it, and what to install.
    """
    wanted = {name for case in chosen for stack in case.stacks for name in NEEDED.get(stack, ())}
    missing = sorted(name for name in wanted if find_spec(name) is None)
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} not installed: the cases compare with them; pip install 'squat-snn[dev]', or "
            "choose cases without them, such as --case 'loop*'"
        )


def work(jobs: list[Record], threads: int, environment: dict[str, str] | None = None) -> Iterator[Record]:
    """Results of jobs, one after the other, from one fresh process.

    Raises:
        ValueError: if the process ends before its last job, with the last thing it said.
    """
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "benchmarks.worker", json.dumps(jobs), str(threads)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True,
            env={**os.environ, **variables, "PYTHONPATH": paths, **(environment or {})},
        )  # fmt: skip
        done = 0
        with process:
            try:
                for line in process.stdout or ():
                    if line.startswith("{"):  # libraries print too
                        done += 1
                        yield json.loads(line)
            except BaseException:  # nobody reads on: an interrupt, or a test that failed
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            lines = said.read().strip().splitlines()
            what = jobs[min(done, len(jobs) - 1)]
            reason = lines[-1] if lines else f"it ended with code {process.returncode}, as when memory runs out"
            raise ValueError(f"{what['case']['name']}: the measuring process failed ({what['task']}): {reason}")


def check(chosen: Sequence[Case], threads: int, watch: Watch) -> list[dict[str, bool]]:
    """The equality tests of every case, before anything is measured: no number of a stack that computes something else.

    Raises:
        ValueError: naming the case and the tests that failed.
    """
    tests, jobs = [], [{"task": "check", "case": asdict(case)} for case in chosen]
    for case, found in zip(chosen, work(jobs, threads), strict=True):
        failed = [name for name, passed in found.items() if not passed]
        if failed:
            raise ValueError(f"{case.name}: nothing is reported, as an equality test failed: {'; '.join(failed)}")
        tests.append(found)
        watch(case.name)
    return tests


def measure(case: Case, repetitions: int, threads: int, watch: Watch) -> Record:
    """Time of one case in one process, memory in one process per stack."""
    described = asdict(case)
    timed = next(work([{"task": "time", "case": described, "repetitions": repetitions}], threads))
    watch(case.name)
    memory: Record = {}
    for name in case.memory:
        memory[name] = {}
        for stack in case.stacks:
            if stack not in timed["skipped"]:
                job = {"task": "memory", "case": described, "measure": name, "stack": stack}
                memory[name][stack] = next(work([job], threads))
            watch(case.name)
    return {**_heading(case, threads), **timed, "memory": memory}


def smoke(chosen: Sequence[Case], threads: int, watch: Watch) -> list[Record]:
    """Every case timed twice in one process: shows that it works, measures nothing, and no memory."""
    records = []
    jobs = [{"task": "time", "case": asdict(case), "repetitions": 2} for case in chosen]
    for case, timed in zip(chosen, work(jobs, threads), strict=True):
        records.append({**_heading(case, threads), **timed, "memory": {}})
        watch(case.name)
    return records


def _heading(case: Case, threads: int) -> Record:
    return {"name": case.name, "family": case.family, "settings": case.settings, "threads": threads}


def starts(threads: int, watch: Watch) -> list[Record]:
    """What the first step of a process costs, which no other row contains: imports, loading or compiling the loops."""
    case = next(case for case in cases.CASES if case.name == START_CASE)
    described, rows = asdict(case), []
    with tempfile.TemporaryDirectory() as empty:
        for label, stack, environment in (
            ("squat, loops cached on disk", cases.SQUAT, {}),
            ("squat, nothing cached: every loop is compiled", cases.SQUAT, {"NUMBA_CACHE_DIR": empty}),
            (cases.PUBLISHED, cases.PUBLISHED, {}),
        ):
            job = {"task": "start", "case": described, "stack": stack}
            rows.append({"name": label, "seconds": next(work([job], threads, environment))})
            watch("start")
    return rows


def run(
    chosen: Sequence[Case], *, repetitions: int, threads: Sequence[int], quick: bool, watch: Watch = lambda name: None
) -> Record:
    """Check and measure the cases on the largest number of threads, curves on each; calls `watch` `jobs_of` times.

    Raises:
        ValueError: if an equality test fails, or a measuring process.
    """
    plain = [case for case in chosen if case not in cases.CURVES]
    curves = [case for case in chosen if case in cases.CURVES]
    most, load, first = max(threads), os.getloadavg(), []
    ordered = [case.smoke() if quick else case for case in (*plain, *curves)]
    tests = check(ordered, most, watch)
    if quick:
        records = smoke(ordered, most, watch)
    else:
        first = starts(most, watch) if any(case.name == START_CASE for case in plain) else []
        records = [measure(case, repetitions, most, watch) for case in ordered]
        rest = [count for count in threads if count != most]
        records += [measure(case, repetitions, count, watch) for count in rest for case in curves]
    equal = {case.name: found for case, found in zip(ordered, tests, strict=True)}
    records = [{**record, "equal": equal[record["name"]]} for record in records]
    # Imported when all is measured, as it imports torch: on some systems a worker's peak memory includes its parent's.
    from squat.kernels.sources import source_hash

    return {
        "smoke_run": quick,
        "repetitions": 2 if quick else repetitions,
        "threads": list(threads),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "load": {"before": load, "after": os.getloadavg()},
        "versions": {package: installed(package) for package in PACKAGES},
        "source": source_hash(),
        "pixels": pictures(),
        "start": first,
        "cases": records[: len(plain)],
        "curves": records[len(plain) :],
    }


def jobs_of(chosen: Sequence[Case], threads: Sequence[int], quick: bool) -> int:
    """How often `run` calls `watch`."""
    if quick:
        return 2 * len(chosen)
    parts = sum(2 + len(case.memory) * len(case.stacks) for case in chosen)
    curves = sum(case in cases.CURVES for case in chosen)
    return parts + curves * (len(threads) - 1) + 3 * any(case.name == START_CASE for case in chosen)


def profiles(chosen: Sequence[Case], threads: int) -> Iterator[tuple[str, str]]:
    """Name and profiler table of each case's first measure in squat."""
    for case in chosen:
        yield case.name, next(work([{"task": "profile", "case": asdict(case)}], threads))["table"]


def pictures() -> str:
    """What the cases with pixels show."""
    from squat.data import catalogue

    files = next(row["files"] for row in catalogue() if row["name"] == "fashion_mnist")
    return FASHION_MNIST if all(file["found"] for file in files) else "random pixels, as FashionMNIST is not here"


def installed(package: str) -> str:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
