"""Codes and spikes of the integer network equal those of the training network, in both implementations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat
from helpers import louder, spec_id
from squat.integer import IntegerNetwork
from squat.integer.activity import activities
from squat.integer.engine import IMPLEMENTATIONS
from squat.integer.proof import prove
from squat.layers import MaxPool2d, SumPool2d
from squat.models import READOUT_NAMES, Network, NetworkConfig, build_network, predict
from squat.neurons.state import codes_of
from squat.quant.spec import STATE_SPECS

RESETS = [
    ("subtract", {}),
    ("zero", {"zero_reset": "keep_input"}),
    ("zero", {"zero_reset": "drop_input"}),
    ("none", {}),
]
SPECS = [cls(bits) for cls in STATE_SPECS.values() for bits in (2, 4, 8)]
SPECS += [squat.Uniform(3), squat.Anchored(5), squat.Uniform(2, 0.0, 3.0), squat.Anchored(4, decay="at_least_one_code")]


def spikes(*shape, rate=0.3):
    return (torch.rand(shape) < rate).float()


@torch.no_grad()
def assert_same(net, x, machine=None, active=True):
    """Every code, spike, sum and prediction, in both implementations, as one sequence and streamed."""
    machine = machine or squat.lower(net, tuple(x.shape[2:]))
    stack = net.layers if isinstance(net, Network) else net
    states, codes, outputs = None, [], []
    for step in x:  # the codes of every step
        output, states = stack(step[None], states)
        codes.append([own.numpy() for own in codes_of(states)])
        outputs.append(output.z[0] if isinstance(output, squat.Current) else output[0])
    for implementation in IMPLEMENTATIONS:
        result = machine.run(x, implementation=implementation)
        for layer, found in enumerate(result.codes):
            assert np.array_equal(found, np.stack([step[layer] for step in codes]))
        last = machine.last.neurons
        if last is None or last.first < last.codes:
            assert np.array_equal(result.output, torch.stack(outputs).numpy())
        if isinstance(net, Network):
            assert np.array_equal(result.predictions, predict(net(x)).numpy())
        _assert_streams(machine, x, result, implementation)
    if active:
        assert any((result.codes[i] >= layer.neurons.first).any() for i, layer in enumerate(machine.neuron_layers))
    return machine


def _assert_streams(machine, x, whole, implementation):
    result, half = None, len(x) // 2
    state = machine.run(x[:half], implementation=implementation).state
    for t, step in enumerate(x[half:], start=half):
        result = machine.step(step, state, implementation=implementation)
        state = result.state
        assert np.array_equal(result.output, whole.output[t])
    for one, other in ((whole.scores, result.scores), (whole.state.codes[0], state.codes[0])):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("reset", "options"), RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=spec_id)
def test_feedforward(spec, reset, options):
    kinds = ((squat.IntWeight(4), "zero"), (squat.IntWeight(3, "channel"), "code_of_zero"))
    for weight, initial in (*kinds, (squat.IntWeight(2, "shift"), "zero")):
        neuron = {"state": spec, "reset": reset, "initial": initial, **options}
        net = squat.Sequential(
            squat.Linear(11, 19, weight=weight), squat.LIF(0.9, **neuron),
            squat.Linear(19, 5, bias=False, weight=weight), squat.LIF(torch.linspace(0.2, 1.0, 5), 0.8, **neuron),
        )  # fmt: skip
        assert_same(louder(net), spikes(13, 4, 11))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("reset", "options"), RESETS)
def test_recurrent(bits, reset, options):
    for spec in (squat.ThresholdCentered(4), squat.Uniform(8)):
        for beta, granularity in ((0.9, "tensor"), (0.9, "shift"), (torch.linspace(0.5, 0.99, 21), "channel")):
            weight = squat.IntWeight(bits, granularity)
            net = squat.RLIF(17, 21, beta, weight=weight, state=spec, reset=reset, **options)
            assert_same(louder(squat.Sequential(net)), spikes(13, 4, 17))


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 4.0])
def test_recurrent_with_other_input_units(scale):
    largest = 255 if scale < 1 else 1
    net = squat.RLIF(9, 12, weight=squat.IntWeight(4), state=squat.Anchored(4), input_scale=scale, input_max=largest)
    x = torch.randint(0, largest + 1, (8, 3, 9)).float()
    assert_same(louder(squat.Sequential(net)), x)
    assert_same(squat.Sequential(net), x[:1].expand(8, -1, -1))


@pytest.mark.parametrize("readout", READOUT_NAMES)
@pytest.mark.parametrize("granularity", ["tensor", "channel", "shift"])
def test_networks_with_every_readout(readout, granularity):
    for architecture, inputs in (("recurrent", 14), ("feedforward", 14), ("conv", (2, 8, 8))):
        config = NetworkConfig(
            architecture, inputs, (6,), 4, weights=squat.IntWeight(4, granularity), states=squat.Anchored(4),
            readout=readout, input_gain=4.0, kernel_size=3, input_scale=1 / 255, input_max=255,
        )  # fmt: skip
        net = build_network(config, seed=1).eval()
        shape = inputs if isinstance(inputs, tuple) else (inputs,)
        pixels = torch.randint(0, 256, (1, 5, *shape)).float()
        assert_same(net, pixels.expand(9, *pixels.shape[1:]))


def test_convolutions_with_strides_padding_and_pools():
    weight, state = squat.IntWeight(4, "channel"), squat.Anchored(4)
    for beta in (0.9, torch.linspace(0.3, 0.99, 5 * 4 * 5)):
        net = squat.Sequential(
            squat.Conv2d(2, 5, (3, 2), stride=(2, 2), padding=(1, 1), weight=weight), squat.LIF(beta, state=state),
            SumPool2d(2, 1), squat.Conv2d(5, 3, 2, weight=weight, input_max=4, input_scale=0.25),
            squat.LIF(state=state),
            squat.Flatten(), squat.Linear(3 * 2 * 3, 4, weight=weight), squat.LI(state=state),
        )  # fmt: skip
        assert_same(louder(net), spikes(7, 3, 2, 7, 8))


@pytest.mark.parametrize("granularity", ["tensor", "channel", "shift"])
def test_maxima_of_currents_and_of_spikes(granularity):
    weight, state = squat.IntWeight(4, granularity), squat.Anchored(4)
    for beta in (0.9, torch.linspace(0.3, 0.99, 5 * 3 * 3)):
        net = squat.Sequential(
            squat.Conv2d(2, 5, 3, padding=1, weight=weight), MaxPool2d((2, 3), (2, 2)), squat.LIF(beta, state=state),
            MaxPool2d(2, 1), squat.Conv2d(5, 4, 2, weight=weight), squat.LIF(state=state),
            squat.Flatten(), squat.Linear(4, 3, weight=weight),
        )  # fmt: skip
        assert_same(louder(net), spikes(7, 3, 2, 7, 8))


def test_maxima_of_sums_of_spikes_and_a_last_layer_of_pooled_sums():
    weight = squat.IntWeight(4)
    net = squat.Sequential(
        squat.Conv2d(1, 3, 2, weight=weight, input_max=255, input_scale=1 / 64), squat.LIF(state=squat.Uniform(4)),
        SumPool2d(2), MaxPool2d(2, 1), squat.Conv2d(3, 4, 2, weight=weight, input_max=4), MaxPool2d((1, 2)),
    )  # fmt: skip
    x = torch.randint(0, 256, (1, 3, 1, 10, 9)).float()
    machine = assert_same(louder(net), x.expand(6, *x.shape[1:]))
    assert machine.last.output_shape == (4, 2, 1)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("largest", [1, 255])
def test_recurrence_by_convolution(granularity, largest):
    weight, neuron = squat.IntWeight(4, granularity), {"state": squat.Anchored(4)}
    scale = {"input_max": largest, "input_scale": 1 / largest}
    pixels = torch.randint(0, 256, (1, 3, 2, 6, 7)).float().expand(9, *[-1] * 4)
    x = spikes(9, 3, 2, 6, 7) if largest == 1 else pixels
    for beta, pools in ((0.9, [MaxPool2d(2, 1)]), (torch.linspace(0.1, 1.0, 4 * 4 * 5), [])):
        net = squat.Sequential(
            squat.Conv2d(2, 4, 3, weight=weight, **scale), *pools,
            squat.ConvRLIF(4, (3, 1), beta, 0.8, weight=weight, initial="code_of_zero", **neuron), SumPool2d(2),
            squat.Conv2d(4, 3, 1, weight=weight, input_max=4), squat.ConvRLIF(3, 3, weight=weight, **neuron),
        )  # fmt: skip
        machine = assert_same(louder(net), x)
        layer = machine.layers[0]
        assert (layer.recurrent_unit > 1) == (largest > 1)
        prove(net, machine)
        fired = np.argwhere(machine.run(x).codes[0][:-1] >= layer.neurons.first)
        reached = sum((layer.recurrent[:, channel] != 0).sum() for channel in fired[:, 2])
        without = replace(machine, layers=(replace(layer, recurrent=None), *machine.layers[1:]))
        synaptic = [activities(made, x)[1][0].synaptic_operations for made in (machine, without)]
        assert 0 < (synaptic[0] - synaptic[1]) * 3 <= reached  # fewer at the edges


def test_residual_blocks():
    weight, neuron = {"weight": squat.IntWeight(4)}, {"state": squat.Anchored(4)}
    inner = squat.Residual(squat.Sequential(squat.RLIF(9, 9, input_max=1, **weight, **neuron)))
    branch = squat.Linear(9, 9, **weight), squat.LIF(**neuron), inner
    net = squat.Sequential(
        squat.Linear(11, 9, **weight), squat.LIF(**neuron), squat.Residual(squat.Sequential(*branch)),
        squat.RLIF(9, 6, input_max=3, **weight, **neuron), squat.Linear(6, 4, **weight), squat.LI(**neuron),
    )  # fmt: skip
    machine = assert_same(louder(net), spikes(9, 3, 11))
    assert machine.largest == (1, 1, 1, 2, 3, 1, 1)
    assert [layer.name for layer in machine.neuron_layers[1:3]] == ["2.0 Linear, 2.1 LIF", "2.2.0 RLIF"]


@pytest.mark.parametrize(
    ("before", "behind", "shortcut", "largest"),
    [
        ([], [], None, 4 + 1),
        ([MaxPool2d(2)], [], SumPool2d(2), 16 + 1),
        ([MaxPool2d(2, 1)], [], MaxPool2d(2, 1), 4 + 1),
        ([], [SumPool2d(2)], MaxPool2d(2), 4 + 4),
    ],
)
def test_residual_blocks_of_images(before, behind, shortcut, largest):
    """With pools before the neurons of the branch, behind them, and of what is kept."""
    weight, neuron = squat.IntWeight(4), {"state": squat.Anchored(4)}
    conv = squat.Conv2d(3, 3, 3, padding=1, weight=weight, input_max=4)
    branch = squat.Sequential(conv, *before, squat.LIF(**neuron), *behind)
    net = squat.Sequential(
        squat.Conv2d(1, 3, 2, weight=weight), squat.LIF(**neuron), SumPool2d(2, 1), squat.Residual(branch, shortcut),
        squat.Conv2d(3, 2, 2, weight=weight, input_max=largest, input_scale=0.25),
    )  # fmt: skip
    x = spikes(7, 3, 1, 8, 8)
    machine = assert_same(louder(net), x)
    assert machine.largest[-2] == largest
    last = activities(machine, x)[1][-1]
    assert last.synaptic_operations > last.input_events > 0


@pytest.mark.parametrize("learn_beta", ["clamp", "sigmoid"])
def test_learned_parameters_are_those_in_force(learn_beta):
    weight = squat.IntWeight(4, scale="learned")
    neuron = {"learn_beta": learn_beta, "learn_threshold": True, "state": squat.Anchored(4)}
    net = squat.Sequential(
        squat.RLIF(9, 12, torch.linspace(0.2, 0.9, 12), weight=weight, **neuron),
        squat.Linear(12, 5, weight=weight), squat.LIF(0.8, **neuron),
    )  # fmt: skip
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.mul_(1.0 if "weight" in name else 1.1)
    assert_same(louder(net), spikes(9, 3, 9))


def test_sums_beyond_16_bits_and_beyond_float32():
    for inputs, scale in ((300, 1 / 255), (5000, 1 / 255)):
        net = squat.Sequential(
            squat.Linear(inputs, 7, weight=squat.IntWeight(8, scale="max"), input_scale=scale, input_max=255).double(),
            squat.LIF(state=squat.Uniform(4)),
        )  # fmt: skip
        x = torch.randint(0, 256, (1, 2, inputs)).double().expand(5, 2, inputs)
        assert_same(net.eval(), x, active=False)
    net = squat.RLIF(3, 300, weight=squat.IntWeight(8), state=squat.Anchored(4))
    assert_same(louder(squat.Sequential(net)), spikes(6, 2, 3))


@settings(max_examples=200)
@given(data=st.data())
def test_random_small_networks(data):
    draw = lambda *values: data.draw(st.sampled_from(values))  # noqa: E731
    bits, seed = data.draw(st.integers(1, 8)), data.draw(st.integers(0, 2**31))
    spec = draw(*STATE_SPECS.values())(bits)
    torch.manual_seed(seed)
    sizes = [data.draw(st.integers(1, 40)) for _ in range(data.draw(st.integers(2, 4)))]
    layers = []
    for before, size in pairwise(sizes):
        reset, options = draw(*RESETS)
        weight = squat.IntWeight(data.draw(st.integers(2, 8)), draw("tensor", "channel"), draw("mse", "max"))
        neuron = {"beta": draw(0.0, 0.5, 0.95, 1.0), "threshold": draw(0.3, 1.0, 2.5), "state": spec, "reset": reset}
        neuron |= {"initial": draw("zero", "code_of_zero"), **options}
        bias = draw(True, False)
        if draw(True, False):
            layers.append(squat.RLIF(before, size, weight=weight, bias=bias, **neuron))
        else:
            layers += [squat.Linear(before, size, bias, weight), squat.LIF(**neuron)]
    net = louder(squat.Sequential(*layers), draw(1.0, 3.0))
    assert_same(net, spikes(data.draw(st.integers(2, 12)), data.draw(st.integers(1, 5)), sizes[0]), active=False)


def small():
    net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
    return squat.lower(net)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (np.zeros((2, 1, 4)), ValueError, r"x: shape \(2, 1, 4\), expected \[T, B, 3\]"),
        (np.zeros((0, 1, 3)), ValueError, "at least one step and one sample"),
        (np.full((2, 1, 3), 2), ValueError, "values from 2 to 2, expected integers from 0 to 1"),
        (np.full((2, 1, 3), -1), ValueError, "values from -1 to -1, expected integers from 0 to 1"),
        (np.full((2, 1, 3), np.nan), ValueError, "values from nan"),
        (np.full((2, 1, 3), 0.5), ValueError, "fractions, expected integers from 0 to 1"),
        (np.full((2, 1, 3), "a"), TypeError, "expected integers from 0 to 1"),
    ],
)
def test_bad_inputs_are_refused(x, error, text):
    with pytest.raises(error, match=text):
        small().run(x)


def test_foreign_states_are_refused():
    machine, x = small(), np.ones((2, 3, 3), np.uint8)
    state = machine.run(x).state
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="state: it belongs to another network"):
        small().run(x, state)
    with pytest.raises(ValueError, match="state: 3 samples, expected 2"):
        machine.run(x[:, :2], state)
    with pytest.raises(TypeError, match="state: a tuple, expected the State"):
        machine.run(x, (1, 2))
    with pytest.raises(ValueError, match="implementation='c': expected one of 'compiled', 'numpy'"):
        machine.run(x, implementation="c")


def test_scores_cannot_overflow():
    net = build_network(NetworkConfig(weights=squat.IntWeight(2), states=squat.Anchored(2), hidden=(3,)), 0)
    machine = squat.lower(net)
    big = squat.integer.Readout("accumulated_current", np.full(10, 2**61))
    with pytest.raises(ValueError, match="after 4 steps the scores could overflow 64 bits"):
        IntegerNetwork(machine.layers, big).run(np.zeros((4, 1, 140), np.uint8))


def test_the_engine_needs_no_torch():
    code = "import sys, squat.integer, squat.integer.compiled, squat.integer.plain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
