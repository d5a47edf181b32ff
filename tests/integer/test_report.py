"""Counts of the report against counting by hand, and its sizes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import squat
from squat.integer.activity import activities, fan_out
from squat.integer.energy import PICOJOULE, integer_energy
from squat.layers import MaxPool2d
from squat.models import NetworkConfig, build_network

WEIGHT, STATE = squat.IntWeight(2), squat.Anchored(2)


def lowered(architecture, inputs, **options):
    config = NetworkConfig(
        architecture, inputs, (6,), 3, weights=WEIGHT, states=STATE, kernel_size=3, input_gain=4.0, **options
    )
    return squat.lower(build_network(config, 0), inputs if architecture == "conv" else None)


def spikes(*shape, rate=0.3):
    return (np.random.default_rng(0).random(shape) < rate).astype(np.uint8)


def test_operations_of_a_recurrent_network():
    machine, x = lowered("recurrent", 9), spikes(8, 5, 9)
    result, (hidden, output) = activities(machine, x)
    layer, last = machine.layers
    fired = result.codes[0] >= layer.neurons.first
    assert fired.any()
    synaptic = sum((layer.weight[:, j] != 0).sum() for t, b, j in np.argwhere(x))
    recurrent = sum((layer.recurrent[:, j] != 0).sum() for t, b, j in np.argwhere(fired[:-1]))
    assert hidden.synaptic_operations == (synaptic + recurrent) / 5
    assert hidden.input_events == (x.sum() + fired[:-1].sum()) / 5
    assert hidden.dense_operations == 8 * (9 * 6 + 6 * 6)
    assert (hidden.state_reads, hidden.state_writes) == (7 * 6, 8 * 6)
    assert hidden.adds == hidden.synaptic_operations + 7 * 6 + 8 * 6
    assert (hidden.compares, hidden.multiplications) == (8 * 6 * 2, 0)
    assert hidden.spike_rate == fired.mean()
    weights = [weight == 0 for weight in (layer.weight, layer.recurrent)]
    assert hidden.connection_sparsity == sum(zero.sum() for zero in weights) / sum(zero.size for zero in weights)
    assert hidden.membrane_updates == (result.codes[0][1:] != result.codes[0][:-1]).sum() / 5
    assert hidden.occupancy == tuple((result.codes[0] == code).mean() for code in range(4))
    assert output.synaptic_operations == sum((last.weight[:, j] != 0).sum() for t, b, j in np.argwhere(fired)) / 5


def test_constant_pixels_are_multiplied_once():
    machine = lowered("feedforward", 9, input_scale=1 / 255, input_max=255)
    x = np.broadcast_to(np.random.default_rng(0).integers(0, 256, (1, 4, 9)), (7, 4, 9))
    _, (first, _) = activities(machine, x)
    expected = sum((machine.layers[0].weight[:, j] != 0).sum() for b, j in np.argwhere(x[0])) / 4
    assert first.multiplications == first.synaptic_operations == expected


def test_fan_out_of_convolutions_and_pools():
    conv = squat.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 1), weight=squat.IntWeight(2))
    machine = squat.lower(squat.Sequential(conv, squat.LIF(state=STATE)), (2, 5, 4))
    layer = machine.layers[0]
    ones = torch.eye(40).reshape(40, 2, 5, 4)
    filled = torch.from_numpy(layer.weight != 0).float()
    reached = torch.nn.functional.conv2d(ones, filled, stride=(2, 1), padding=(1, 1)).sum((1, 2, 3))
    assert fan_out(layer, layer.weight).reshape(-1).tolist() == reached.tolist()
    machine, x = lowered("conv", (2, 6, 6)), spikes(6, 2, 2, 6, 6)
    result, (_, last) = activities(machine, x)
    assert last.input_events <= (result.codes[0] >= machine.layers[0].neurons.first).sum() / 2


def test_maxima_of_sums():
    conv = squat.Conv2d(1, 3, 3, weight=WEIGHT)
    plain, pooled = (
        squat.lower(squat.Sequential(conv, *between, squat.LIF(state=STATE)), (1, 7, 6))
        for between in ((), (MaxPool2d((2, 3), (2, 1)),))
    )
    x = spikes(6, 4, 1, 7, 6)
    (without,), (found,) = activities(plain, x)[1], activities(pooled, x)[1]
    assert pooled.layers[0].output_shape == (3, 2, 2)
    assert (without.maxima, found.maxima) == (0, 6 * (3 * 2 * 2) * (2 * 3 - 1))
    assert found.synaptic_operations == without.synaptic_operations > 0
    assert (found.state_writes, without.state_writes) == (6 * 12, 6 * 3 * 5 * 4)
    assert pooled.report().sizes.accumulators == plain.report().sizes.accumulators  # of the sums before they are pooled
    energy, zero = (integer_energy(pooled.layers[0], activity) for activity in (found, replace(found, maxima=0.0)))
    assert energy.compares - zero.compares == pytest.approx(found.maxima * PICOJOULE["int32 add"])
    assert f"{found.maxima:.0f} of sums" in str(pooled.report(x))


def test_two_bits_are_fourteen_times_smaller():
    config = NetworkConfig("recurrent", 700, (256,), 20, weights=WEIGHT, states=STATE, readout="max_membrane")
    report = squat.lower(build_network(config, 0)).report()
    assert report.sizes.weights == (700 * 256 + 256 * 256 + 256 * 20) // 4
    assert report.sizes.states == 276 // 4
    assert report.float32.weights + report.float32.states == 16 * report.sizes.weights + 276 * 4
    assert report.float32.weights + report.float32.states >= 14 * report.sizes.total
    assert report.int16_states.states == 276 * 2
    assert report.layers == ()


@pytest.mark.parametrize("architecture", ["recurrent", "conv"])
def test_report_as_text_and_json(architecture):
    shape = (2, 6, 6) if architecture == "conv" else (9,)
    machine = lowered(architecture, shape if architecture == "conv" else 9, readout="spike_count")
    report = machine.report(spikes(6, 4, *shape))
    document = json.loads(json.dumps(report.to_json()))
    assert document["sizes"]["weights"] == report.sizes.weights
    assert set(document["energy"]) == {"integer", "float32", "int16 states"}
    assert report.energy["integer"].total < report.energy["float32"].total
    text = str(report)
    for part in ("bytes", "float32", "int16 states", "spike rate", "synaptic operations", "SRAM bit 0.156", "codes:"):
        assert part in text
