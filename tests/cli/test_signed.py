"""A user's signed spikes from training to C: every verb takes them, and says so of data that are not signed."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

import squat as package


@pytest.fixture(scope="module")
def delta_coded(tmp_path_factory):
    """Samples of two classes, which differ in nothing but the sign of their spikes."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    spikes = rng.random((60, 10, 9)) < 0.4
    signs = np.where(rng.random(spikes.shape) < 0.9, 1, -1) * (2 * label - 1)[:, None, None]
    path = tmp_path_factory.mktemp("data") / "delta.npz"
    np.savez(path, x=(spikes * signs).astype(np.int8), label=label)
    return path


@pytest.fixture(scope="module")
def signed(squat, delta_coded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "signed"
    words = ("--weights", "4", "--states", "anchored:4", "--hidden", "8", "--epochs", "12", "--batch-size", "8")
    result = squat("train", "--data", delta_coded, *words, "--learning-rate", "0.02", "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_training_declares_the_range_and_learns(squat, signed, delta_coded):
    assert json.loads((signed / "config.json").read_text())["network"]["input_min"] == -1
    assert json.loads(squat("data", delta_coded, "--json").stdout)["input_min"] == -1
    result = squat("run", signed / "network.safetensors", "--data", delta_coded, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["accuracy"] > 0.9


def test_integers_from_proof_to_c(squat, signed, delta_coded, tmp_path):
    net, machine = signed / "network.safetensors", tmp_path / "net.machine"
    checked = json.loads(squat("check", net, "--data", delta_coded, "--json").stdout)
    assert checked["equal"]
    assert checked["comparison"]["divergence"] is None
    result = squat("lower", net, machine)
    assert result.exit_code == 0, result.output
    accuracy = json.loads(squat("run", net, "--data", delta_coded, "--json").stdout)["accuracy"]
    assert accuracy == checked["comparison"]["integer_accuracy"]
    x, y = package.data.load(str(delta_coded)).test.batch(torch.arange(12))
    assert np.mean(package.integer.load(machine).run(x).predictions == y.numpy()) == accuracy
    assert squat("inspect", machine, "--data", delta_coded).exit_code == 0
    assert squat("export", "c", machine, tmp_path / "c").exit_code == 0
    if shutil.which("make") and shutil.which("cc"):
        done = subprocess.run(["make", "all", "check"], cwd=tmp_path / "c", capture_output=True, text=True, check=False)
        assert "self-test: all codes equal" in done.stdout, done.stdout + done.stderr


def test_an_unsigned_network_refuses_them_by_name(squat, trained, delta_coded, tmp_path):
    net = package.load(trained / "network.safetensors")
    net.layers[0].set_weight_spec(package.IntWeight(4))
    package.save(net, tmp_path / "unsigned.safetensors")
    result = squat("run", tmp_path / "unsigned.safetensors", "--data", delta_coded)
    assert result.exit_code == 2
    assert "expected integers from 0 to 1, the layer's input_min and input_max" in result.stderr
    assert "lower input_min to -1" in result.stderr
