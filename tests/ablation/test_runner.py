"""The runner: what is missing is run, once; kills, failures and lost workers cost nothing that was finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, run
from squat.ablation.cluster import _connect, _scratch
from squat.ablation.grid import expand
from squat.ablation.records import Folder, only_user, read_records, without_times

QUIET = Options(progress=False)
TESTS = Path(__file__).parents[1]


def jobs_of(config: Any) -> list[str]:
    return [job.id for group in expand(config) for job in group.jobs]


def fits(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().split("\n")[:-1]


def comparable(folder: Path) -> dict[str, Any]:
    return without_times(read_records(Folder(folder)))


def test_every_run_has_one_record_and_a_network(tmp_path: Path) -> None:
    config = small_config()
    summary = run(config, tmp_path, QUIET, TOOLS)
    assert summary.complete
    assert summary.message == f"{summary.total} of {summary.total} runs done"
    records = read_records(Folder(tmp_path))
    assert sorted(records) == sorted(jobs_of(config))
    assert all((tmp_path / "networks" / f"{name}.safetensors").exists() for name in records)
    assert not list((tmp_path / "work").iterdir())
    record = next(record for record in records.values() if record["cell"] == "ptq")
    assert record["status"] == "ok"
    assert len(record["test"]["predictions"]) == 40
    assert record["state_range"] == "calibrated"  # the fake loses less there
    assert set(record["state_ranges"]) == {"published", "calibrated"}
    assert set(record["versions"]) == {"python", "platform", "squat", "torch", "numba", "source"}
    float_record = next(record for record in records.values() if record["cell"] == "float")
    assert float_record["history"] == [{"epoch": 1, "loss": None, "seconds": 0.1}]  # NaN is no JSON
    assert float_record["config"]["network"]["hidden"] == [4]


def test_the_test_split_is_read_once_per_run(tmp_path: Path) -> None:
    read: list[str] = []

    def evaluate(network: Any, split: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(split.name)
        return TOOLS.evaluate(network, split, *args, **kwargs)

    summary = run(small_config(), tmp_path, QUIET, replace(TOOLS, evaluate=evaluate))
    assert read.count("test") == summary.total


def test_again_runs_nothing(tmp_path: Path) -> None:
    config = small_config()
    run(config, tmp_path, QUIET, TOOLS)
    before, stamp = fits(tmp_path), {p: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()}
    assert run(config, tmp_path, QUIET, TOOLS).complete
    assert fits(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()} == stamp


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_workers_leave_the_same_records(tmp_path: Path, n_jobs: int) -> None:
    config = small_config(seeds=(0, 1))
    run(config, tmp_path / "inline", QUIET, TOOLS)
    summary = run(config, tmp_path / "workers", Options(n_jobs=n_jobs, progress=False), TOOLS)
    assert summary.complete
    assert comparable(tmp_path / "workers") == comparable(tmp_path / "inline")


def test_a_failed_run_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "break.txt").write_text("squat.uniform.s4.seed1")
    config = small_config()
    summary = run(config, tmp_path, QUIET, TOOLS)
    assert [label for label, _ in summary.failed] == [
        "squat uniform s4 seed 1",
        "squat+weight-ptq uniform w4 s4 seed 1",
    ]
    assert (
        "2 failed (first: squat uniform s4 seed 1: RuntimeError: no convergence in FOLDER/work/squat" in summary.message
    )
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "records").iterdir())
    child = read_records(Folder(tmp_path))[
        next(j for j in jobs_of(config) if j.startswith("squat+weight-ptq.uniform.w4.s4.seed1"))
    ]
    assert child["error"].startswith("ValueError: the run it starts from failed (squat.uniform.s4.seed1")

    (tmp_path / "break.txt").unlink()
    count = len(fits(tmp_path))
    assert len(run(config, tmp_path, QUIET, TOOLS).failed) == 2  # without the flag nothing is run again
    assert run(config, tmp_path, replace(QUIET, retry_failed=True), TOOLS).complete
    assert len(fits(tmp_path)) == count + 1


def test_a_lost_worker_process_costs_only_its_run(tmp_path: Path) -> None:
    (tmp_path / "die.txt").write_text("float.seed1")
    config = small_config(cells=("float",), seeds=(0, 1, 2, 3))
    summary = run(config, tmp_path, Options(n_jobs=2, progress=False), TOOLS)
    ((label, error),) = summary.failed
    assert label == "float seed 1"
    assert error.startswith("a worker process died while this run was in progress, 3 times (")
    assert "SIGKILL" in error
    assert fits(tmp_path).count(next(line for line in fits(tmp_path) if "float.seed1" in line)) == 3
    assert not summary.remaining
    (tmp_path / "die.txt").unlink()
    assert run(config, tmp_path, replace(QUIET, retry_failed=True), TOOLS).complete


def test_a_run_whose_worker_dies_once_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "die.txt").write_text("squat.uniform.s4.seed0")
    (tmp_path / "once.txt").touch()
    config = small_config(seeds=(0, 1))
    assert run(config, tmp_path, Options(n_jobs=2, progress=False), TOOLS).complete
    run(config, tmp_path / "inline", QUIET, TOOLS)
    assert comparable(tmp_path) == comparable(tmp_path / "inline")


def test_workers_that_die_before_a_run_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("squat.ablation.workers._ready", lambda: os._exit(1))
    with pytest.raises(ChildProcessError, match="a worker process died before it started a run; look for the cause"):
        run(small_config(seeds=(0,)), tmp_path, Options(n_jobs=2, progress=False), TOOLS)
    assert not read_records(Folder(tmp_path))


def test_an_error_of_the_runner_itself_is_raised(tmp_path: Path) -> None:
    lock = threading.Lock()
    unpicklable = replace(TOOLS, measure=lambda *_: {"weights": lock})
    with pytest.raises(Exception, match="pickle"):
        run(small_config(seeds=(0,)), tmp_path, Options(n_jobs=2, progress=False), unpicklable)
    assert not read_records(Folder(tmp_path))


def test_the_folder_of_another_experiment(tmp_path: Path) -> None:
    run(small_config(seeds=(0,)), tmp_path, QUIET, TOOLS)
    with pytest.raises(
        ValueError, match=r"holds the results of another experiment \(differs in seeds\); choose another"
    ):
        run(small_config(seeds=(0, 1)), tmp_path, QUIET, TOOLS)
    base = small_config().base
    slower = replace(base, train=replace(base.train, learning_rate=0.5))
    with pytest.raises(ValueError, match=r"differs in base.train.learning_rate"):
        run(small_config(seeds=(0,), base=slower), tmp_path, QUIET, TOOLS)


def test_damaged_files(tmp_path: Path) -> None:
    config = small_config(seeds=(0,))
    run(config, tmp_path, QUIET, TOOLS)
    record = next((tmp_path / "records").iterdir())
    record.write_text(record.read_text()[:50])
    with pytest.raises(ValueError, match=r"json: damaged, not readable as JSON .*; delete it to run it again"):
        run(config, tmp_path, QUIET, TOOLS)
    (tmp_path / "ablation.json").write_text("{}")
    with pytest.raises(ValueError, match=r'ablation.json: not written by `squat ablate` \(its "format" is not'):
        run(config, tmp_path, QUIET, TOOLS)
    (tmp_path / "ablation.json").write_text('{"format": "squat-ablation", "version": 7}')
    with pytest.raises(ValueError, match="format version 7, this squat reads 1"):
        run(config, tmp_path, QUIET, TOOLS)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        only_user(Folder(tmp_path)),
        pytest.raises(ValueError, match="another process runs this ablation; wait for it to end"),
    ):
        run(small_config(), tmp_path, QUIET, TOOLS)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="n_jobs=0: expected an integer >= 1; -1 takes all processors"):
        Options(n_jobs=0)
    with pytest.raises(ValueError, match="budget='soon': expected a time such as '90s', '100m'"):
        Options(budget="soon")


SCRIPT = """
import sys
from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, run
if __name__ == "__main__":
    run(small_config(), sys.argv[1], Options(n_jobs=int(sys.argv[2]), progress=False), TOOLS)
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killed_and_started_again_ends_in_the_same_records(tmp_path: Path, n_jobs: int) -> None:
    folder, script = tmp_path / "killed", tmp_path / "main.py"
    folder.mkdir()
    script.write_text(SCRIPT)
    (folder / "slow.txt").write_text("0.3")
    import squat

    paths = [str(TESTS), str(Path(squat.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, str(script), str(folder), str(n_jobs)], env=environment)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("records/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # orphaned workers end by themselves
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    assert 3 <= len(finished) < len(jobs_of(small_config()))
    time.sleep(0.5)
    assert finished.keys() == set(folder.glob("records/*.json"))
    (folder / "slow.txt").unlink()
    assert run(small_config(), folder, QUIET, TOOLS).complete
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    run(small_config(), tmp_path / "whole", QUIET, TOOLS)
    assert comparable(folder) == comparable(tmp_path / "whole")


@pytest.mark.slow
def test_ray_gives_the_same_records(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'squat-snn[cluster]'")
    config = small_config(seeds=(0,))
    script = tmp_path / "main.py"
    script.write_text(
        SCRIPT.replace("small_config()", "small_config(seeds=(0,))").replace("n_jobs=", 'cluster="local", n_jobs=')
    )
    import squat

    paths = [str(TESTS), str(Path(squat.__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, str(script), str(tmp_path / "ray"), "2"], env=environment, check=True, timeout=120)
    run(config, tmp_path / "inline", QUIET, TOOLS)
    assert comparable(tmp_path / "ray") == comparable(tmp_path / "inline")


def test_without_ray_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"cluster='auto': Ray is not installed; pip install 'squat-snn\[cluster\]'"):
        run(small_config(), tmp_path, Options(cluster="auto", progress=False), TOOLS)


def test_a_cluster_that_does_not_answer_is_said() -> None:
    def init(**_: Any) -> None:
        raise ConnectionError("could not find any running Ray instance")

    text = "cluster='auto': no Ray cluster answers there .could not find any running Ray instance.; start one with `ray"
    with pytest.raises(ValueError, match=text):
        _connect(SimpleNamespace(init=init), "auto")


def test_the_work_folder_of_a_node_must_be_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get_runtime_context=lambda: fake))
    fake = SimpleNamespace(get_node_id=lambda: "0123456789abcdef0123")
    assert _scratch("key") == tmp_path / f"squat-{os.getuid()}" / "key-0123456789abcdef"
    assert (tmp_path / f"squat-{os.getuid()}").stat().st_mode & 0o777 == 0o700
    other = os.getuid() + 1
    (tmp_path / f"squat-{other}").mkdir()
    monkeypatch.setattr("os.getuid", lambda: other)
    with pytest.raises(PermissionError, match=f"squat-{other}: belongs to another user; set TMPDIR for the nodes"):
        _scratch("key")


def test_records_are_plain_json(tmp_path: Path) -> None:
    run(small_config(seeds=(0,)), tmp_path, QUIET, TOOLS)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for path in (tmp_path / "records").iterdir():
        json.loads(path.read_text(), parse_constant=refuse)
