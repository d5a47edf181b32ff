"""Options of the data travel with the network: every verb reads a file as the training did, and says so."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import squat as package
from event_formats import write_own_events
from squat.data import load

NETWORK = ("--hidden", "6", "--epochs", "1", "--batch-size", "20", "--weights", "4", "--states", "anchored:4")


def options(**values):
    return [word for key, value in values.items() for word in ("--data-option", f"{key}={value}")]


def result(squat, *words):
    done = squat(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def own_events(tmp_path_factory):
    """Recordings of 100 ms."""
    return write_own_events(tmp_path_factory.mktemp("events") / "own.h5")


@pytest.fixture(scope="module")
def on_events(squat, own_events, tmp_path_factory):
    """A run on them with 8 steps of 13 ms."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result(squat, "train", "--data", own_events, *options(steps=8, bin_ms=13), *NETWORK, "--out", folder)
    return folder


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.fixed_dictionaries(
        {}, optional={"steps": st.integers(3, 30), "bin_ms": st.sampled_from([1, 2.5, 9, 30]), "stream": st.booleans()}
    )
)
def test_the_same_file_gives_the_same_predictions_whatever_the_options(squat, own_events, tmp_path_factory, chosen):
    folder = tmp_path_factory.mktemp("random")
    words = options(**{key: str(value).lower() for key, value in chosen.items()}, accept_loss="true")
    result(squat, "train", "--data", own_events, *words, *NETWORK, "--out", folder / "run")
    copied = shutil.copy(own_events, folder / "copied.h5")
    first, _ = result(squat, "run", folder / "run")
    for data in (own_events, own_events.parent / "." / own_events.name, copied):
        accept = options(accept_loss="true") if data == copied else []
        again, _ = result(squat, "run", folder / "run", "--data", data, *accept)
        assert (again["predictions"], again["accuracy"]) == (first["predictions"], first["accuracy"])
    trained = load(own_events, **chosen, accept_loss=True)
    assert package.files.read_metadata(folder / "run" / "network.safetensors")["data_options"] == trained.options
    assert again["coverage"] == trained.coverage.to_json()


def test_what_is_taken_over_and_overridden_is_said(squat, own_events, on_events):
    document, said = result(squat, "run", on_events, "--data", own_events, *options(steps=9))
    assert "data options of the training: bin_ms=13; overridden: steps=8 (now 9)\n" in said
    assert "data own.h5: all 18,000 events of 60 recordings within 9 steps of 13 ms\n" in said
    assert document["data_options"] == {
        "training": {"bin_ms": 13},
        "given": {"steps": 9},
        "overridden": {"steps": 8},
        "foreign": {},
        "missing": {},
        "fixed_by": "training",
    }
    document, said = result(squat, "run", on_events, *options(steps=9))  # without --data they are not forgotten either
    assert document["data_options"]["overridden"] == {"steps": 8}
    assert document["coverage"]["steps"] == 9


def test_every_verb_reads_the_data_as_the_training_did(squat, own_events, on_events, tmp_path):
    machine = tmp_path / "machine.safetensors"
    words = ("--data", own_events)
    result(squat, "lower", on_events, machine, *words)
    network, floats = on_events / "network.safetensors", package.load(on_events / "network.safetensors")
    package.dequantize_(floats)
    package.save(floats, tmp_path / "floats.safetensors", package.files.read_metadata(network))
    out = ("--states", "anchored:4", "--out", tmp_path / "q.safetensors")
    for verb in (
        ("check", on_events, *words),
        ("inspect", on_events, *words),
        ("inspect", machine, *words),
        ("inspect", machine),
        ("lower", on_events, tmp_path / "again.safetensors", *options(bin_ms=13)),
        ("calibrate", tmp_path / "floats.safetensors", *words, *out),
        ("run", tmp_path / "q.safetensors", *words),
        ("export", "c", machine, tmp_path / "c", *words),
    ):
        document, said = result(squat, *verb)
        assert (document["coverage"]["steps"], document["coverage"]["bin_ms"]) == (8, 13), verb
        assert "data own.h5: all 18,000 events of 60 recordings within 8 steps of 13 ms" in said, verb


