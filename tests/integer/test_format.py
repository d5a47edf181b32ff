"""The file of an integer network: equal after reading, as large as reported, and safe to read whatever it holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import squat
from file_mutations import refuse_damaged_files
from squat.integer import IntegerNetwork, load, read_metadata
from squat.integer.format import is_integer_file
from squat.integer.packing import needed_bits, pack, packed_bytes, stored_arrays, unpack
from squat.integer.proof import prove
from squat.layers import MaxPool2d, SumPool2d
from squat.models import READOUT_NAMES, NetworkConfig, build_network


def lowered(architecture="recurrent", readout="accumulated_current", granularity="tensor", bits=3, proved=False):
    shape = (1, 6, 6) if architecture == "conv" else (5,)
    config = NetworkConfig(
        architecture, shape if architecture == "conv" else 5, (4,), 3, readout=readout, kernel_size=3, input_max=255,
        weights=squat.IntWeight(bits, granularity), states=squat.Anchored(2), input_scale=1 / 255,
    )  # fmt: skip
    net = build_network(config, 0)
    machine = squat.lower(net, shape)
    return replace(machine, certificate=prove(net, machine)) if proved else machine


@pytest.mark.parametrize("bits", range(1, 65))
def test_packing_any_width(bits):
    rng = np.random.default_rng(bits)
    dtype = next(np.dtype(kind) for kind in (np.int8, np.int32, np.int64) if np.dtype(kind).itemsize * 8 >= bits)
    for count in (0, 1, 7, 8, 70001):
        values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, count, dtype, endpoint=True)
        packed = pack(values, bits)
        assert len(packed) == packed_bytes(count, bits)
        assert np.array_equal(unpack(packed, bits, (count,), dtype), values)
    assert needed_bits(np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1])) == bits
    with pytest.raises(ValueError, match=f"{len(packed)} bytes, expected"):
        unpack(packed, bits, (count + 8,), dtype)


@pytest.mark.parametrize("architecture", ["feedforward", "recurrent", "conv"])
@pytest.mark.parametrize("readout", READOUT_NAMES)
def test_files_hold_the_network_and_its_certificate(tmp_path, architecture, readout):
    machine = lowered(architecture, readout, "channel", proved=True)
    path = tmp_path / "net.safetensors"
    machine.save(path, {"note": "tried"})
    found = load(path)
    assert found.fingerprint == machine.fingerprint
    assert found.certificate == machine.certificate
    assert [layer.name for layer in found.neuron_layers] == [layer.name for layer in machine.neuron_layers]
    assert read_metadata(path) == {"note": "tried"}
    assert is_integer_file(path)
    x = np.random.default_rng(0).integers(0, 256, (6, 2, *machine.input_shape))
    for one, other in zip(machine.run(x)[:3], found.run(x)[:3], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_sizes_on_disk_are_those_reported(tmp_path, bits):
    machine = lowered(bits=bits)
    machine.save(tmp_path / "net")
    data = (tmp_path / "net").read_bytes()
    stored = list(stored_arrays(machine))
    assert len(data) == 8 + int.from_bytes(data[:8], "little") + sum(array.bytes for array in stored)
    for array in stored:
        if array.name.endswith(("weight", "recurrent")):
            assert array.bytes == -(-array.values.size * bits // 8)


def test_nothing_is_overwritten(tmp_path):
    machine = lowered()
    machine.save(tmp_path / "net")
    with pytest.raises(ValueError, match="exists already; choose another name, or pass overwrite=True"):
        machine.save(tmp_path / "net")
    machine.save(tmp_path / "net", overwrite=True)
    with pytest.raises(ValueError, match="does not exist; make it first"):
        machine.save(tmp_path / "no" / "net")
    with pytest.raises(TypeError, match="metadata: expected JSON values only"):
        machine.save(tmp_path / "other", {"x": np.ones(2)})
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path / "missing")


def test_files_of_other_kinds_are_refused(tmp_path):
    squat.save(squat.Sequential(squat.Linear(3, 2)), tmp_path / "trained")
    assert not is_integer_file(tmp_path / "trained")
    with pytest.raises(ValueError, match=r"trained: holds a trained network; squat\.load reads it, squat lower makes"):
        load(tmp_path / "trained")
    lowered().save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"holds an integer network; squat\.integer\.load, squat inspect and"):
        squat.load(tmp_path / "net")


def test_pools_are_kept(tmp_path):
    conv, neuron = squat.Conv2d(1, 2, 3, weight=squat.IntWeight(3)), {"state": squat.Anchored(2)}
    head = squat.Linear(2, 3, weight=squat.IntWeight(3))
    layers = (conv, MaxPool2d(2, 1), squat.LIF(**neuron), MaxPool2d((2, 3)), squat.Flatten(), head)
    machine = squat.lower(squat.Sequential(*layers), (1, 5, 6))
    machine.save(tmp_path / "net")
    found = load(tmp_path / "net")
    assert found.fingerprint == machine.fingerprint
    assert (found.layers[0].pool, found.layers[1]) == (machine.layers[0].pool, machine.layers[1])
    other = replace(machine.layers[0], pool=replace(machine.layers[0].pool, stride=(2, 1), kernel_size=(1, 2)))
    assert replace(machine, layers=(other, *machine.layers[1:])).fingerprint != machine.fingerprint


def residual():
    weight, neuron = {"weight": squat.IntWeight(3)}, {"state": squat.Anchored(2)}
    branch = squat.Conv2d(2, 2, 3, padding=1, **weight), MaxPool2d(2), squat.LIF(**neuron)
    block = squat.Residual(squat.Sequential(*branch), SumPool2d(2))
    layers = squat.Conv2d(1, 2, 3, **weight), squat.LIF(**neuron), block, squat.Flatten()
    return squat.Sequential(*layers, squat.Linear(8, 3, input_max=5, **weight))


def test_joins_are_kept(tmp_path):
    net = residual()
    machine = squat.lower(net, (1, 6, 6))
    machine = replace(machine, certificate=prove(net, machine))
    machine.save(tmp_path / "net")
    found = load(tmp_path / "net")
    assert (found.fingerprint, found.certificate) == (machine.fingerprint, machine.certificate)
    assert found.layers[2] == machine.layers[2]
    other = replace(machine.layers[2], pool=replace(machine.layers[2].pool, kind="max"))
    layers = (*machine.layers[:2], other, machine.layers[3])
    assert replace(machine, layers=layers, certificate=None).fingerprint != machine.fingerprint


def test_files_of_other_versions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("squat.integer.format.VERSION", 2)
    lowered().save(tmp_path / "old")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="old: version 2 of the format, expected 3; lower the network again"):
        load(tmp_path / "old")


def test_a_certificate_of_another_network_is_refused():
    certificate = lowered(proved=True).certificate
    other = lowered(bits=4)
    with pytest.raises(ValueError, match="certificate: it is of another network; prove this one"):
        IntegerNetwork(other.layers, other.readout, certificate)


@pytest.mark.parametrize("architecture", ["recurrent", "conv", "residual"])
def test_damaged_files_are_errors_or_valid_networks(tmp_path, architecture):
    made = squat.lower(residual(), (1, 6, 6)) if architecture == "residual" else lowered(architecture, proved=True)
    refuse_damaged_files(made, tmp_path)
