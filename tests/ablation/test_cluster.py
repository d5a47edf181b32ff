"""An ablation on a Ray cluster of two nodes that see other folders than the process that starts it; one is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster_tools import TOOLS
from ray_nodes import OWN_MOUNTS, RAY, Nodes, until
from squat.ablation import AblationConfig, Options, run
from squat.ablation.records import Folder, read_records, without_times
from squat.models.config import NetworkConfig
from squat.train.config import DataConfig, RunConfig, TrainConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    if importlib.util.find_spec("ray") is None or not RAY.exists():
        pytest.skip("needs Ray: pip install 'squat-snn[cluster]'")
    root = tmp_path_factory.mktemp("cluster")
    test = ["sh", "-c", f"mount -t tmpfs none '{root}'"]
    ways = [way for way in OWN_MOUNTS if shutil.which("unshare") and subprocess.run([*way, *test]).returncode == 0]
    if not ways:
        pytest.skip("needs processes with mounts of their own (unshare -m), which this system does not allow")
    made = Nodes(root, ways[0])
    try:
        made.start()
        yield made
    finally:
        made.kill()
        for process in made.started:
            process.wait()
        shutil.rmtree(made.temporary, ignore_errors=True)


def small(path: Path) -> AblationConfig:
    """Four networks trained for one epoch and six calibrated from them, on a file of the user's own."""
    rng = np.random.default_rng(0)
    label = np.arange(80) % 2
    rates = np.where(label[:, None, None] == 0, [0.6, 0.6, 0.1, 0.1], [0.1, 0.1, 0.6, 0.6])
    np.savez(path, x=(rng.random((80, 6, 4)) < rates).astype(np.uint8), label=label)
    network = NetworkConfig("feedforward", inputs=4, hidden=(6,), classes=2, input_gain=3.0)
    base = RunConfig(DataConfig(str(path)), network, TrainConfig(epochs=1, batch_size=16, learning_rate=2e-2))
    cells = ("float", "ptq", "state-ptq", "weight-ptq", "qat")
    return AblationConfig("small", base, cells, ("anchored",), seeds=(0, 1), calibration_samples=32)


