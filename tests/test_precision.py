"""Integer sums, codes and spikes are those of float32 under autocast and in half-precision networks."""

from __future__ import annotations

import copy

import pytest
import torch

import squat
from plain_neuron import largest_error
from squat.quant.weight import GRANULARITIES, SCALE_RULES

WEIGHTS = [
    squat.IntWeight(bits, by, rule)
    for bits in (4, 8)
    for by in GRANULARITIES
    for rule in SCALE_RULES
    if (by, rule) != ("shift", "learned")
]
PIXELS = {"input_scale": 1 / 255, "input_max": 255}
INPUTS = {"linear": (300,), "recurrent": (300,), "conv": (3, 6, 7)}


def network(kind, weight, states):
    """One layer with sums beyond 256, which bfloat16 does not hold exactly, and its neurons."""
    torch.manual_seed(0)
    if kind == "recurrent":
        return squat.Sequential(squat.RLIF(300, 20, 0.9, 0.3, weight=weight, state=states, **PIXELS))
    layer = squat.Linear(300, 20, weight=weight, **PIXELS)
    if kind == "conv":
        layer = squat.Conv2d(3, 8, 3, padding=1, weight=weight, **PIXELS)
    return squat.Sequential(layer, squat.LIF(0.9, 0.3, state=states))


def run(net, x, autocast=None):
    """Spikes, codes (or membranes) and gradients."""
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        spikes, states = net(x)
        state = states[-1]
        (spikes.float() * torch.linspace(0.1, 1.0, spikes.numel()).reshape(spikes.shape)).sum().backward()
    gradients = [parameter.grad.float() for parameter in net.parameters()]
    return spikes, state.u if state.codes is None else state.codes, gradients


def pixels(kind):
    return torch.randint(0, 256, (6, 4, *INPUTS[kind]), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("states", [None, squat.Anchored(4)], ids=["float-states", "states"])
@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
@pytest.mark.parametrize("kind", INPUTS)
def test_autocast_changes_nothing(kind, weight, states):
    net, x = network(kind, weight, states), pixels(kind)
    twin = copy.deepcopy(net)
    spikes, carried, gradients = run(net, x)
    assert 0.02 < float(spikes.detach().mean()) < 0.98
    if kind != "recurrent":
        assert float(net[0](x).z.detach().abs().max()) > 256
    for dtype in (torch.bfloat16, torch.float16):
        fresh = copy.deepcopy(twin)
        spikes_there, carried_there, gradients_there = run(fresh, x, autocast=dtype)
        assert torch.equal(spikes_there, spikes)
        assert torch.equal(carried_there, carried)
        for ours, theirs in zip(gradients_there, gradients, strict=True):
            assert largest_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("states", [None, squat.Anchored(4)], ids=["float-states", "states"])
@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
@pytest.mark.parametrize("kind", INPUTS)
def test_a_half_precision_network_computes_in_float32(kind, weight, states):
    for narrow in (torch.bfloat16, torch.float16):
        net = network(kind, weight, states).to(narrow)
        wide = copy.deepcopy(net).float()  # the same weights: what rounding them changes is not the question
        x = pixels(kind)
        for inputs in (x, x.to(narrow)):
            spikes, carried, gradients = run(copy.deepcopy(wide), x)
            spikes_there, carried_there, gradients_there = run(copy.deepcopy(net), inputs, autocast=None)
            assert torch.equal(spikes_there.float(), spikes)
            assert torch.equal(carried_there, carried)
            for ours, theirs in zip(gradients_there, gradients, strict=True):
                assert largest_error(ours, theirs) <= 2e-2  # gradients are stored in half precision
    assert 0.02 < float(spikes.detach().mean()) < 0.98


@pytest.mark.parametrize("states", [None, squat.Anchored(4)], ids=["float-states", "states"])
@pytest.mark.parametrize("kind", INPUTS)
def test_float_weights_run_under_autocast(kind, states):
    """Their product is rounded to half precision, as autocast says; the neurons still compute in float32."""
    net, x = network(kind, None, states), pixels(kind)
    for dtype in (torch.bfloat16, torch.float16):
        spikes, carried, gradients = run(net, x, autocast=dtype)
        assert carried.dtype in (torch.float32, torch.uint8)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert 0.02 < float(spikes.detach().float().mean()) < 0.98
