"""What `lower` copies, and every obstacle's sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import squat
from squat.integer import IntegerNetwork, Join, Pool
from squat.integer.lower import obstacles
from squat.layers import AvgPool2d, MaxPool2d, SumPool2d
from squat.models import AccumulatedCurrent, MaxMembrane, MeanMembrane, Network, SpikeCount
from squat.quant.integer_rule import integer_tables

WEIGHT, STATE = squat.IntWeight(4), squat.Anchored(4)


def linear(inputs=3, outputs=2, **options):
    return squat.Linear(inputs, outputs, **{"weight": WEIGHT, **options})


def lif(**options):
    return squat.LIF(**{"state": STATE, **options})


def test_tables_are_those_of_training():
    net = squat.Sequential(linear(), lif(beta=0.8, threshold=1.5)).eval()
    w_int, scale = net[0].quantizer(net[0].weight)
    bound = int(w_int.abs().sum(1).max())
    tables = integer_tables(
        STATE, beta=torch.tensor(0.8), threshold=1.5, scale=scale, bias=net[0].bias, sum_bound=bound, reset="subtract"
    )
    layer = squat.lower(net).layers[0]
    assert np.array_equal(layer.weight, w_int.detach().numpy())
    assert layer.weight.dtype == np.int8
    for name in ("table", "bound", "bias"):
        assert np.array_equal(getattr(layer.neurons, name), getattr(tables, name).numpy())
    assert (layer.neurons.shift, layer.neurons.first) == (tables.shift, STATE.first_firing_code())
    assert layer.name == "0 Linear, 1 LIF"


def test_lowering_leaves_the_network_as_it_was():
    net = squat.Sequential(linear(), lif()).train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    squat.lower(net)
    assert (net.training, net[0].training, net[0].quantizer.training, net[1].training) == (True, True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_equal_networks_have_equal_fingerprints():
    net = squat.Sequential(linear(), lif())
    assert squat.lower(net).fingerprint == squat.lower(net).fingerprint
    with torch.no_grad():
        net[0].bias += 1.0
    assert squat.lower(net).fingerprint != squat.lower(squat.Sequential(linear(), lif())).fingerprint


def test_ranges_of_sums_and_accumulators():
    net = squat.Sequential(linear(input_max=2, bias=False), lif())
    layer = squat.lower(net).layers[0]
    rows = layer.weight.astype(int) * 2
    assert layer.sum_range.tolist() == [[row[row < 0].sum(), row[row > 0].sum()] for row in rows]
    reach = np.abs(layer.sum_range).max() * 2**layer.neurons.shift + np.abs(layer.neurons.table).max()
    assert layer.accumulator_bound == reach


CASES = [
    ([linear(weight=None), lif()], r"layer 0 \(Linear\): its weights are float; train it with weight=IntWeight"),
    ([linear(), lif(state=None)], r"layer 1 \(LIF\): its membrane is float; train it with a state spec"),
    ([linear(), lif(arithmetic="float")], r"layer 1 \(LIF\): was trained with the float rule.*arithmetic='integer'"),
    ([lif()], r"layer 0 \(LIF\): gets no integer sums; put a Linear or Conv2d"),
    ([linear(), lif(), lif()], r"layer 2 \(LIF\): gets no integer sums"),
    ([linear(), linear()], r"layer 0 \(Linear\): is followed by no neuron; put an LIF or LI behind it"),
    ([linear(), squat.LI(state=STATE), linear()], r"layer 1 \(LI\): never fires, so only the last layer can be one"),
    ([linear(), lif(), nn.Dropout()], r"layer 2 \(Dropout\): is not an integer layer; lowered are Linear, Conv2d"),
    ([linear(input_max=300), lif()], r"layer 0 \(Linear\): input_max=300: inputs are bytes; scale them to 0..255"),
    ([squat.Conv2d(1, 1, 1, weight=WEIGHT), lif()], r"needs the size of its images; pass input_shape=\(C, H, W\)"),
    ([linear(), lif(), linear(5)], r"layer 2 \(Linear\): takes 5 inputs, but gets 2"),
    (
        [linear(), lif(beta=[0.1, 0.2, 0.3])],
        r"beta: 3 values of shape \(3,\) for an input of 2 neurons \(2,\); expected one",
    ),
    ([linear(), lif(threshold=1e9)], r"accumulator of .* expected less than 2\*\*31"),
    ([linear(), nn.Flatten(), lif()], r"layer 0 \(Linear\): is followed by no neuron"),
    ([linear(), MaxPool2d(2), lif()], r"layer 0 \(Linear\): is followed by no neuron"),
    (
        [squat.RLIF(3, 2, weight=WEIGHT, state=STATE, shared_scale=False)],
        r"layer 0 \(RLIF\): input and recurrent weights have a scale each; train it with shared_scale=True",
    ),
    (
        [squat.RLIF(3, 2, weight=WEIGHT, state=STATE, input_scale=0.3)],
        r"layer 0 \(RLIF\): input_scale=0.3: expected n or 1/n",
    ),
    (
        [linear(3, 257), lif(beta=[0.5] * 257, state=squat.Uniform(8))],
        r"257 decays need as many tables of 256 entries, at most 65536.*one beta, one per channel, or fewer state bits",
    ),
]


@pytest.mark.parametrize(("layers", "text"), CASES, ids=[f"{i}-{type(c[0][-1]).__name__}" for i, c in enumerate(CASES)])
def test_every_obstacle_says_what_to_change(layers, text):
    net = squat.Sequential(*layers)
    with pytest.raises(ValueError, match=r"this network cannot be lowered: .*" + text):
        squat.lower(net)


def test_all_obstacles_are_listed():
    net = squat.Sequential(linear(weight=None), lif(state=None, arithmetic="float"), AvgPool2d(2), squat.LIF())
    found = obstacles(net)
    assert [text.split(":")[0] for text in found] == [
        *("layer 0 (Linear)", "layer 1 (LIF)", "layer 1 (LIF)", "layer 2 (AvgPool2d)", "layer 3 (LIF)")
    ]
    assert "averages spikes, which gives fractions; use a sum pool, and input_scale in the next layer" in found[3]


@pytest.mark.parametrize(
    ("pool", "input_max", "text"),
    [
        (2, 1, r"layer 3 \(Conv2d\): gets inputs of up to 4; train it with input_max=4"),
        (16, 255, r"layer 2 \(SumPool2d\): its sums reach 256, more than a byte; use smaller windows"),
    ],
)
def test_pools(pool, input_max, text):
    conv = squat.Conv2d(1, 1, 1, weight=WEIGHT, input_max=input_max)
    net = squat.Sequential(squat.Conv2d(1, 1, 1, weight=WEIGHT), lif(), SumPool2d(pool), conv, lif())
    with pytest.raises(ValueError, match=text):
        squat.lower(net, (1, 16, 16))
    found = obstacles(squat.Sequential(SumPool2d(2), conv, lif()), (1, 16, 16))
    assert found[0] == "layer 0 (SumPool2d): pools the network's input; pool the data instead"


def test_pools_of_currents():
    conv = squat.Conv2d(1, 2, 3, weight=WEIGHT)
    (layer,) = squat.lower(squat.Sequential(conv, MaxPool2d(2, 1), lif()), (1, 6, 7)).layers
    assert layer.name == "0 Conv2d, 1 MaxPool2d, 2 LIF"
    assert (layer.sum_shape, layer.output_shape, layer.size) == ((2, 4, 5), (2, 3, 4), 24)
    for layers, text in (
        ([conv, MaxPool2d(2), MaxPool2d(2), lif()], r"layer 1 \(MaxPool2d\): is followed by no neuron; put an LIF"),
        ([conv, MaxPool2d(5), lif()], r"layer 2 \(LIF\): kernel_size=5: expected an integer .* 4"),
        ([conv, lif(), AvgPool2d(2)], r"layer 2 \(AvgPool2d\): averages spikes, which gives fractions; use a sum pool"),
        ([conv, lif(), MaxPool2d(2)], r"layer 2 \(MaxPool2d\): is last; the last layer needs weights"),
        ([MaxPool2d(2), conv, lif()], r"layer 0 \(MaxPool2d\): pools the network's input; pool the data instead"),
    ):
        with pytest.raises(ValueError, match=text):
            squat.lower(squat.Sequential(*layers), (1, 6, 7))


def block(*layers, shortcut=None):
    return squat.Residual(squat.Sequential(*layers), shortcut)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([block(linear(3, 3), lif())], r"layer 0 \(Residual\): adds to the network's input; put a layer with neurons"),
        (
            [linear(3, 3), lif(), block(linear(3, 3), shortcut=linear(3, 3))],
            r"layer 2 \(Residual\): its shortcut \(Linear\) gives no integers, so floats are added; use SumPool2d",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 3))],
            r"layer 2 \(Residual\): its branch does not end in spikes, so floats",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 3), squat.LI(state=STATE))],
            r"\(Residual\): its branch does not end in",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 3), lif(state=None), lif())],
            r"layer 2.1 \(LIF\): its membrane is float.*layer 2.2 \(LIF\): gets no integer sums",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 2), lif())],
            r"its branch gives \(2,\), its shortcut \(3,\); expected equal",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 3), lif()), linear(3, 2)],
            r"layer 3 \(Linear\): gets inputs of up to 2; train it with input_max=2",
        ),
        (
            [linear(3, 3), lif(), block(linear(3, 3), lif())],
            r"layer 2 \(Residual\): is last; the last layer needs weights",
        ),
    ],
)
def test_obstacles_of_residual_blocks(layers, text):
    with pytest.raises(ValueError, match=text):
        squat.lower(squat.Sequential(*layers))


def test_joined_values_are_bytes():
    pools = block(squat.Conv2d(1, 1, 3, padding=1, weight=WEIGHT, input_max=255), lif(), shortcut=None)
    net = squat.Sequential(squat.Conv2d(1, 1, 1, weight=WEIGHT), lif(), SumPool2d((15, 17), 1), pools)
    assert obstacles(net, (1, 20, 20))[0].startswith("layer 3 (Residual): its sums reach 256, more than a byte; put a")


def test_joins_that_do_not_fit_their_network():
    net = squat.Sequential(linear(3, 3), lif(), block(linear(3, 3), lif()), linear(3, 2, input_max=2))
    machine = squat.lower(net)
    assert machine.layers[2] == Join((3,), 0)
    for join, text in (
        (Join((3,), 2), r"layers\[2\]: joins layers\[2\], expected one before it"),
        (Join((1, 1, 3), 0, Pool((1, 2, 3), (2, 1), (1, 1))), r"layers\[2\]: joins 3 outputs, expected 6"),
        (Join((4,), 0), r"layers\[2\]: input of shape \(4,\), expected \(3,\)"),
        (Join((1, 1, 3), 0, Pool((1, 1, 3), (1, 1), (1, 1))), None),
    ):
        parts = (*machine.layers[:2], join, machine.layers[3])
        if text is None:
            assert IntegerNetwork(parts).largest == (1, 1, 2, 1)
            continue
        with pytest.raises(ValueError, match=text):
            IntegerNetwork(parts)
    with pytest.raises(ValueError, match=r"join: the pool gives \(1, 1, 3\), expected \(3,\)"):
        Join((3,), 0, Pool((1, 1, 3), (1, 1), (1, 1)))
    with pytest.raises(ValueError, match=r"layers\[3\]: values reach 2, expected at most 1"):
        IntegerNetwork((*machine.layers[:3], replace(machine.layers[3], input_max=1)))
    with pytest.raises(ValueError, match="the first and the last with weights"):
        IntegerNetwork((Pool((1, 1, 3), (1, 1), (1, 1)), machine.layers[3]))


def test_behind_an_obstacle_no_shape_is_made_up():
    net = squat.Sequential(squat.Conv2d(1, 2, 3, weight=WEIGHT), lif(), squat.Conv2d(2, 2, 3, weight=WEIGHT), lif())
    assert obstacles(net) == ["layer 0 (Conv2d): needs the size of its images; pass input_shape=(C, H, W)"]


def test_pools_that_do_not_fit_their_layer():
    layer = squat.lower(squat.Sequential(squat.Conv2d(1, 2, 3, weight=WEIGHT), lif()), (1, 6, 6)).layers[0]
    with pytest.raises(ValueError, match=r"pooled sums \(2, 6, 6\), expected those of its convolution"):
        replace(layer, pool=Pool((2, 6, 6), (2, 2), (2, 2), "max"))
    with pytest.raises(ValueError, match="kind of pooling='mean': expected one of 'sum', 'max'"):
        Pool((2, 4, 4), (2, 2), (2, 2), "mean")


def test_obstacles_of_recurrence_by_convolution():
    spec = squat.IntWeight(4, "shift")
    for conv, own, text in (
        (WEIGHT, None, r"layer 1 \(ConvRLIF\): its weights are float; train it with weight=IntWeight"),
        (WEIGHT, squat.IntWeight(3), r"layer 1 \(ConvRLIF\): its recurrent weights have 3 bits, those of its inputs 4"),
        (spec, spec, r"layer 1 \(ConvRLIF\): .*its channels are shifted, expected no shifts where"),
    ):
        net = squat.Sequential(squat.Conv2d(1, 2, 3, weight=conv), squat.ConvRLIF(2, weight=own, state=STATE))
        with pytest.raises(ValueError, match=text):
            squat.lower(net, (1, 6, 6))
    net = squat.Sequential(squat.Conv2d(1, 2, 3, weight=WEIGHT), squat.ConvRLIF(2, weight=WEIGHT, state=STATE))
    (layer,) = squat.lower(net, (1, 6, 6)).layers
    with pytest.raises(ValueError, match=r"recurrent kernels \(3, 2\), expected odd sizes"):
        replace(layer, recurrent=layer.recurrent[..., :2].copy())


@pytest.mark.parametrize(
    ("readout", "layers", "wanted"),
    [
        (SpikeCount(), [linear()], "an LIF"),
        (AccumulatedCurrent(), [linear(), lif()], "a Linear"),
        (MaxMembrane(), [linear(), lif()], "an LI"),
        (MeanMembrane(), [linear()], "an LI"),
    ],
)
def test_readouts_that_do_not_fit(readout, layers, wanted):
    with pytest.raises(ValueError, match=f"is read by {type(readout).__name__}; put {wanted} last"):
        squat.lower(Network(squat.Sequential(*layers), readout))


def test_the_how_to_runs():
    page = Path(__file__).parents[2] / "docs/how-to/integer-networks.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(example, str(page), "exec"), {})


def test_other_things_are_no_network():
    with pytest.raises(TypeError, match=r"net=.*expected a squat.Network or squat.Sequential"):
        squat.lower(nn.Linear(2, 2))
