"""Readouts: scores, exactness of the integer sum, gradients, and ties."""

from __future__ import annotations

import pytest
import torch

from squat.layers.current import Current
from squat.models import READOUT_NAMES, READOUTS, predict, readout_from_json, tied
from squat.models.readout import AccumulatedCurrent, MaxMembrane, SpikeCount


@pytest.mark.parametrize("name", READOUT_NAMES)
def test_scores_have_one_value_per_class(name: str) -> None:
    readout = READOUT_NAMES[name]()
    x = torch.rand(7, 3, 5, requires_grad=True)
    scores = readout(x)
    assert scores.shape == (3, 5)
    scores.sum().backward()
    assert x.grad.shape == x.shape
    assert readout_from_json(readout.to_json()) == readout


def current(scale: torch.Tensor, bias: torch.Tensor | None) -> Current:
    z = torch.randint(-50, 51, (9, 4, 6), generator=torch.Generator().manual_seed(1)).float()
    return Current(z, scale, bias, 50)


@pytest.mark.parametrize("scale", [torch.tensor(0.37), torch.rand(6) + 0.1])
def test_accumulated_current_of_integers_is_the_mean_current(scale: torch.Tensor) -> None:
    bias = torch.randn(6, generator=torch.Generator().manual_seed(2))
    got = AccumulatedCurrent()(current(scale, bias))
    expected = current(scale, bias).dense().mean(0)
    assert got.dtype == torch.float64
    # The bias is rounded to multiples of scale / 2**8.
    assert torch.allclose(got, expected.double(), rtol=0, atol=float(scale.max()) / 2**9 + 1e-5)
    without = AccumulatedCurrent()(current(scale, None))
    assert torch.allclose(without, current(scale, None).dense().mean(0).double(), rtol=0, atol=1e-5)


def test_accumulated_current_is_an_integer_machine() -> None:
    scale, bias = torch.tensor(0.37), torch.randn(6, generator=torch.Generator().manual_seed(2))
    value = current(scale, bias)
    accumulator = value.z.long().sum(0) * 256 + 9 * (bias.double() * 256 / scale.double()).round().long()
    scores = AccumulatedCurrent()(value)
    assert torch.equal(scores, accumulator.double() * (scale.double() / (256 * 9)))
    order = accumulator.argsort(dim=1, stable=True)
    assert torch.equal(order, scores.argsort(dim=1, stable=True))


def test_accumulated_current_sees_sums_beyond_float32() -> None:
    z = torch.full((3, 1, 2), 2.0**24 - 1)
    z[0, 0, 1] -= 1
    scores = AccumulatedCurrent()(Current(z, torch.tensor(1e-3), None, 2**24))
    assert predict(scores).tolist() == [0]
    assert not bool(tied(scores))


def test_accumulated_current_gradients_are_those_of_the_mean() -> None:
    leaves = [torch.randn(9, 4, 6), torch.tensor(0.37), torch.randn(6)]
    leaves[0] = leaves[0].round()
    grads = []
    for readout in (AccumulatedCurrent(), lambda value: value.dense().mean(0)):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        scores = readout(Current(*inputs, 50))
        (scores * torch.arange(6.0)).sum().backward()
        grads.append([leaf.grad for leaf in inputs])
    # The scale also sees what rounding the bias left over, at most half a unit of 2**-8 for each score.
    leftover = 4 * 15 * 0.5 / 2**8
    for got, expected, atol in zip(*grads, (1e-5, leftover, 1e-5), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("readout", [SpikeCount(), MaxMembrane()])
def test_neuron_readouts_refuse_currents(readout: object) -> None:
    with pytest.raises(TypeError, match="reads a neuron, got the current of a linear layer; add a neuron last"):
        readout(current(torch.tensor(1.0), None))


def test_ties_go_to_the_lowest_class() -> None:
    scores = torch.tensor([[0.0, 2.0, 2.0], [3.0, 3.0, 3.0], [0.0, 1.0, 2.0]])
    assert predict(scores).tolist() == [1, 0, 2]
    assert tied(scores).tolist() == [True, True, False]


def test_unknown_readout() -> None:
    with pytest.raises(ValueError, match="readout type='Last': expected one of 'SpikeCount'"):
        readout_from_json({"type": "Last"})
    assert set(READOUTS) == {kind.__name__ for kind in READOUT_NAMES.values()}