def test_other_data_get_the_binning_and_not_the_choice_of_samples(squat, own_events, tmp_path):
    result(squat, "train", *options(split="speaker", steps=10), *NETWORK, "--out", tmp_path / "run")
    again, said = result(squat, "run", tmp_path / "run", "--data", "spoken_digits")
    assert again["samples"] == 1000  # the same data: its test part is still that of the training
    assert "of the training: bin_ms=10, steps=10, channels=140, split=speaker" in said
    refused = squat("run", tmp_path / "run", "--data", own_events)
    assert refused.exit_code == 2
    assert "data options of the training: bin_ms=10, steps=10\n" in refused.stderr
    assert "do not fit the network" in refused.stderr


def test_what_the_data_cannot_take_and_what_is_not_known_is_said(squat, own_data, own_events, on_events, tmp_path):
    refused = squat("run", on_events, "--data", own_data)  # dense, with other channels
    assert "of the training, which these data do not take: bin_ms=13, steps=8\n" in refused.stderr
    bare = tmp_path / "bare.safetensors"
    package.save(package.load(on_events / "network.safetensors"), bare)
    document, said = result(squat, "run", bare, "--data", own_events)
    assert "by default, since the network file does not say those of the training: bin_ms=10, steps=100\n" in said
    assert document["data_options"]["missing"] == {"bin_ms": 10.0, "steps": 100}


def test_a_network_without_a_run_keeps_the_binning_of_its_calibration(squat, own_events, on_events, tmp_path):
    floats = package.load(on_events / "network.safetensors")
    package.dequantize_(floats)
    bare, quantized, machine = (tmp_path / f"{name}.safetensors" for name in ("bare", "quantized", "machine"))
    package.save(floats, bare)
    words = ("--data", own_events, *options(bin_ms=13, steps=8), "--weights", "4", "--states", "anchored:4")
    result(squat, "calibrate", bare, *words, "--out", quantized)
    result(squat, "lower", quantized, machine)
    for verb in (("run", quantized), ("check", quantized), ("inspect", machine)):
        document, said = result(squat, *verb, "--data", own_events)
        assert "data options of the calibration: bin_ms=13, steps=8\n" in said
        assert (document["coverage"]["bin_ms"], document["coverage"]["steps"]) == (13, 8)
        assert document["data_options"]["fixed_by"] == "calibration"


def test_channels_that_a_file_does_not_state_are_named_where_they_do_not_fit(squat, on_events, tmp_path):
    arrays = {
        "times": np.arange(4) * 10_000,
        "units": np.arange(4) + 2,
        "offsets": np.array([0, 4]),
        "time_unit_s": 1e-6,
    }
    machine = tmp_path / "machine.safetensors"
    result(squat, "lower", on_events, machine)
    for channels, fits in ((None, False), (12, True)):
        given = {} if channels is None else {"channels": channels}
        np.savez(tmp_path / "one.npz", **arrays, **given)
        for verb in (("run", on_events), ("inspect", machine)):
            done = squat(*verb, "--data", tmp_path / "one.npz")
            assert done.exit_code == (0 if fits else 2)
            text = "the file does not state `channels`, so it is taken to have 6, one more than the largest in `units`"
            assert (text in done.stderr) != fits