@pytest.fixture(scope="module")
def expected(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> tuple[AblationConfig, Any]:
    """The ablation, and the records of one process."""
    config, folder = small(nodes.root / "mine.npz"), tmp_path_factory.mktemp("inline")
    assert run(config, folder, Options(progress=False), TOOLS).complete
    return config, without_times(read_records(Folder(folder)))


def ends(driver: subprocess.Popen[str], seconds: float = 300.0) -> str:
    out, error = driver.communicate(timeout=seconds)
    assert driver.returncode == 0, error
    return out


def test_a_node_without_the_data_is_refused_by_name(nodes: Nodes) -> None:
    config = small(nodes.root / "data" / "mine.npz")
    out, error = nodes.driver(config, nodes.root / "results" / "refused").communicate(timeout=120)
    assert "ValueError: node " in error
    assert "mine.npz" in error
    assert "; mend that, or leave the node out" in error
    assert out == ""
    assert not list((nodes.root / "results" / "refused").glob("records/*"))


def test_a_worker_that_dies_costs_nothing(nodes: Nodes, expected: tuple[AblationConfig, Any]) -> None:
    nodes.sign("kill-worker-b").touch()
    folder = nodes.root / "results" / "worker"
    assert "10 of 10 runs done" in ends(nodes.driver(expected[0], folder))
    assert not nodes.sign("kill-worker-b").exists()
    assert without_times(read_records(Folder(folder))) == expected[1]


def test_a_failure_names_the_node(nodes: Nodes, expected: tuple[AblationConfig, Any]) -> None:
    for name in "ab":
        nodes.sign(f"fail-{name}").touch()
    config, folder = replace(expected[0], cells=("float",), seeds=(0,)), nodes.root / "results" / "failure"
    assert "0 of 1 runs done, 1 failed" in ends(nodes.driver(config, folder))
    for name in "ab":
        nodes.sign(f"fail-{name}").unlink()
    (record,) = read_records(Folder(folder)).values()
    home = f"on node {socket.gethostname()}: FileNotFoundError: no events.h5 below FOLDER/work/"
    assert record["error"].startswith(home)
    assert "fit" in (folder / "work" / record["id"] / "traceback.txt").read_text()


def test_a_driver_that_is_killed_is_continued(nodes: Nodes, expected: tuple[AblationConfig, Any]) -> None:
    folder = nodes.root / "results" / "driver"
    nodes.sign("hang-a").touch()
    driver = nodes.driver(expected[0], folder)
    until("a is in the middle of a run", nodes.sign("hanging-a").exists)
    until("a run has ended on b", lambda: list(folder.glob("records/*.json")))
    driver.kill()
    driver.communicate()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    assert "10 of 10 runs done" in ends(nodes.driver(expected[0], folder))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert without_times(read_records(Folder(folder))) == expected[1]


def test_a_node_that_is_killed_costs_nothing(nodes: Nodes, expected: tuple[AblationConfig, Any]) -> None:
    config, records = expected
    folder, before = nodes.root / "results" / "node", len(nodes.runs("a"))
    nodes.sign("hang-b").touch()
    driver = nodes.driver(config, folder)
    until("b is in the middle of a run", nodes.sign("hanging-b").exists)
    hung = nodes.runs("b")[-1]
    assert nodes.kill("b", "raylet/raylet") == 1
    assert "10 of 10 runs done" in ends(driver)
    assert hung in nodes.runs("a")[before:]
    assert without_times(read_records(Folder(folder))) == records
    networks = {path.stem for path in (folder / "networks").iterdir()}
    assert networks == set(records)
    assert not list((folder / "work").iterdir())


def test_the_last_node_gone_is_said(nodes: Nodes, expected: tuple[AblationConfig, Any]) -> None:
    config = replace(expected[0], base=replace(expected[0].base, train=replace(expected[0].base.train, threads=2)))
    _, error = nodes.driver(config, nodes.root / "results" / "large").communicate(timeout=120)
    needed = "the cluster has not, or no longer, a node with 2 processors (the threads of a run)"
    assert f"ChildProcessError: {needed}; add one and start again to continue" in error


def test_the_batch_script_of_the_guide(nodes: Nodes, tmp_path: Path) -> None:
    """With an srun that starts what it is given on this machine, as Slurm does on others."""
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text()
    script = tmp_path / "ablate.sh"
    script.write_text(next(block for block in re.findall(r"```bash\n(.*?)```", guide, re.DOTALL) if "#SBATCH" in block))
    subprocess.run(["bash", "-n", script], check=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, code in {
        "srun": f'echo "$@" >> {tmp_path}/steps; while [ "${{1#--}}" != "$1" ]; do shift; done; exec "$@"',
        "squat": f'exec {sys.executable} -m squat "$@"',
        "ray": f'[ "$1" = start ] && set -- "$@" --node-ip-address=127.0.0.1; exec {RAY} "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    slurm = {"SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": str(os.getpid())}
    environment = nodes.environment(
        NODE="slurm", SLURMD_NODENAME="127.0.0.1", PATH=f"{tools}:{os.environ['PATH']}", **slurm
    )
    experiment = AblationConfig(
        "tiny", small(tmp_path / "mine.npz").base, ("float", "weight-ptq"), ("anchored",), seeds=(0, 1)
    )
    (tmp_path / "tiny.json").write_text(json.dumps(experiment.to_json()))
    command = ["bash", str(script), "--config", f"{tmp_path}/tiny.json", "--folder", f"{tmp_path}/results", "--json"]
    with (tmp_path / "log").open("w") as log:  # no pipes, which the nodes would hold open
        try:
            subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=200, cwd=tmp_path, check=True)
        finally:
            nodes.kill("slurm")  # as Slurm does when the batch script has ended
    assert '"summary": "4 of 4 runs done"' in (tmp_path / "log").read_text()
    first, second = (tmp_path / "steps").read_text().splitlines()
    assert "--nodes=1 --nodelist=127.0.0.1" in first
    assert "--nodes=1 --exclude=127.0.0.1" in second
