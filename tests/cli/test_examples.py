"""The examples of the verbs' help: each is understood, and all of them run as one chain in one folder."""

import json
import re
import shlex

import numpy as np
import pytest
import typer

import squat as package
from squat.ablation import preset
from squat.cli import app

COMMAND = typer.main.get_command(app)
ORDER = ("data", "train", "run", "calibrate", "check", "lower", "inspect", "export", "ablate", "report", "bench")


def _examples() -> list[list[str]]:
    """The words of every example, without `squat`, in an order in which each finds what it needs."""
    commands = [*COMMAND.commands.values(), *COMMAND.commands["export"].commands.values()]
    found = [line for command in commands for line in re.findall(r"Example: squat (.+)", command.help or "")]
    return sorted(map(shlex.split, found), key=lambda words: ORDER.index(words[0]))


def test_every_verb_has_an_example_that_it_understands():
    examples = _examples()
    assert {words[0] for words in examples} == set(COMMAND.commands) == set(ORDER)
    for words in examples:
        group = COMMAND.commands[words[0]]
        verb, rest = (group.commands[words[1]], words[2:]) if words[0] == "export" else (group, words[1:])
        assert verb.make_context(words[0], rest).params, words
    assert COMMAND.epilog.removeprefix("Example: squat ").split() in examples


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    spikes = (rng.random((12, 100, 140)) < 0.02).astype(np.uint8)
    np.savez("my_recordings.npz", x=spikes, label=np.arange(12) % 10)
    (tmp_path / "results").mkdir()
    return tmp_path


@pytest.mark.slow
def test_the_examples_run_as_a_chain(squat, folder):
    for words in _examples():
        result = squat(*words)
        assert result.exit_code == 0, (words, result.output)
    network = preset("digits").base.network
    for name, weights, states, rate in (
        ("digits", None, None, 4e-3),
        ("digits4", package.IntWeight(4).to_json(), package.ThresholdCentered(4).to_json(), 8e-3),
    ):
        config = json.loads((folder / "runs" / name / "config.json").read_text())
        assert config["data"] == preset("digits").base.data.to_json()
        assert config["network"] == {**network.to_json(), "weights": weights, "states": states}
        assert (config["train"]["epochs"], config["train"]["learning_rate"]) == (5, rate)
        assert type(package.load(folder / "runs" / name / "network.safetensors").layers[0]) is package.RLIF
    assert type(package.load("digits4.safetensors").layers[0].state_spec) is package.Fitted
    assert package.integer.load("digits.integer.safetensors").certificate is not None
    assert (folder / "out.csv").is_file()
    assert (folder / "digits-c" / "Makefile").is_file()
    assert (folder / "results" / "report" / "results.csv").is_file()