def test_obstacles_are_reported_with_the_data(squat, own_events, on_events, tmp_path):
    floats = package.load(on_events / "network.safetensors")
    package.dequantize_(floats)
    package.save(floats, tmp_path / "floats.safetensors")
    done = squat("check", tmp_path / "floats.safetensors", "--data", own_events, *options(bin_ms=13), "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["equal"], len(document["obstacles"]) > 0) == (1, False, True)
    assert document["data_options"]["given"] == {"bin_ms": 13}
    assert document["coverage"]["bin_ms"] == 13
    assert len(document["notes"]) == 1


def test_options_without_data_are_refused(squat, on_events, tmp_path):
    """They were dropped without a word."""
    bare, machine = tmp_path / "bare.safetensors", tmp_path / "machine.safetensors"
    package.save(package.load(on_events / "network.safetensors"), bare)
    result(squat, "lower", bare, machine)
    for words in (
        ("check", bare),
        ("lower", bare, tmp_path / "o"),
        ("inspect", bare),
        ("inspect", machine),
        ("export", "c", machine, tmp_path / "c"),
        ("data",),
    ):
        refused = squat(*words, *options(bin_ms=13))
        assert refused.exit_code == 2, words
        assert "--data-option bin_ms=13: there are no data that it is for" in refused.stderr


def test_another_scale_of_the_inputs_is_said(squat, tmp_path):
    x, label = np.arange(20 * 4 * 3).reshape(20, 4, 3) % 250, np.arange(20) % 2
    np.savez(tmp_path / "pixels.npz", x=x, label=label, input_scale=1 / 255)
    np.savez(tmp_path / "again.npz", x=x, label=label, input_scale=1 / 255)
    np.savez(tmp_path / "bare.npz", x=x, label=label)
    network, machine = tmp_path / "run", tmp_path / "machine.safetensors"
    result(squat, "train", "--data", tmp_path / "pixels.npz", *NETWORK, "--out", network)
    result(squat, "lower", network, machine)
    for verb, path in (("run", network), ("check", network), ("inspect", machine)):
        _, said = result(squat, verb, path, "--data", tmp_path / "again.npz")
        assert "input_scale" not in said
        document, said = result(squat, verb, path, "--data", tmp_path / "bare.npz")
        assert "of the training, which these data do not take: input_scale=0.00392157\n" in said
        assert document["data_options"]["foreign"] == {"input_scale": 1 / 255}


def test_files_of_before_have_the_options_of_their_run(squat, own_events, on_events, tmp_path):
    metadata = package.files.read_metadata(on_events / "network.safetensors")
    del metadata["data_options"]
    package.save(package.load(on_events / "network.safetensors"), tmp_path / "old.safetensors", metadata)
    copied = shutil.copy(own_events, tmp_path / "copied.h5")
    document, _ = result(squat, "run", tmp_path / "old.safetensors", "--data", copied)
    assert document["data_options"]["training"] == {"bin_ms": 13, "steps": 8}


@pytest.mark.parametrize("metadata", [{"run": 5}, {"run": {"data": 5}}, {"run": {"data": {}}, "data_options": [1]}])
def test_metadata_that_are_no_run_are_refused(squat, own_events, on_events, tmp_path, metadata):
    package.save(package.load(on_events / "network.safetensors"), tmp_path / "net.safetensors", metadata)
    refused = squat("run", tmp_path / "net.safetensors", "--data", own_events)
    assert refused.exit_code == 2
    assert "expected a JSON object" in refused.stderr


def test_training_and_ablation_say_what_is_cut(squat, own_events, tmp_path):
    words = ("--data", own_events, *options(steps=9, bin_ms=10))
    document, said = result(squat, "train", *words, *NETWORK, "--out", tmp_path / "run")
    note = "events (9.8 %) in 60 of 60 recordings (100 %) past the last of 9 steps of 10 ms, and left out"
    assert note in said
    assert note in document["notes"][0]
    assert document["coverage"]["shortened"] == 60
    words = (*words, "--cells", "float", "--bits", "4", "--seeds", "1", "--epochs", "1", "--jobs", "1")
    _, said = result(squat, "ablate", *words, "--folder", tmp_path / "ablation")
    assert note in said
    # A config keeps its binning for other data of the user's.
    copied = shutil.copy(own_events, tmp_path / "copied.h5")
    words = ("--config", tmp_path / "ablation" / "ablation.json", "--jobs", "1")
    _, said = result(squat, "ablate", *words, "--data", copied, "--folder", tmp_path / "other")
    assert note in said
    again, _ = result(squat, "ablate", *words, "--folder", tmp_path / "ablation")  # what a folder's refusal advises
    assert again["summary"] == "1 of 1 runs done"
