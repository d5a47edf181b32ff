"""Runs: they learn, repeat bit for bit, resume exactly after a kill, and refuse what does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import squat
from squat import Anchored
from squat.train import RunConfig, TrainConfig, evaluate, fit
from synthetic import assert_equal_weights, history_rows, run_config, spike_data, weights_of


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
    empty = data.validation.take(torch.arange(0))
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


def test_a_run_prints_nothing_where_nobody_watches(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(run_config(epochs=1), tmp_path, data=spike_data(), progress=True)
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_of_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squat.train.progress.ProgressLine.watched", lambda: True)
    fit(run_config(epochs=2), tmp_path, data=spike_data())
    output = capfd.readouterr().err
    assert "synthetic" in output
    assert "8/8" in output
    assert "epoch 2: loss" in output


def test_fit_needs_a_run_config(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a RunConfig"):
        fit(TrainConfig(), tmp_path)


@pytest.mark.parametrize(("part", "label"), [("train", 7), ("validation", 3), ("test", -1)])
def test_labels_that_are_no_class_are_refused(tmp_path: Path, part: str, label: int) -> None:
    data = spike_data()
    labels = data.parts[part].labels.clone()
    labels[4] = label
    data = replace(data, **{part: replace(data.parts[part], labels=labels)})
    text = f"data 'synthetic', {part}: label {label}: expected 0 to 2, as classes=3; number the labels from 0"
    with pytest.raises(ValueError, match=text):
        fit(run_config(epochs=1), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()
