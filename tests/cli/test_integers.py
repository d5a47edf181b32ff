import json
from dataclasses import replace

import pytest

import squat as package
from squat.models import NetworkConfig, build_network


def saved(path, **options):
    """A network that fits `own_data`, quantized unless told otherwise."""
    specs = {"weights": package.IntWeight(4), "states": package.Anchored(4), "input_gain": 4.0, **options}
    net = build_network(NetworkConfig(inputs=9, hidden=(8,), classes=3, **specs), seed=0)
    package.save(net, path)
    return path


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("net") / "net.safetensors", readout="spike_count")


def test_check_proves_and_compares(squat, quantized, own_data):
    result = squat("check", quantized, "--data", own_data)
    assert result.exit_code == 0, result.output
    assert "equal for every input, training (cpu), engine (compiled), engine (numpy)" in result.stdout
    codes = 12 * 10 * (8 + 3)
    assert f": {codes} codes of 12 samples; accuracy" in " ".join(result.stdout.split())
    document = json.loads(squat("check", quantized, "--data", own_data, "--split", "train", "--json").stdout)
    assert document["equal"]
    assert document["comparison"]["samples"] == 42
    assert document["comparison"]["spikes"]["0 RLIF"] > 0
    assert [layer["cuts"] for layer in document["certificate"]["layers"]] == [8 * 17 * 15, 3 * 17 * 15]
    assert "no data given: nothing was run side by side" in squat("check", quantized).stdout


def test_check_lists_all_obstacles(squat, tmp_path):
    path = saved(tmp_path / "net.safetensors", weights=None, states=None)
    result = squat("check", path)
    assert result.exit_code == 1
    assert "- layer 0 (RLIF): its weights are float; train it with weight=IntWeight(bits)" in result.stdout
    assert "- layer 0 (RLIF): its membrane is float" in result.stdout
    document = json.loads(squat("check", path, "--json").stdout)
    assert (document["equal"], len(document["obstacles"])) == (False, 3)
    result = squat("lower", path, tmp_path / "out")
    assert result.exit_code == 2
    assert "this network cannot be lowered: layer 0 (RLIF): its weights are float" in result.stderr
    assert not (tmp_path / "out").exists()


def test_check_counts_the_cuts_of_the_float_rule(squat, tmp_path):
    path = saved(tmp_path / "net.safetensors", architecture="feedforward", arithmetic="float", readout="spike_count")
    result = squat("check", path)
    assert result.exit_code == 1
    assert "was trained with the float rule" in result.stdout
    assert "cuts differ from those of the integer rule" in result.stdout
    document = json.loads(squat("check", path, "--json").stdout)
    assert [layer["cuts"] for layer in document["differing_cuts"]] == [8 * 17 * 15, 3 * 17 * 15]


def test_check_of_several_states_under_the_float_rule(squat, tmp_path):
    path = saved(tmp_path / "net.safetensors", architecture="recurrent", neuron="RCubaLIF", arithmetic="float")
    result = squat("check", path)
    assert result.exit_code == 1
    assert "was trained with the float rule" in result.stdout
    assert "cuts of neurons with several states are not counted" in result.stdout


def test_check_names_the_first_difference(squat, quantized, own_data, monkeypatch):
    """With one wrong table entry the proof gives a counterexample, and the data a first difference."""
    import squat.integer.lower as module

    net = package.load(quantized)
    machine = package.lower(net)
    layer = machine.layers[0]
    table = layer.neurons.table.copy()
    table[0, 5:9] += 100 << layer.neurons.shift
    wrong = replace(layer, neurons=replace(layer.neurons, table=table))
    broken = replace(machine, layers=(wrong, *machine.layers[1:]))
    monkeypatch.setattr(module, "lower", lambda *_: broken)
    result = squat("check", quantized, "--data", own_data)
    assert result.exit_code == 1
    assert "not equal: layer '0 RLIF', neuron 0, from code 5, sum" in result.stdout
    assert "not identical, first difference: sample" in result.stdout
    assert "layer '0 RLIF', neuron" in result.stdout
    document = json.loads(squat("check", quantized, "--data", own_data, "--json").stdout)
    assert document["counterexample"]["code"] == 5
    assert document["comparison"]["divergence"]["quantity"] == "code"


def test_lower_writes_and_inspect_reads(squat, quantized, own_data, tmp_path):
    out = tmp_path / "net.integer.safetensors"
    result = squat("lower", quantized, out)
    assert result.exit_code == 0, result.output
    assert f"integer network: {out}, {out.stat().st_size} bytes" in result.stdout
    machine = package.integer.load(out)
    assert machine.fingerprint == package.lower(package.load(quantized)).fingerprint == machine.certificate.fingerprint
    result = squat("lower", quantized, out)
    assert result.exit_code == 2
    assert "exists: nothing is overwritten without --overwrite" in result.stderr
    assert json.loads(squat("lower", quantized, out, "--overwrite", "--json").stdout)["sizes"]["states"] == 4 + 2
    for path in (out, quantized):
        document = json.loads(squat("inspect", path, "--data", own_data, "--json").stdout)
        assert [layer["name"] for layer in document["layers"]] == ["0 RLIF", "1 Linear, 2 LIF"]
        assert (document["certificate"] is None) == (path == quantized)
    text = squat("inspect", out, "--data", own_data, "--samples", "5").stdout
    assert "mean of 5 samples" in text
    assert "proved equal to training" in text
    assert "spike rate" not in squat("inspect", out).stdout


def test_a_trained_folder_knows_its_data(squat, own_data, tmp_path):
    words = ("--weights", "4", "--states", "anchored:4", "--hidden", "8", "--epochs", "1", "--batch-size", "16")
    assert squat("train", "--data", own_data, "--recurrent", *words, "--out", tmp_path / "run").exit_code == 0
    result = squat("check", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert ": 960 codes of 12 samples" in " ".join(result.stdout.split())
    assert squat("lower", tmp_path / "run", tmp_path / "net").exit_code == 0
    assert "mean of 12 samples" in squat("inspect", tmp_path / "net").stdout


def test_bad_input_is_one_line(squat, quantized, own_data, tmp_path):
    for words, text in (
        (("lower", quantized, tmp_path / "no" / "out"), "there is no folder"),
        (("inspect", tmp_path / "missing"), "no such file"),
        (("inspect", quantized, "--data", "spoken_digits"), "data spoken_digits do not fit the network"),
        (("check", quantized, "--data", "spoken_digits"), "data spoken_digits do not fit the network"),
        (("check", quantized, "--split", "all"), "--split='all': expected one of"),
    ):
        result = squat(*words)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith("squat")
        assert text in result.stderr
    squat("lower", quantized, tmp_path / "damaged")
    result = squat("inspect", tmp_path / "damaged", "--data", "spoken_digits")
    assert "data spoken_digits have shape (140,), the network (9,)" in result.stderr
    (tmp_path / "damaged").write_bytes((tmp_path / "damaged").read_bytes()[:-3])
    result = squat("inspect", tmp_path / "damaged")
    assert result.exit_code == 2
    assert "damaged: damaged" in result.stderr
