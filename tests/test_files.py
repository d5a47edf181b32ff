"""Network files: equal outputs after a round trip, and every kind of damage refused by name."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import squat
from squat import LIF, Anchored, IntWeight, Linear, Sequential, ThresholdCentered
from squat.files import atomic_write, load, read_metadata, save
from squat.models import NetworkConfig, build_network

CONFIGS = {
    "float": NetworkConfig(
        "recurrent", 14, (9,), 5, readout="mean_membrane", learn_beta="sigmoid", learn_threshold=True
    ),
    "quantized": NetworkConfig("recurrent", 14, (9,), 5, weights=IntWeight(4), states=ThresholdCentered(4)),
    "learned": NetworkConfig(
        "feedforward",
        14,
        (9,),
        5,
        weights=IntWeight(3, "channel", "learned"),
        states=Anchored(3),
        readout="spike_count",
    ),
    "conv": NetworkConfig("conv", (1, 7, 2), (3,), 5, weights=IntWeight(4), states=Anchored(4), kernel_size=3),
}


def trained(name: str) -> torch.nn.Module:
    """A network some steps away from its initial weights."""
    config = CONFIGS[name]
    net = build_network(config, 0)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(net(inputs(name)), torch.tensor([0, 1, 2, 3]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def inputs(name: str) -> torch.Tensor:
    x = (torch.rand(6, 4, 14, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    return x.view(6, 4, 1, 7, 2) if name == "conv" else x


@pytest.mark.parametrize("name", CONFIGS)
def test_loaded_networks_give_equal_outputs(name: str, tmp_path: Path) -> None:
    net, path = trained(name).eval(), tmp_path / "net.safetensors"
    save(net, path, {"run": {"seed": 3}, "note": None})
    state = torch.random.get_rng_state()
    loaded = load(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not loaded.training
    assert torch.equal(loaded(inputs(name)), net(inputs(name)))
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in net.state_dict().items()
    }
    assert read_metadata(path) == {"run": {"seed": 3}, "note": None}
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_loaded_networks_train_on_as_the_saved_one(tmp_path: Path) -> None:
    net, path = trained("learned"), tmp_path / "net.safetensors"
    squat.save(net, path)
    loaded = squat.load(path).train()
    grads = []
    for each in (net, loaded):
        each.zero_grad()
        each(inputs("learned")).square().sum().backward()
        grads.append({name: value.grad for name, value in each.named_parameters()})
    for name, value in grads[0].items():
        assert torch.equal(value, grads[1][name])


def test_sequential_beta_per_neuron_and_double_precision(tmp_path: Path) -> None:
    net = Sequential(Linear(3, 2), LIF(beta=[0.5, 0.75], learn_beta="clamp")).double()
    save(net, tmp_path / "net")
    loaded = load(tmp_path / "net")
    x = torch.rand(5, 2, 3, dtype=torch.float64)
    assert torch.equal(loaded(x)[0], net(x)[0])
    assert loaded.layers[0].weight.dtype == torch.float64


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path, net = tmp_path / "net", Sequential(Linear(3, 2))
    save(net, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="net: exists already; choose another name, or pass overwrite=True"):
        save(Sequential(Linear(4, 2)), path)
    assert path.read_bytes() == before
    save(Sequential(Linear(4, 2)), path, overwrite=True)
    assert load(path).layers[0].in_features == 4


def test_save_refuses(tmp_path: Path) -> None:
    net = Sequential(Linear(3, 2))
    with pytest.raises(TypeError, match="ReLU: expected modules of squat only"):
        save(Sequential(torch.nn.ReLU()), tmp_path / "net")
    with pytest.raises(TypeError, match=r"metadata: expected JSON values only .*; turn tensors and paths into text"):
        save(net, tmp_path / "net", {"x": torch.zeros(1)})
    with pytest.raises(TypeError, match="metadata: expected JSON values only"):
        save(net, tmp_path / "net", {"x": float("nan")})
    with pytest.raises(ValueError, match=r"folder .*missing does not exist; make it first"):
        save(net, tmp_path / "missing" / "net")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save(trained("quantized"), path)
    return path


def test_truncated_anywhere(saved: Path) -> None:
    data = saved.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"net.safetensors: damaged"):
            load(saved)


def test_any_flipped_bit_is_noticed(saved: Path) -> None:
    data = saved.read_bytes()
    positions = torch.randint(0, len(data), (150,), generator=torch.Generator().manual_seed(0)).tolist()
    for position in [*range(12), *positions, len(data) - 1]:
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        saved.write_bytes(bytes(flipped))
        with pytest.raises(ValueError, match=r"net.safetensors: "):
            load(saved)


def rewritten(path: Path, change: Any, *, checksum: bool = True) -> Path:
    """The file with its description changed, by default with a checksum that fits."""
    from squat import files

    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header["__metadata__"]["squat"])
    change(document)
    if checksum:
        from safetensors.torch import load as from_bytes

        document["sha256"] = files._checksum(document, from_bytes(data))
    header["__metadata__"]["squat"] = json.dumps(document)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


def layer(document: dict, index: int = 0) -> dict:
    return document["network"]["layers"]["layers"][index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), r"version 2 of the format, expected 1; it was written by another version"),
        (lambda d: d.update(format="other"), r"not a squat-network file"),
        (lambda d: layer(d).update({"class": "os.system"}), r"class 'os.system' is unknown; known are Network"),
        (lambda d: layer(d)["config"].update(beta=1.5), r"beta=1.5: expected a finite number in \[0, 1\]"),
        (lambda d: layer(d)["config"].update(colour="red"), r"unexpected keyword argument 'colour'"),
        (lambda d: layer(d)["config"].update(features=10**9), r"'layers.layers.0.weight_in': expected shape"),
        (lambda d: layer(d, 1)["config"].update(out_features=10**9), r"'layers.layers.1.weight': expected shape"),
        (lambda d: layer(d)["config"].update(state={"type": "Spline"}), r"spec type='Spline': expected one of"),
        (lambda d: d["network"]["layers"].update(layers=None), r"the description of a Sequential has no layers"),
        (lambda d: d.update(network=[]), r"the description of the modules has another shape"),
        (lambda d: d["network"].update(readout={"type": "Last"}), r"readout type='Last': expected one of"),
        (lambda d: d["network"].update(readout="Last"), r"readout='Last': expected a JSON object with a type"),
        (
            lambda d: layer(d)["config"]["surrogate"].update(colour=1.0),
            r"field of FastSigmoid='colour': expected one of",
        ),
        (lambda d: layer(d)["config"].update(bias=False), r"Unexpected key"),
        (lambda d: d.pop("metadata"), r"damaged, its description has no metadata"),
    ],
)
def test_wrong_descriptions(saved: Path, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)net.safetensors: .*{message}"):
        load(rewritten(saved, change))


def test_wrong_checksum(saved: Path) -> None:
    change = lambda document: document["metadata"].update(note="changed")  # noqa: E731
    with pytest.raises(
        ValueError, match="damaged, its content does not have the checksum it was saved with; copy it again"
    ):
        load(rewritten(saved, change, checksum=False))


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"foreign: a safetensors file, but not one written by squat.save"):
        load(path)
    path.write_bytes(b"\xff" * 300)
    with pytest.raises(
        ValueError, match=r"foreign: damaged or no safetensors file, its header is longer than the file"
    ):
        load(path)
    path.write_bytes(struct.pack("<Q", 2) + b"[]")
    with pytest.raises(ValueError, match=r"foreign: damaged or no safetensors file, its header is not JSON"):
        load(path)
    with pytest.raises(ValueError, match=r"absent: cannot be read \(No such file or directory\)"):
        load(tmp_path / "absent")


def test_header_nested_too_deep_for_the_parser(tmp_path: Path) -> None:
    path, text = tmp_path / "deep", b"[" * 200_000
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(ValueError, match=r"deep: damaged or no safetensors file, its header is not JSON"):
        load(path)
