"""Event data sets on the command line: SHD in the true format trains; what is wrong is said in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

from event_formats import spoken, write_heidelberg, write_own_events, write_shd
from squat.data import sources


@pytest.fixture(scope="module")
def shd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SHD cut to 200 training samples, and 40 of test."""
    return write_shd(tmp_path_factory.mktemp("shd"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test fills the real cache folder."""
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")


def words(folder: Path, *more: object) -> list[object]:
    return ["--data", "shd", "--data-option", f"folder={folder}", "--data-option", "channels=140", *more]


def test_shd_trains_runs_and_describes_itself(squat, shd, tmp_path):
    network = ("--recurrent", "--hidden", "16", "--weights", "4", "--states", "threshold_centered:4")
    trained = squat("train", *words(shd, *network, "--epochs", "2", "--out", tmp_path / "run", "--json"))
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["epochs"] == 2
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["network"]["inputs"], config["network"]["classes"]) == (140, 20)
    ran = squat("run", tmp_path / "run", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["accuracy"] == json.loads(trained.stdout)["test_accuracy"]
    shown = squat("data", "shd", *words(shd)[2:], "--json")
    assert json.loads(shown.stdout)["samples"] == {"train": 180, "validation": 20, "test": 40}


def test_a_users_file_is_streamed_on_request(squat, tmp_path):
    path = write_own_events(tmp_path / "own.h5")
    options = ("--data", path, "--data-option", "stream=true", "--data-option", "steps=10")
    network = ("--hidden", "8", "--epochs", "1", "--out", tmp_path / "run")
    result = squat("train", *options, *network)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["options"]["stream"] is True
    refused = squat("data", "shd", "--data-option", "folder=1")
    assert (refused.exit_code, refused.stderr) == (2, REFUSED)


REFUSED = "squat data: folder=1: expected the path of a folder, as text\n"


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def without_labels(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["labels"]


def beyond(path: Path) -> None:
    times, units, labels = spoken(40, 20)
    units[3] = units[3] + 700
    write_heidelberg(path, times, units, labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt, "truncated, damaged, or not an HDF5 file"),
        (without_labels, "`labels` is missing; expected one entry a sample"),
        (beyond, "in sample 3; expected 0 to 699"),
    ],
)
def test_a_bad_shd_file_is_one_line_and_exit_code_2(squat, shd, tmp_path, damage, message):
    folder = tmp_path / "shd"
    shutil.copytree(shd, folder)
    damage(folder / "shd_train.h5")
    result = squat("train", *words(folder, "--out", tmp_path / "run"))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"squat train: {folder / 'shd_train.h5'}: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_list_says_where_files_go_and_which_are_downloaded(squat, monkeypatch, tmp_path):
    monkeypatch.setenv("SQUAT_DATA", str(tmp_path))
    (tmp_path / "nmnist" / "Train").mkdir(parents=True)
    lines = squat("data").stdout.splitlines()
    assert "  file: shd/shd_train.h5 is downloaded on first use" in lines
    assert f"  file: found, {tmp_path / 'nmnist' / 'Train'}" in lines
    place = tmp_path / "cache" / "dvs_gesture" / "trials_to_train.txt"
    text = f"dvs_gesture/trials_to_train.txt is missing: put it at {place}, or below a folder that SQUAT_DATA names"
    assert f"  file: {text}" in lines
