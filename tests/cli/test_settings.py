"""Which settings `squat train` takes: options, then the config or the preset on the data, then plain defaults."""

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from squat.ablation import PRESETS, preset
from squat.ablation.presets import DEFAULTS, trained_run
from squat.cli.settings import Given, settle
from squat.quant.spec import ThresholdCentered
from squat.quant.weight import IntWeight
from squat.train import DataConfig, NetworkConfig, RunConfig

NOTHING = Given({}, {}, None)
LOW = {"weights": IntWeight(4), "states": ThresholdCentered(4)}
RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    x = np.random.default_rng(0).integers(0, 2, (20, 5, 1, 6, 7)).astype(np.uint8)
    np.savez(path, x=x, label=np.arange(20) % 2)
    return path


def test_every_default_is_a_preset_with_that_data_architecture_and_neuron():
    for (data, architecture, neuron), name in DEFAULTS.items():
        base = preset(name).base
        assert (base.data.name, base.network.architecture) == (data, architecture)
        assert (base.network.neuron or ("RLIF" if architecture == "recurrent" else "LIF")) == neuron
    assert {PRESETS[name]().base.data.name for name in PRESETS} == {data for data, *_ in DEFAULTS}


@pytest.mark.parametrize(("specs", "recipe"), [({}, "float_baseline"), (LOW, "quantized")])
def test_without_options_the_embedded_digits_train_as_their_recipe_says(monkeypatch, specs, recipe):
    monkeypatch.setattr(sys, "path", [str(RECIPES), *sys.path])
    expected = getattr(import_module("spoken_digits"), recipe)()
    for asked in ({}, {"architecture": "recurrent"}):
        found = settle(None, None, {}, Given({**asked, **specs}, {}, None))
        assert found.run == expected
        assert found.changed == {}
    assert (expected.network.neuron, expected.network.beta) == (None, preset("digits").base.network.beta)


@pytest.mark.parametrize(("neuron", "name"), [("RCubaLIF", "digits-rcubalif"), ("RALIF", "digits-ralif")])
def test_a_neuron_asked_for_has_the_preset_of_that_neuron(neuron, name):
    found = settle(None, "spoken_digits", {}, Given({"architecture": "recurrent", "neuron": neuron}, {}, None))
    assert found.run == trained_run(preset(name), None, None)[1]
    assert found.source == f"cell float of the ablation preset {name}"


def test_options_change_the_preset_and_it_is_said():
    given = Given({"beta": 0.5, "hidden": (8,)}, {"epochs": 3}, 7)
    found = settle(None, None, {"steps": 50}, given)
    base = trained_run(preset("digits"), None, None)[1]
    assert found.run == replace(
        base,
        data=DataConfig("spoken_digits", {**base.data.arguments, "steps": 50}),
        network=replace(base.network, beta=0.5, hidden=(8,)),
        train=replace(base.train, epochs=3),
        seed=7,
    )
    assert found.changed == {
        "beta": ("0.9", "0.5"),
        "hidden": ("128", "8"),
        "epochs": ("30", "3"),
        "seed": ("0", "7"),
    }
    assert "preset digits; changed by options: beta 0.5 (not 0.9), hidden 8 (not 128), epochs 3 (not 30)" in str(found)
    assert "network: recurrent RLIF, 140 - 8 - 10, beta 0.5, accumulated_current, weights float" in str(found)
    assert found.to_json()["config"] == found.run.to_json()


def test_data_without_a_preset_have_plain_defaults_that_are_said(own_data, images):
    found = settle(None, str(own_data), {}, NOTHING)
    assert found.run == RunConfig(DataConfig(str(own_data)), NetworkConfig("feedforward", inputs=9, classes=3))
    assert found.source == f"plain defaults, since there is no preset of feedforward networks on {own_data}"
    assert "feedforward LIF, 9 - 128 - 3, beta 0.9, accumulated_current" in str(found)
    found = settle(None, "spoken_digits", {}, Given({"architecture": "feedforward"}, {}, None))
    assert "no preset of feedforward networks on spoken_digits" in found.source
    found = settle(None, str(images), {}, NOTHING)
    assert (found.run.network.architecture, found.run.network.inputs) == ("conv", (1, 6, 7))


