"""Predictions of a user's recordings: without labels, of any number, as CSV, JSON or npz."""

import csv
import json

import numpy as np
import pytest
import torch

import squat as package
from squat.data import load
from squat.train import evaluate


@pytest.fixture
def spikes():
    return (np.random.default_rng(3).random((4, 10, 9)) < 0.3).astype(np.uint8)


@pytest.fixture
def new(tmp_path, spikes):
    path = tmp_path / "new.npz"
    np.savez(path, x=spikes)
    return path


def _scores(trained, spikes):
    with torch.no_grad():
        return package.load(trained / "network.safetensors")(torch.from_numpy(spikes).float().transpose(0, 1))


def test_recordings_without_labels_have_predictions_and_no_accuracy(squat, trained, new, spikes, tmp_path):
    expected = _scores(trained, spikes)
    result = squat("run", trained, "--data", new)
    assert result.exit_code == 0, result.output
    assert "accuracy" not in result.stdout
    assert "no labels, so there are predictions and no accuracy" in result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert list(rows[0]) == ["index", "prediction", "score_0", "score_1", "score_2"]
    assert [int(row["index"]) for row in rows] == [0, 1, 2, 3]
    assert [int(row["prediction"]) for row in rows] == expected.argmax(1).tolist()
    found = torch.tensor([[float(row[f"score_{c}"]) for c in range(3)] for row in rows])
    assert torch.equal(found, expected)  # the numbers are written out whole


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("labelled", [False, True])
def test_every_ending_holds_the_same(squat, trained, spikes, tmp_path, count, labelled):
    path, x = tmp_path / "new.npz", spikes[:count]
    label = {"label": np.arange(count) % 3} if labelled else {}
    np.savez(path, x=x, **label)
    for ending in ("csv", "json", "npz"):
        result = squat("run", trained, "--data", path, "--predictions", tmp_path / f"out.{ending}")
        assert result.exit_code == 0, result.output
    assert ("accuracy" in result.stdout) == labelled
    expected = _scores(trained, x)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["scores"] for row in rows] == expected.tolist()
    assert [row["prediction"] for row in rows] == expected.argmax(1).tolist()
    assert [row.get("label") for row in rows] == (label["label"].tolist() if labelled else [None] * count)
    with np.load(tmp_path / "out.npz") as saved:
        assert saved["scores"].tolist() == expected.tolist()
        assert saved["index"].tolist() == [row["index"] for row in rows] == list(range(count))
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [int(row["prediction"]) for row in csv.DictReader(file)] == expected.argmax(1).tolist()


def test_json_of_data_without_labels_has_no_accuracy(squat, trained, new, spikes):
    document = json.loads(squat("run", trained, "--data", new, "--json").stdout)
    assert not {"accuracy", "loss"} & set(document)
    assert document["scores"] == _scores(trained, spikes).tolist()
    assert document["index"] == [0, 1, 2, 3]


def test_the_index_is_the_place_in_the_file(squat, trained, own_data, tmp_path):
    def rows(split):
        path = tmp_path / f"{split}.json"
        result = squat("run", trained, "--split", split, "--predictions", path)
        assert result.exit_code == 0, result.output
        return json.loads(path.read_text()), result

    every, result = rows("all")
    with np.load(own_data) as file:
        assert [row["label"] for row in every] == file["label"].tolist()
    assert [row["index"] for row in every] == list(range(60))
    assert "60 samples" in result.stdout
    test, result = rows("test")
    assert len(test) == 12
    assert [row["index"] for row in test] == load(str(own_data)).test.index.tolist()
    for row in test:
        # In another batch a float network may differ in the last bit; the samples are the same ones.
        assert row["scores"] == pytest.approx(every[row["index"]]["scores"], rel=1e-5)
    assert "so 12 of 60 samples are dealt by class" in result.stderr
    assert "--split all takes every sample" in result.stderr


def test_all_samples_are_for_own_files(squat, trained):
    result = squat("run", trained, "--data", "spoken_digits", "--split", "all")
    assert result.exit_code == 2
    assert (
        "--split all is for your own files; the parts of spoken_digits are train, validation and test" in result.stderr
    )


@pytest.mark.parametrize("words", [("train", "--out"), ("ablate", "--folder")])
def test_what_needs_labels_says_so(squat, new, tmp_path, words):
    result = squat(*words, tmp_path / "out", "--data", new)
    assert result.exit_code == 2
    assert f"{new}: no labels; add `label`, the class of each sample, which is needed for this" in result.stderr
    assert not (tmp_path / "out").exists()


def test_too_few_samples_cannot_be_trained_on(squat, spikes, tmp_path):
    np.savez(tmp_path / "few.npz", x=spikes, label=np.arange(4) % 2)
    result = squat("train", "--data", tmp_path / "few.npz", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "no sample in the train part; give some samples `split` = 0, or leave `split` out" in result.stderr


def test_calibrate_and_check_need_no_labels(squat, trained, spikes, tmp_path):
    np.savez(tmp_path / "new.npz", x=spikes, split=np.array([0, 0, 0, 2]))
    words = ("--data", tmp_path / "new.npz")
    low = tmp_path / "low.safetensors"
    result = squat("calibrate", trained, "--weights", "4", "--states", "anchored:4", *words, "--out", low)
    assert result.exit_code == 0, result.output
    result = squat("check", low, *words)
    assert result.exit_code == 0, result.output
    assert "of 1 samples; no labels, 0.00% tied" in result.stdout


def test_data_says_what_takes_a_file_without_labels(squat, new):
    result = squat("data", new)
    assert result.exit_code == 0, result.output
    assert "is in order, without labels; squat run takes it as --data" in result.stdout
    assert "all samples are the test part, without labels to deal them by" in result.stdout


def test_evaluate_without_labels_gives_scores_only(trained, new, spikes):
    result = evaluate(package.load(trained / "network.safetensors"), load(str(new)).test)
    assert (result.accuracy, result.loss) == (None, None)
    assert torch.equal(result.scores, _scores(trained, spikes))
    assert result.to_json()["scores"] == result.scores.tolist()
