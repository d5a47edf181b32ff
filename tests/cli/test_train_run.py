"""What `squat train` and `squat run` hand on: TensorBoard files, and the loss of the training."""

import json

import pytest

import squat as package
from squat.data import load
from squat.train import evaluate


def test_train_writes_tensorboard_files_on_request(squat, trained, tmp_path):
    assert not (trained / "tensorboard").exists()
    words = ("train", "--config", trained / "config.json", "--epochs", "1", "--tensorboard")
    result = squat(*words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_run_reports_the_loss_of_the_training(squat, trained, own_data, tmp_path):
    net = package.load(trained / "network.safetensors")
    settings = {"loss": "cross_entropy", "logit_scale": 3.0}
    config = json.loads((trained / "config.json").read_text())
    config["train"] |= settings
    package.save(net, tmp_path / "scaled.safetensors", {"run": config})
    result = squat("run", tmp_path / "scaled.safetensors", "--json")
    assert result.exit_code == 0, result.output
    test = load(str(own_data)).test
    expected = evaluate(net, test, **settings).loss
    assert json.loads(result.stdout)["loss"] == pytest.approx(expected)
    assert expected != pytest.approx(evaluate(net, test).loss)


def test_run_reports_no_loss_where_the_training_is_unknown(squat, trained, own_data, tmp_path):
    package.save(package.load(trained / "network.safetensors"), tmp_path / "bare.safetensors")
    result = squat("run", tmp_path / "bare.safetensors", "--data", own_data, "--json")
    assert result.exit_code == 0, result.output
    assert "accuracy" in json.loads(result.stdout)
    assert "loss" not in json.loads(result.stdout)
