import csv
import json

import numpy as np
import pytest

import squat as package

QUANTIZED = ("--weights", "4", "--states", "anchored:4")


def test_train_leaves_network_config_and_curves(trained, own_data):
    assert {"network.safetensors", "config.json", "history.csv"} <= {path.name for path in trained.iterdir()}
    config = json.loads((trained / "config.json").read_text())
    assert config["data"]["name"] == str(own_data)
    assert config["network"]["architecture"] == "recurrent"
    assert (config["network"]["inputs"], config["network"]["classes"], config["network"]["hidden"]) == (9, 3, [8])
    assert package.load(trained / "network.safetensors")


def test_the_same_train_command_again_only_reads(squat, trained):
    before = (trained / "network.safetensors").read_bytes()
    result = squat("train", "--config", trained / "config.json", "--out", trained, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["epochs"] == 2
    assert 0.0 <= document["test_accuracy"] <= 1.0
    assert (trained / "network.safetensors").read_bytes() == before


def test_train_overwrites_nothing_unasked(squat, own_data, trained, tmp_path):
    result = squat("train", "--config", trained / "config.json", "--epochs", "3", "--out", trained)
    assert result.exit_code == 2
    assert "holds another run: choose another folder, or replace that run with --overwrite" in result.stderr
    (tmp_path / "notes.txt").touch()
    result = squat("train", "--config", trained / "config.json", "--out", tmp_path)
    assert result.exit_code == 2
    assert "is not empty and holds no run: choose another folder" in result.stderr
    result = squat("train", "--config", trained / "config.json", "--out", own_data)
    assert "is a file: expected a folder" in result.stderr


def test_train_with_specs_and_overwrite(squat, trained, tmp_path):
    words = ("train", "--config", trained / "config.json", "--epochs", "1", "--out", tmp_path / "run")
    assert squat(*words).exit_code == 0
    result = squat(*words, "--weights", "3,scale=max", "--states", "uniform:4,upper_limit=0.5", "--overwrite")
    assert result.exit_code == 0, result.output
    net = package.load(tmp_path / "run" / "network.safetensors")
    assert net.layers[0].state_spec == package.Uniform(4, upper_limit=0.5)
    assert net.layers[0].weight_spec == package.IntWeight(3, scale="max")
    assert "test " in result.stdout


def test_run_gives_accuracy_and_predictions(squat, trained, tmp_path):
    result = squat("run", trained, "--predictions", tmp_path / "out.csv", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = [{key: int(row[key]) for key in ("index", "prediction", "label")} for row in csv.DictReader(file)]
    assert [row["prediction"] for row in rows] == document["predictions"]
    right = sum(row["prediction"] == row["label"] for row in rows)
    assert document["accuracy"] == pytest.approx(right / len(rows))
    assert document["samples"] == len(rows) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_run_writes_npz_for_another_split(squat, trained, own_data, tmp_path):
    path = tmp_path / "out.npz"
    result = squat(
        "run", trained / "network.safetensors", "--data", own_data, "--split", "train", "--predictions", path
    )
    assert result.exit_code == 0, result.output
    assert "mine, train: accuracy" in result.stdout or "train: accuracy" in result.stdout
    with np.load(path) as saved:
        assert saved["prediction"].shape == saved["label"].shape == (42,)
    result = squat("run", trained, "--predictions", path)
    assert result.exit_code == 2
    assert f"{path} exists: nothing is overwritten without --overwrite" in result.stderr
    assert squat("run", trained, "--predictions", path, "--overwrite").exit_code == 0


def test_run_refuses_what_does_not_fit(squat, trained, tmp_path):
    result = squat("run", trained, "--data", "spoken_digits")
    assert result.exit_code == 2
    assert "data spoken_digits do not fit the network: x: shape" in result.stderr
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((trained / "network.safetensors").read_bytes()[:200])
    result = squat("run", damaged)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "damaged.safetensors: damaged" in result.stderr
    result = squat("run", trained, "--predictions", tmp_path / "no" / "out.csv")
    assert "there is no folder" in result.stderr


def test_run_without_known_data_says_what_is_missing(squat, tmp_path):
    net = package.Network(package.Sequential(package.Linear(9, 3)), package.models.AccumulatedCurrent())
    package.save(net, tmp_path / "net.safetensors")
    result = squat("run", tmp_path / "net.safetensors")
    assert result.exit_code == 2
    assert "--data is missing: the network file does not say which data it was trained on" in result.stderr
    package.save(package.Sequential(package.Linear(9, 3)), tmp_path / "layers.safetensors")
    result = squat("run", tmp_path / "layers.safetensors")
    assert "layers.safetensors holds layers without a readout" in result.stderr


def test_calibrate_writes_a_quantized_network_and_reports(squat, trained, tmp_path):
    out = tmp_path / "quantized" / "net.safetensors"
    result = squat("calibrate", trained, *QUANTIZED, "--range", "calibrated", "--out", out)
    assert result.exit_code == 0, result.output
    assert "calibrated on 42 samples, state range: calibrated" in result.stdout
    net = package.load(out)
    assert net.layers[0].weight_spec == package.IntWeight(4)
    assert type(net.layers[0].state_spec) is package.Anchored
    assert package.load(trained / "network.safetensors").layers[0].state_spec is None
    assert squat("run", out).exit_code == 0
    result = squat("calibrate", trained, *QUANTIZED, "--out", out)
    assert result.exit_code == 2
    assert "exists: nothing is overwritten without --overwrite" in result.stderr
    result = squat("calibrate", trained, *QUANTIZED, "--out", tmp_path, "--overwrite")
    assert result.exit_code == 2
    assert f"{tmp_path} is a folder: expected the name of a file" in result.stderr
    result = squat("calibrate", trained, *QUANTIZED, "--out", out, "--overwrite", "--json")
    document = json.loads(result.stdout)
    assert document["state_range"] == "published"
    assert document["states"][0]["spec"]["type"] == "Anchored"


def test_calibrate_fits_levels_corrects_biases_and_compares(squat, trained, tmp_path):
    out, picture = tmp_path / "net.safetensors", tmp_path / "net.png"
    words = ("--range", "lloyd_max", "--clip", "95", "--near-threshold", "3", "--bias-correction", "--picture", picture)
    result = squat("calibrate", trained, *QUANTIZED, *words, "--out", out)
    assert result.exit_code == 0, result.output
    assert "rms shift of the mean current" in result.stdout
    assert "van Rossum" in result.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    spec = package.load(out).layers[0].state_spec
    assert (type(spec), spec.firing) == (package.Fitted, "threshold")
    result = squat("calibrate", trained, *QUANTIZED, "--picture", picture, "--out", tmp_path / "other.safetensors")
    assert result.exit_code == 2
    assert f"{picture} exists: nothing is overwritten without --overwrite" in result.stderr
    words = ("--range", "percentile", "--percentile", "90", "--json")
    result = squat("calibrate", trained, *QUANTIZED, *words, "--out", tmp_path / "third.safetensors")
    document = json.loads(result.stdout)
    assert document["state_range"] == "percentile"
    assert document["comparison"]["layers"][0]["kind"] == "RLIF"


def test_calibrate_takes_a_network_without_neurons(squat, own_data, tmp_path):
    net = package.Network(package.Sequential(package.Linear(9, 3)), package.models.AccumulatedCurrent())
    package.save(net, tmp_path / "net.safetensors")
    words = ("--data", own_data, "--weights", "4", "--out", tmp_path / "net4.safetensors")
    result = squat("calibrate", tmp_path / "net.safetensors", *words)
    assert result.exit_code == 0, result.output
    assert "compared" not in result.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "there is nothing to quantize"),
        (["--weights", "4,scale=learned"], "a learned scale needs training"),
        (["--states", "uniform:4", "--range", "wide"], "state_range='wide': expected one of"),
        (["--states", "uniform:4", "--percentile", "90"], "percentile=90.0 does nothing with state_range='published'"),
        (["--states", "uniform:4", "--near-threshold", "3"], "near_threshold=3.0 does nothing with"),
        (["--weights", "4", "--range", "mse"], "state_range='mse' does nothing with states=None"),
        (["--states", "uniform:4", "--clip", "20"], "clip=20.0: expected a finite number in (50, 100]"),
        (["--states", "uniform:4", "--picture", "x.gif"], "x.gif: ends in '.gif', expected one of .png, .svg, .pdf"),
        (["--states", "uniform:4", "--batches", "0"], "batches=0: expected an integer >= 1"),
    ],
)
def test_calibrate_refuses_bad_options(squat, trained, tmp_path, words, text):
    result = squat("calibrate", trained, *words, "--out", tmp_path / "net.safetensors")
    assert result.exit_code == 2
    assert text in result.stderr
    assert not list(tmp_path.iterdir())
