"""Runs that are killed or fail go on from their last finished epoch, to the same bits; and runs in two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from squat import IntWeight, ThresholdCentered
from squat.train import RunConfig, fit
from synthetic import assert_equal_weights, history_rows, run_config, spike_data, weights_of

KILLED = """
import json, os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
from synthetic import spike_data
from squat.data.dataset import Split
from squat.train import RunConfig, fit

folder, where, remaining = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def kill_at(function, counts):
    def wrapper(*args):
        global remaining
        remaining -= counts(*args)
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    return wrapper

if where == "batch":
    Split.batch = kill_at(Split.batch, lambda *_: True)
else:
    os.replace = kill_at(os.replace, lambda source, target: pathlib.Path(target).name == "last.ckpt")
fit(RunConfig.from_json(json.loads(sys.stdin.read())), folder, data=spike_data())
"""


def run_until_killed(config: RunConfig, folder: Path, where: str, count: int) -> None:
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", script, str(folder), where, str(count)]
    done = subprocess.run(command, input=json.dumps(config.to_json()), text=True, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bits(whole: tuple, tmp_path: Path) -> None:
    """Killed in the third epoch, then while the checkpoint of a later one is put in place, then left to finish."""
    config, _, result = whole
    run_until_killed(config, tmp_path, "batch", 2 * 5 + 3)
    assert len(history_rows(tmp_path)) == 2
    run_until_killed(config, tmp_path, "replace", 3)
    assert len(history_rows(tmp_path)) == 4
    again = fit(config, tmp_path, data=spike_data())
    assert_equal_weights(weights_of(again), weights_of(result))
    strip = [{key: value for key, value in row.items() if key != "seconds"} for row in again.history]
    assert strip == [{key: value for key, value in row.items() if key != "seconds"} for row in result.history]


class Interrupted(Exception):
    """Stands for a failure in the middle of an epoch."""


def interrupt_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    from squat.train import module

    real = module.augment

    def augment(x: torch.Tensor, config: object, place: object) -> torch.Tensor:
        if (place.epoch, place.step) == (epoch, 2):
            raise Interrupted
        return real(x, config, place)

    monkeypatch.setattr(module, "augment", augment)


@pytest.mark.parametrize("epoch", [0, 3])
def test_resume_in_the_same_process(whole: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    config, _, result = whole
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, epoch)
        with pytest.raises(Interrupted):
            fit(config, tmp_path, data=spike_data())
    assert_equal_weights(weights_of(fit(config, tmp_path, data=spike_data())), weights_of(result))


def test_resume_with_dropout_and_batch_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are drawn from the step's own stream, whatever was drawn before."""
    network = {"architecture": "feedforward", "hidden": (16, 12), "dropout": 0.3, "batch_norm": True}
    config = run_config(epochs=3, network={**network, "weights": IntWeight(4), "states": ThresholdCentered(4)})
    torch.manual_seed(1)
    whole = fit(config, tmp_path / "whole", data=spike_data())
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 2)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "part", data=spike_data())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert_equal_weights(weights_of(fit(config, tmp_path / "part", data=spike_data())), weights_of(whole))
    assert torch.equal(torch.random.get_rng_state(), before)
    other = fit(replace(config, network=replace(config.network, dropout=0.0)), tmp_path / "other", data=spike_data())
    assert not torch.equal(other.network.layers[0].weight, whole.network.layers[0].weight)


TWO_PROCESSES = """
import sys
sys.path.insert(0, {tests!r})
from synthetic import run_config, spike_data
from squat.train import fit

result = fit(run_config(epochs=2, devices=2, strategy="ddp"), sys.argv[1], data=spike_data())
print("result", result.history, sum(float(v.double().sum()) for v in result.network.state_dict().values()))
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parents[1])))
    command = [sys.executable, str(script), str(tmp_path / "run")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [line for line in done.stdout.splitlines() if line.startswith("result")]
    assert len(results) == 2
    assert results[0] == results[1]
    assert len(history_rows(tmp_path / "run")) == 2
