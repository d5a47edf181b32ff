"""Runs: they learn, repeat bit for bit, resume exactly after a kill, and refuse what does not fit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import squat
from squat import Anchored, IntWeight, ThresholdCentered
from squat.train import RunConfig, TrainConfig, evaluate, fit
from synthetic import run_config, spike_data, spike_split

QUANTIZED = {"weights": IntWeight(4), "states": ThresholdCentered(4)}


def weights_of(result: object) -> dict[str, torch.Tensor]:
    return result.network.state_dict()


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def history_rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path, object]:
    """A run of six epochs, never interrupted."""
    config = run_config(epochs=6, network={**QUANTIZED, "weights": IntWeight(4, scale="learned")})
    folder = tmp_path_factory.mktemp("whole")
    return config, folder, fit(config, folder, data=spike_data())


def test_a_run_learns_and_leaves_its_files(whole: tuple) -> None:
    config, folder, result = whole
    assert result.validation_accuracy > 0.6
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert result.history[-1]["learning_rate"] == 0.0
    assert result.seconds > 0
    assert not result.network.training
    assert RunConfig.from_json(json.loads((folder / "config.json").read_text())) == config
    rows = history_rows(folder)
    assert [float(row["train_loss"]) for row in rows] == [row["train_loss"] for row in result.history]
    loaded = squat.load(folder / "network.safetensors")
    data = spike_data()
    assert evaluate(loaded, data.validation) == evaluate(result.network, data.validation)
    assert evaluate(loaded, data.validation).accuracy == result.validation_accuracy
    assert not list(folder.glob(".*"))


def test_a_run_repeats_whatever_the_global_random_state(whole: tuple, tmp_path: Path) -> None:
    config, _, result = whole
    torch.manual_seed(12345)
    state = torch.random.get_rng_state()
    again = fit(config, tmp_path, data=spike_data())
    assert_equal_weights(weights_of(again), weights_of(result))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_finished_run_is_only_read(whole: tuple) -> None:
    config, folder, result = whole
    before = (folder / "last.ckpt").stat().st_mtime_ns
    again = fit(config, folder, data=spike_data())
    assert_equal_weights(weights_of(again), weights_of(result))
    assert again.history == result.history
    assert (folder / "last.ckpt").stat().st_mtime_ns == before


KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
from synthetic import spike_data
from squat.data.dataset import Split
from squat.train import RunConfig, fit
import json

folder, where, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data = spike_data()

def kill_at(function):
    calls = 0
    def wrapper(*args, **kwargs):
        global remaining
        remaining -= 1
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper

remaining = count
if where == "batch":
    Split.batch = kill_at(Split.batch)
else:
    import squat.train.checkpoint as checkpoint
    checkpoint.os.replace = kill_at(os.replace)
fit(RunConfig.from_json(json.loads(sys.stdin.read())), folder, data=data)
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
    done = len(history_rows(tmp_path))
    assert 2 < done < 6
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


def test_resume_false_starts_anew(whole: tuple, tmp_path: Path) -> None:
    config = replace(whole[0], train=replace(whole[0].train, epochs=1))
    first = fit(config, tmp_path, data=spike_data())
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"last.ckpt: damaged checkpoint; delete it, or pass resume=False"):
        fit(config, tmp_path, data=spike_data())
    assert_equal_weights(weights_of(fit(config, tmp_path, data=spike_data(), resume=False)), weights_of(first))


def test_a_folder_belongs_to_one_config(whole: tuple, tmp_path: Path) -> None:
    config, folder, _ = whole
    with pytest.raises(ValueError, match=r"holds the run of another config \(see config.json\); use another folder"):
        fit(replace(config, seed=9), folder, data=spike_data())
    (tmp_path / "config.json").write_text("{}]")
    with pytest.raises(ValueError, match=r"config.json: not the config of a run .*; use an empty folder"):
        fit(config, tmp_path, data=spike_data())


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    config = run_config(epochs=40, early_stopping_patience=2, learning_rate=0.05, schedule="constant")
    result = fit(config, tmp_path, data=spike_data())
    accuracies = [row["validation_accuracy"] for row in result.history]
    best = accuracies.index(max(accuracies)) + 1
    assert len(accuracies) == best + 2 < 40
    assert result.validation_accuracy == max(accuracies)
    assert evaluate(result.network, spike_data().validation).accuracy == max(accuracies)
    assert fit(config, tmp_path, data=spike_data()).history == result.history


def test_loss_that_is_not_finite_names_epoch_and_step(tmp_path: Path) -> None:
    config = run_config(epochs=2, learning_rate=1e38, schedule="constant", network={"readout": "mean_membrane"})
    with pytest.raises(
        ValueError, match=r"loss=(nan|inf) in epoch 1, step [2-4]: expected a finite loss|NaN or infinity"
    ):
        fit(config, tmp_path, data=spike_data())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"inputs": 11}, r"network.inputs=11: expected 12, as in the data 'synthetic'"),
        ({"classes": 4}, r"network.classes=4: expected 3, as in the data 'synthetic'"),
        ({"input_max": 2}, r"network.input_max=2: expected 1, as in the data 'synthetic'"),
    ],
)
def test_networks_that_do_not_fit_the_data(tmp_path: Path, network: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(run_config(network=network), tmp_path, data=spike_data())
    assert not list(tmp_path.iterdir())


def test_data_without_training_or_validation_samples(tmp_path: Path) -> None:
    data = spike_data()
    empty = replace(
        data.validation, labels=data.validation.labels[:0], inputs=data.validation.inputs.take(torch.arange(0))
    )
    with pytest.raises(ValueError, match="data 'synthetic': expected training samples, got none"):
        fit(run_config(), tmp_path, data=replace(data, train=empty))
    with pytest.raises(ValueError, match="early_stopping_patience: expected a validation split"):
        fit(run_config(early_stopping_patience=1), tmp_path, data=replace(data, validation=empty))
    result = fit(run_config(epochs=1), tmp_path, data=replace(data, validation=empty))
    assert result.validation_accuracy is None


def test_tensorboard_log(tmp_path: Path) -> None:
    fit(run_config(epochs=2), tmp_path, data=spike_data(), tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.out.*"))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("states", [None, Anchored(4)])
def test_other_settings_train(tmp_path: Path, optimizer: str, states: object) -> None:
    network = {"readout": "spike_count", "states": states, "learn_beta": "clamp", "architecture": "feedforward"}
    options = {
        "loss": "count_mse",
        "optimizer": optimizer,
        "weight_decay": 1e-2,
        "clip_grad": 1.0,
        "schedule": "constant",
    }
    result = fit(run_config(epochs=2, network=network, **options), tmp_path, data=spike_data())
    assert result.history[-1]["learning_rate"] == 1e-2
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_thread_number_is_the_configs_during_a_run_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from squat.train import module

    seen = []
    real = module.augment
    monkeypatch.setattr(module, "augment", lambda *args: seen.append(torch.get_num_threads()) or real(*args))
    torch.set_num_threads(2)
    fit(run_config(epochs=1, threads=1), tmp_path, data=spike_data())
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_evaluate_reports_and_leaves_the_network_alone(whole: tuple) -> None:
    network = whole[2].network
    split = spike_split(20, seed=7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    small, large = (evaluate(network, split, batch_size=size) for size in (3, 20))
    assert network.training
    network.eval()
    assert_equal_weights(network.state_dict(), before)
    assert small.predictions == large.predictions
    assert small.accuracy == large.accuracy
    assert small.loss == pytest.approx(large.loss)
    assert 0.0 < small.spike_rates["0 RLIF"] < 1.0
    assert json.loads(json.dumps(small.to_json()))["predictions"] == small.predictions
    correct = sum(int(p) == int(label) for p, label in zip(small.predictions, split.labels, strict=True))
    assert small.accuracy == correct / 20


def test_evaluate_refuses(whole: tuple) -> None:
    network, split = whole[2].network, spike_split(3, 0)
    with pytest.raises(TypeError, match=r"network=.*: expected a squat Network; squat.load gives one"):
        evaluate(torch.nn.Linear(2, 2), split)
    with pytest.raises(ValueError, match="split: expected at least one sample, got none"):
        evaluate(network, replace(split, labels=split.labels[:0], inputs=split.inputs.take(torch.arange(0))))
    with pytest.raises(ValueError, match="batch_size=0: expected an integer >= 1"):
        evaluate(network, split, 0)


def test_fit_needs_a_run_config(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a RunConfig"):
        fit(TrainConfig(), tmp_path)
