"""Tables of a loop: made on the CPU, handed over on the device of the decay."""

from __future__ import annotations

import pytest
import torch

import squat
from squat.ops.lif.tables import LoopConfig, code_tables, on_device

SPECS = [squat.Uniform(4), squat.Anchored(2, decay="at_least_one_code")]


def tables_of(spec, device="cpu"):
    config = LoopConfig(spec, surrogate=squat.FastSigmoid(25.0), integer=True)
    values = (torch.tensor(0.9), torch.tensor(0.8), torch.tensor(0.01), torch.zeros(5))
    beta, theta, scale, bias = (value.to(device) for value in values)
    return code_tables(config, torch.float32, beta, theta, scale, bias, 100)


def tensors(tables):
    found = vars(tables) | {f"integers.{name}": value for name, value in vars(tables.integers).items()}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_table_moves(spec):
    tables = tables_of(spec)
    moved = on_device(tables, torch.device("meta"))
    assert moved.first == tables.first
    assert moved.integers.shift == tables.integers.shift
    for name, tensor in tensors(tables).items():
        assert tensors(moved)[name].device.type == "meta", name
        assert tensors(moved)[name].shape == tensor.shape


@pytest.mark.gpu
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_tables_follow_the_decay(spec):
    expected = tensors(tables_of(spec))
    for name, tensor in tensors(tables_of(spec, "cuda")).items():
        assert tensor.is_cuda, name
        assert torch.equal(tensor.cpu(), expected[name])
