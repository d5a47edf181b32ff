"""`Residual` and nested `Sequential`s: what is added, states that are carried, files, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import squat
from squat.integer.lower import obstacles
from squat.layers import SumPool2d

SPEC = {"weight": squat.IntWeight(4)}


def block(**options) -> squat.Residual:
    body = squat.Sequential(squat.Conv2d(2, 2, 3, padding=1, **options), squat.LIF(state=squat.Anchored(4)))
    return squat.Residual(body)


def images(rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(6, 3, 2, 4, 4, generator=rng) < 0.5).float()


def test_spikes_are_added_and_stay_integers(rng):
    net = squat.Sequential(block(**SPEC), squat.Conv2d(2, 3, 3, input_max=2, **SPEC), squat.LIF())
    x = images(rng)
    added, _ = net[0](x)
    assert torch.equal(added, net[0].body(x)[0] + x)
    assert added.max() == 2
    net(x)[0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net[0].body.parameters())


def test_currents_are_added_in_what_they_are_worth(rng):
    x = images(rng)
    two = [squat.Conv2d(2, 4, 3, padding=1, stride=2, **SPEC), squat.Conv2d(2, 4, 1, stride=2, **SPEC)]
    added, _ = squat.Residual(squat.Sequential(two[0]), two[1])(x)
    assert torch.equal(added, two[0](x).dense() + two[1](x).dense())


def test_states_are_carried_through_branches_and_nested_stacks(rng):
    net = squat.Sequential(squat.Sequential(block(**SPEC), squat.Flatten()), squat.Linear(32, 3), squat.LIF()).eval()
    x = images(rng)
    whole, states = net(x)
    first, half = net(x[:2])
    second, after = net(x[2:], half)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(after[0][0][1].codes, states[0][0][1].codes)
    steps, carried = [], None
    for now in x:
        out, carried = net.step(now, carried)
        steps.append(out)
    assert torch.equal(torch.stack(steps), whole)
    assert torch.equal(net[0][0].step(x[0])[0], net[0][0](x[:1])[0][0])


def test_files_hold_it(rng, tmp_path):
    shortcut = squat.Conv2d(2, 2, 1, **SPEC)
    net = squat.Sequential(block(**SPEC), squat.Residual(squat.Sequential(squat.Conv2d(2, 2, 1, input_max=2)), None))
    net = squat.Sequential(*net.layers, squat.LIF(), squat.Residual(squat.Sequential(squat.Conv2d(2, 2, 1)), shortcut))
    squat.save(net, tmp_path / "net.squat")
    x = images(rng)
    assert torch.equal(squat.load(tmp_path / "net.squat")(x)[0], net.eval()(x)[0])


def test_errors(rng):
    with pytest.raises(TypeError, match=r"body=.*expected a squat.Sequential; wrap the layers in one"):
        squat.Residual(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"shortcut=LIF: expected a layer without a state such as Conv2d or SumPool2d"):
        squat.Residual(squat.Sequential(squat.Linear(2, 2)), squat.LIF())
    with pytest.raises(ValueError, match=r"x: the body gives \(6, 3, 2, 2, 2\), the shortcut \(6, 3, 2, 4, 4\)"):
        squat.Residual(squat.Sequential(SumPool2d(2)))(images(rng))
    net = squat.Sequential(block(**SPEC), squat.Flatten(), squat.Linear(32, 3, **SPEC), squat.LIF())
    assert obstacles(net, (2, 4, 4))[0].startswith("layer 0 (Residual): adds to the network's input; put a layer with")
    with pytest.raises(ValueError, match=r"layer 0 \(Residual\): its neurons cannot be calibrated"):
        squat.calibrate(net, [images(rng)], states=squat.Anchored(4))
