"""Layers saved without a readout: refused with the way out, read with `--readout`, stored by `squat calibrate`."""

import json

import pytest
import torch

import squat as package
from squat.cli.networks import READS
from squat.integer import load as load_integers
from squat.models import MeanMembrane, SpikeCount
from squat.models.readout import READOUT_NAMES


def _layers(last=None, **quantized):
    torch.manual_seed(0)
    layers = package.Sequential(
        package.Linear(9, 8), package.LIF(0.9), package.Linear(8, 3), *([] if last is None else [last])
    )
    if quantized:
        package.quantize_(layers, **quantized)
    return layers


def test_it_is_known_of_every_readout_what_it_reads():
    assert READS.keys() == READOUT_NAMES.keys()


@pytest.fixture
def spiking(tmp_path):
    path = tmp_path / "net.squat"
    package.save(_layers(package.LIF(0.9)), path)
    return path


@pytest.mark.parametrize("verb", ["run", "calibrate", "check", "lower", "inspect", "export"])
def test_without_a_readout_every_verb_names_the_way_out(squat, spiking, own_data, tmp_path, verb):
    more = {"calibrate": ("--weights", "4", "--out", "o"), "lower": ("o",), "export": ("o",)}.get(verb, ())
    words = ("export", "c") if verb == "export" else (verb,)
    result = squat(*words, spiking, *more, "--data", own_data)
    assert result.exit_code == 2
    assert "its last layer gives spikes, read by --readout spike_count; squat calibrate writes it" in result.stderr
    assert "squat.save(squat.Network(net, squat.models.SpikeCount()), path)" in result.stderr


@pytest.mark.parametrize(
    ("last", "fits"),
    [
        (package.LIF(0.9), ["spike_count"]),
        (None, ["accumulated_current"]),
        (package.LI(0.9), ["max_membrane", "mean_membrane"]),
    ],
)
def test_the_readouts_that_fit_the_last_layer_are_taken(squat, own_data, tmp_path, last, fits):
    path = tmp_path / "net.squat"
    package.save(_layers(last), path)
    before = path.read_bytes()
    for readout in ("spike_count", "accumulated_current", "max_membrane", "mean_membrane"):
        result = squat("run", path, "--data", own_data, "--readout", readout, "--json")
        if readout not in fits:
            assert result.exit_code == 2
            assert f"--readout {readout}: reads " in result.stderr
            continue
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["samples"] == 12
    assert path.read_bytes() == before


def test_run_with_a_readout_gives_what_the_network_with_it_gives(squat, spiking, own_data, tmp_path):
    package.save(package.Network(package.load(spiking), SpikeCount()), tmp_path / "whole.squat")
    given = squat("run", spiking, "--data", own_data, "--readout", "spike_count", "--json")
    held = squat("run", tmp_path / "whole.squat", "--data", own_data, "--json")
    assert json.loads(given.stdout) == json.loads(held.stdout)
    result = squat("run", tmp_path / "whole.squat", "--data", own_data, "--readout", "mean_membrane")
    assert result.exit_code == 2
    assert "has the readout SpikeCount() already; leave --readout out" in result.stderr


def test_calibrate_stores_the_readout(squat, spiking, own_data, tmp_path):
    words = ("--weights", "4", "--states", "anchored:4", "--readout", "spike_count", "--data", own_data)
    result = squat("calibrate", spiking, *words, "--out", tmp_path / "low.squat")
    assert result.exit_code == 0, result.output
    assert package.load(tmp_path / "low.squat").readout == SpikeCount()
    result = squat("run", tmp_path / "low.squat", "--data", own_data)
    assert result.exit_code == 0, result.output


def test_lower_takes_a_readout_into_the_integer_network(squat, own_data, tmp_path):
    path = tmp_path / "low.squat"
    package.save(_layers(package.LI(0.9), weights=package.IntWeight(4), states=package.Anchored(4)), path)
    result = squat("lower", path, tmp_path / "integers", "--readout", "mean_membrane")
    assert result.exit_code == 0, result.output
    expected = package.lower(package.Network(package.load(path), MeanMembrane()))
    assert load_integers(tmp_path / "integers").fingerprint == expected.fingerprint
    result = squat("inspect", tmp_path / "integers", "--readout", "mean_membrane")
    assert "is an integer network, with what it reads fixed; leave it out" in result.stderr
    result = squat("run", path, "--data", own_data, "--readout", "sum")
    assert "--readout='sum': expected one of 'spike_count', 'accumulated_current'" in result.stderr
