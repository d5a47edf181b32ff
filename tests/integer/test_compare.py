"""Trained and integer networks side by side: what is counted, and the first difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

import squat
from squat.integer.compare import compare
from squat.models import NetworkConfig, build_network


def trained():
    config = NetworkConfig(
        "recurrent", 9, (8,), 3, weights=squat.IntWeight(4), states=squat.Anchored(4), input_gain=6.0,
        readout="spike_count",
    )  # fmt: skip
    return build_network(config, seed=0)


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    return [((torch.rand(10, 4, 9, generator=generator) < 0.4).float(), torch.arange(4) % 3) for _ in range(count)]


def with_other_bounds(machine, layer):
    """The machine with one boundary of a layer moved by a whole weight."""
    layers = list(machine.layers)
    neurons = layers[layer].neurons
    bound = neurons.bound.copy()
    bound[0, 7:] += 2**neurons.shift
    layers[layer] = replace(layers[layer], neurons=replace(neurons, bound=bound))
    return replace(machine, layers=tuple(layers))


def test_equal_networks():
    net = trained()
    machine = squat.lower(net)
    found = compare(net, machine, batches(), {"another": machine.run})
    assert found.divergence is None
    assert found.codes == 3 * 10 * 4 * (8 + 3)
    assert found.samples == 12
    assert found.accuracy == found.integer_accuracy
    assert all(found.spikes.values())
    assert str(found).startswith(f"identical (trained, integer, another): {found.codes} codes of 12 samples; accuracy")
    assert str(compare(net, machine, batches())).startswith(f"identical: {found.codes} codes")


def test_the_first_difference_and_whose_it_is():
    net = trained()
    machine = squat.lower(net)
    for layer, name in ((0, "0 RLIF"), (1, "1 Linear, 2 LIF")):
        wrong = with_other_bounds(machine, layer)
        for found, who in (
            (compare(net, wrong, batches()), "integer"),
            (compare(net, machine, batches(), {"the C": wrong.run}), "the C"),
        ):
            difference = found.divergence
            assert (difference.layer, difference.quantity, difference.implementation) == (name, "code", who)
            x = torch.cat([x for x, _ in batches()], dim=1)
            right, other = machine.run(x).codes[layer], wrong.run(x).codes[layer]
            step, sample, neuron = difference.step, difference.sample, difference.neuron
            assert right[step, sample, neuron] == difference.trained
            assert other[step, sample, neuron] == difference.found
            first = 4 * (sample // 4)
            assert np.array_equal(right[:step, first : first + 4], other[:step, first : first + 4])
            assert f"trained code {difference.trained}, {who} code {difference.found}" in str(found)
            assert found.samples == first + 4  # no further batch is read