def test_a_config_file_is_the_start_where_it_is_given(own_data, tmp_path):
    run = RunConfig(DataConfig(str(own_data)), NetworkConfig("recurrent", inputs=9, classes=3, beta=0.3), seed=4)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(run.to_json()))
    found = settle(path, None, {}, NOTHING)
    assert (found.run, found.source, found.changed) == (run, f"the config {path}", {})
    assert settle(path, None, {}, Given(LOW, {}, None)).changed.keys() == {"weights", "states"}


@pytest.mark.parametrize("architecture", ["recurrent", "feedforward"])
def test_images_for_a_flat_network_are_refused_with_both_ways_out(squat, images, tmp_path, architecture):
    result = squat("train", "--data", images, f"--{architecture}", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"are images of 1 x 6 x 7, and {architecture} networks take flat features: use convolutions" in result.stderr
    assert "--data-option layout=flat" in result.stderr
    result = squat("ablate", "--data", images, "--folder", tmp_path / "ablation")
    assert result.exit_code == 2
    assert "use convolutions (squat train --conv, squat ablate --preset nmnist), or flat data" in result.stderr


def test_flat_data_for_convolutions_are_refused_with_both_ways_out(squat, own_data, tmp_path):
    result = squat("train", "--data", own_data, "--conv", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "have 9 flat features, and convolutions take images: use another network" in result.stderr
    assert not (tmp_path / "run").exists()


def test_images_over_time_train_with_convolutions(squat, images, tmp_path):
    words = ("--epochs", "1", "--hidden", "2", "--batch-size", "7", "--json")
    result = squat("train", "--data", images, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    settings = json.loads(result.stdout)["settings"]
    assert settings["config"]["network"]["architecture"] == "conv"
    assert settings["changed"] == {"hidden": ["16", "2"], "epochs": ["20", "1"], "batch_size": ["64", "7"]}
    assert "settings: plain defaults, since there is no preset of conv networks on" in result.stderr


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("shape", [(20, 9), (20, 3, 3), (20, 1, 3, 3)])
def test_still_samples_stay_still_in_other_data(tmp_path, shape, there):
    """`[N, H, W]` was read over time, `[N, C]` refused, since the config's `steps` was dropped."""
    first, second, label = tmp_path / "one.npz", tmp_path / "two.npz", np.arange(20) % 2
    if there:
        np.savez(first, x=np.ones((20, 9), np.uint8), label=label)
    np.savez(second, x=np.ones(shape, np.uint8), label=label)
    run = RunConfig(DataConfig(str(first), {"steps": 5}), NetworkConfig("feedforward", inputs=9, classes=2))
    (tmp_path / "config.json").write_text(json.dumps(run.to_json()))
    flat = {} if len(shape) == 2 else {"layout": "flat"}
    found = settle(tmp_path / "config.json", str(second), flat, NOTHING)
    assert (found.run.data.arguments, found.data.steps) == ({"steps": 5, **flat}, 5)
    assert found.run.network.inputs == 9


def test_the_binning_of_a_config_holds_for_other_data_and_is_said(tmp_path):
    events = {"offsets": np.arange(21) * 2, "time_unit_s": 1e-3, "channels": 3, "label": np.arange(20) % 2}
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", times=np.tile([0, 25], 20), units=np.tile([0, 2], 20), **events)
    first, second = (str(tmp_path / f"{name}.npz") for name in ("one", "two"))
    options = {"bin_ms": 5.0, "steps": 8, "whole": False}
    run = RunConfig(DataConfig(first, options), NetworkConfig("recurrent", inputs=3, classes=2))
    (tmp_path / "config.json").write_text(json.dumps(run.to_json()))
    found = settle(tmp_path / "config.json", second, {}, NOTHING)
    assert (found.run.data, found.data.steps) == (DataConfig(second, {"bin_ms": 5.0, "steps": 8}), 8)
    assert f"training: {second} (bin_ms=5.0, steps=8), 8 steps" in str(found)
    found = settle(tmp_path / "config.json", second, {"steps": 6}, NOTHING)
    assert found.run.data == DataConfig(second, {"bin_ms": 5.0, "steps": 6})
