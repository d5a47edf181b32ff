"""Silent stretches by powers of the silent map equal step by step, in codes and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import squat
from random_networks import random_network
from squat.integer.silent import silent_map, stays_silent
from squat.models import NetworkConfig, build_network


def assert_skips(machine, x, steps):
    """Skipping equals running zeros, from the state behind `x`."""
    before = machine.run(x).state
    zeros = np.zeros((max(steps, 1), *x.shape[1:]), np.uint8)
    expected = machine.run(zeros, before).state if steps else before
    found = machine.skip(steps, before)
    assert found.steps == expected.steps
    for one, other in zip(found.codes, expected.codes, strict=True):
        assert np.array_equal(one, other)
        assert one.shape == other.shape
    assert np.array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed):
    net, x = random_network(seed)
    machine = squat.lower(net, tuple(x.shape[2:]))
    for steps in (0, 1, 2, 13, 100):
        assert_skips(machine, x.numpy(), steps)


def test_both_ways_occur():
    """Some networks stay silent, some fire by themselves, so that the tests above see both."""
    found = set()
    for seed in range(60):
        net, x = random_network(seed)
        found.add(stays_silent(squat.lower(net, tuple(x.shape[2:]))))
    assert found == {True, False}


@pytest.mark.parametrize("readout", ["spike_count", "accumulated_current", "max_membrane", "mean_membrane"])
def test_long_stretches_take_no_steps(readout, monkeypatch):
    config = NetworkConfig(
        "recurrent", 9, (8,), 3, weights=squat.IntWeight(4), states=squat.Anchored(4), input_gain=6.0, bias=False,
        readout=readout,
    )  # fmt: skip
    machine = squat.lower(build_network(config, seed=0))
    assert stays_silent(machine)
    x = (torch.rand(10, 3, 9) < 0.4).numpy().astype(np.uint8)
    expected = machine.run(np.zeros((5000, 3, 9), np.uint8), machine.run(x).state).state
    taken = []
    from squat.integer import silent

    run = silent.run
    monkeypatch.setattr(silent, "run", lambda *arguments: taken.append(1) or run(*arguments))
    found = machine.skip(5000, machine.run(x).state)
    assert len(taken) <= 2  # until the last spikes have been handed on
    assert np.array_equal(found.codes[0], expected.codes[0])
    assert np.array_equal(found.scores, expected.scores)


def test_a_start_without_state_and_what_is_refused():
    net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
    machine = squat.lower(net)
    assert np.array_equal(machine.skip(7, batch=4).codes[0], machine.run(np.zeros((7, 4, 3))).state.codes[0])
    with pytest.raises(ValueError, match="steps=-1: expected an integer >= 0"):
        machine.skip(-1)
    with pytest.raises(ValueError, match="steps=0 without a state: expected at least one step"):
        machine.skip(0)
    other = squat.lower(
        squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(3)), squat.LIF(state=squat.Uniform(4)))
    )
    with pytest.raises(ValueError, match="state: it belongs to another network"):
        machine.skip(3, other.skip(1))
    with pytest.raises(TypeError, match="state: a tuple, expected the State"):
        machine.skip(3, (1, 2))


def test_the_silent_map_by_hand():
    """Without bias and input a code decays to the code of its leak."""
    net = squat.Sequential(
        squat.Linear(3, 2, bias=False, weight=squat.IntWeight(4)), squat.LIF(0.5, state=squat.Uniform(4))
    )
    (layer,) = squat.lower(net).neuron_layers
    levels = squat.Uniform(4).levels()
    reset = torch.where(levels > 1, 1.0, 0.0)
    nearest = ((0.5 * levels - reset)[:, None] - levels).abs().argmin(1)
    assert silent_map(layer).tolist() == [nearest.tolist()]
