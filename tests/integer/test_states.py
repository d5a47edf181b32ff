"""Neurons of several states as integer machines: lowered, run, proved, stored and reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import squat
from file_mutations import refuse_damaged_files
from helpers import louder
from several_neurons import SEVERAL
from squat.integer import Readout, load
from squat.integer.engine import IMPLEMENTATIONS
from squat.integer.proof import NotEqual, prove
from squat.integer.states import BEFORE, SPIKE, ComputedState, States, SummedState, next_codes
from squat.layers import MaxPool2d
from squat.neurons.state import codes_of

INPUTS, FEATURES, STEPS, BATCH = 11, 6, 15, 4
each_neuron = pytest.mark.parametrize("name", SEVERAL)
VARIANTS = [
    {"bits": (4, 3)},
    {"bits": (3, 4), "reset": "zero", "granularity": "channel"},
    {"bits": (2, 5), "reset": "none", "bias": False},
    {"bits": (4, 2), "decays": True, "initial": "code_of_zero"},
]


def network(name, bits=(4, 3), granularity="tensor", bias=True, decays=False, seed=0, **arguments):
    """A layer of the neurons, a linear layer and LIF, in evaluation mode."""
    torch.manual_seed(seed)
    neuron, weight = SEVERAL[name], squat.IntWeight(4, granularity=granularity)
    arguments |= {"state": squat.Anchored(bits[0]), neuron.spec_arguments[0]: squat.Uniform(bits[1], 0.5, 1.5)}
    if name == "AlphaLIF":
        arguments |= {"alpha": 0.9, "beta": torch.linspace(0.3, 0.6, FEATURES) if decays else 0.5}
    elif decays:
        arguments |= {"beta": torch.linspace(0.3, 0.95, FEATURES)}
    if issubclass(neuron, squat.RLIF):
        layers = [neuron(INPUTS, FEATURES, threshold=0.4, weight=weight, bias=bias, **arguments)]
    else:
        layers = [squat.Linear(INPUTS, FEATURES, bias, weight=weight), neuron(threshold=0.4, **arguments)]
    last = [squat.Linear(FEATURES, 3, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4))]
    return louder(squat.Sequential(*layers, *last), 2.0)


def inputs(seed=0):
    return (torch.rand(STEPS, BATCH, INPUTS, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


@torch.no_grad()
def assert_same(net, machine, x):
    states, codes, outputs = None, [], []
    for step in x:
        output, states = net(step[None], states)
        codes.append([own.numpy() for state in states for own in codes_of(state)])
        outputs.append(output[0])
    expected = [np.stack(own) for own in zip(*codes, strict=True)]
    for implementation in IMPLEMENTATIONS:
        result = machine.run(x, implementation=implementation)
        assert len(result.codes) == len(expected)
        for own, wanted in zip(result.codes, expected, strict=True):
            assert np.array_equal(own, wanted), implementation
        assert np.array_equal(result.output, torch.stack(outputs).numpy())
        first = machine.run(x[:6], implementation=implementation)
        second = machine.run(x[6:], first.state, implementation=implementation)
        assert np.array_equal(np.concatenate((first.output, second.output)), result.output)
    return result


@each_neuron
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equal_to_training(name, variant):
    net = network(name, **variant)
    machine, x = squat.lower(net), inputs()
    result = assert_same(net, machine, x)
    _, neurons, codes = next(machine.by_layer(result.codes))
    assert 0.02 < neurons.spikes(codes).mean() < 0.98, "nothing was tried"


@pytest.mark.parametrize("name", [name for name in SEVERAL if not issubclass(SEVERAL[name], squat.RLIF)])
@pytest.mark.parametrize("decays", [False, True])
@torch.no_grad()
def test_behind_a_convolution(name, decays):
    torch.manual_seed(1)
    specs = {"state": squat.Anchored(4), SEVERAL[name].spec_arguments[0]: squat.Uniform(4, 0.5, 1.5)}
    beta = torch.linspace(0.3, 0.6, 32) if decays else 0.5
    neuron = SEVERAL[name](beta=beta, threshold=0.4, **specs)
    net = squat.Sequential(
        squat.Conv2d(2, 2, 3, padding=1, weight=squat.IntWeight(4, granularity="channel")),
        neuron,
        squat.Flatten(),
        squat.Linear(32, 3, weight=squat.IntWeight(4)),
    )
    louder(net, 3.0)
    x = (torch.rand(9, 3, 2, 4, 4) < 0.4).float()
    machine = squat.lower(net, (2, 4, 4))
    for implementation in IMPLEMENTATIONS:
        result = machine.run(x, implementation=implementation)
        assert np.array_equal(result.output, net(x)[0].z.numpy())
    assert result.output.any()


def test_with_pooled_currents_and_in_residual_blocks():
    weight, states = {"weight": squat.IntWeight(4)}, {"state": squat.Anchored(3), "current_state": squat.Uniform(3)}
    block = squat.Sequential(squat.Conv2d(4, 4, 3, padding=1, **weight), squat.CubaLIF(**states))
    net = squat.Sequential(
        squat.Conv2d(2, 4, 3, **weight), MaxPool2d(2, 1), squat.CubaLIF(**states), MaxPool2d(2),
        squat.Residual(block), squat.Flatten(), squat.Linear(16, 3, input_max=2, **weight), squat.CubaLIF(**states),
    )  # fmt: skip
    louder(net, 6.0)
    x = (torch.rand(STEPS, BATCH, 2, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    machine = squat.lower(net, (2, 7, 7))
    result = assert_same(net, machine, x)
    assert result.output.any()
    assert len(prove(net, machine).layers) == 3
    assert machine.largest == (1, 1, 1, 2, 1)


@each_neuron
@pytest.mark.parametrize("variant", VARIANTS[:2] + VARIANTS[3:], ids=str)
def test_proved(name, variant, tmp_path):
    net = network(name, **{**variant, "bits": (3, 2)})
    machine = squat.lower(net)
    certificate = prove(net, machine)
    layer = certificate.layers[0]
    joint = {"AlphaLIF": 2 * 4 * 4}.get(name, 8 * 4)
    assert layer.codes == joint
    boundaries = {"AlphaLIF": 6, "ALIF": 7, "RALIF": 7}.get(name, 3)
    assert layer.cuts == FEATURES * (joint + 1) * boundaries
    assert 1 < layer.reachable_codes <= joint
    proved = replace(machine, certificate=certificate)
    proved.save(tmp_path / "net")
    found = load(tmp_path / "net")
    assert found.fingerprint == machine.fingerprint
    assert found.certificate == certificate
    assert np.array_equal(found.run(inputs()).output, machine.run(inputs()).output)


def changed(machine, **fields):
    """The machine with other neurons in its first layer."""
    layer = machine.layers[0]
    return replace(machine, layers=(replace(layer, neurons=replace(layer.neurons, **fields)), *machine.layers[1:]))


@each_neuron
def test_every_wrong_table_is_found(name):
    net = network(name, bits=(3, 2))
    machine = squat.lower(net)
    neurons = machine.layers[0].neurons
    for k, state in enumerate(neurons.states):
        if isinstance(state, SummedState):
            bound = state.bound.copy()
            bound[0, len(bound[0]) // 2] += 2**state.shift
            wrong = replace(state, bound=bound)
        else:
            table = state.table.copy()
            middle = tuple(size // 2 for size in table.shape)
            table[middle] = (table[middle] + 1) % 2**state.bits
            wrong = replace(state, table=table)
        states = (*neurons.states[:k], wrong, *neurons.states[k + 1 :])
        with pytest.raises(NotEqual, match=r"layer '0 .*gives code \(.*\), spike"):
            prove(net, changed(machine, states=states))
    with pytest.raises(NotEqual, match=r"layer '0 .*gives code \(.*\), spike"):
        prove(net, changed(machine, first=np.ones_like(neurons.first)))


@pytest.mark.parametrize("name", ["CubaLIF", "RALIF", "AlphaLIF"])
def test_large_layers_of_equal_neurons(name):
    """More than can be looked at one by one: neurons that are all alike share the work."""
    features, inputs = {"CubaLIF": 1100, "RALIF": 1100, "AlphaLIF": 300}[name], 3
    weight, neuron = squat.IntWeight(3), SEVERAL[name]
    options = {"state": squat.Anchored(4), neuron.spec_arguments[0]: squat.Uniform(4, 0.5, 1.5)}
    if issubclass(neuron, squat.RLIF):
        layers = [neuron(inputs, features, weight=weight, bias=False, recurrence="one_to_one", **options)]
    else:
        layers = [squat.Linear(inputs, features, False, weight=weight), neuron(**options)]
    net = squat.Sequential(*layers).eval()
    machine = squat.lower(net)
    certificate = prove(net, machine)
    assert certificate.layers[0].neurons == 1
    wrong = changed(machine, first=np.ones_like(machine.layers[0].neurons.first))
    with pytest.raises(NotEqual, match=r"layer '0 .*gives code"):
        prove(net, wrong)


@pytest.mark.parametrize("name", SEVERAL)
@torch.no_grad()
def test_one_machine_in_every_dtype(name):
    """Of input and network: what is computed from codes does not depend on it."""
    net, x = network(name, bits=(4, 4), granularity="channel"), inputs()
    machine = squat.lower(net)
    expected = machine.run(x)
    wide = network(name, bits=(4, 4), granularity="channel").double()
    for trained, given in ((net, x.double()), (wide, x), (wide, x.double())):
        out, states = trained(given)
        assert np.array_equal(out.numpy(), squat.lower(trained).run(x).output)
        if trained is net:
            assert np.array_equal(out.numpy(), expected.output)
            for own, code in zip(expected.state.codes, (c for s in states for c in codes_of(s)), strict=True):
                assert np.array_equal(own, code.numpy().reshape(own.shape))


def test_sums_beyond_float32_are_proved():
    torch.manual_seed(0)
    neuron = squat.CubaLIF(0.8, 0.9, 0.7, state=squat.ThresholdCentered(4), current_state=squat.Uniform(4))
    net = squat.Sequential(squat.Linear(1600, 3, weight=squat.IntWeight(8), input_max=255), neuron).eval()
    machine = squat.lower(net)
    certificate = prove(net, machine)
    assert certificate.layers[0].highest_sum - certificate.layers[0].lowest_sum >= 2**24


def test_names_come_from_a_file_and_go_into_a_program():
    neurons = squat.lower(network("CubaLIF")).layers[0].neurons
    for name in ("syn current", "x;\n#include <stdio.h>", "", "A", "a" * 25):
        with pytest.raises(ValueError, match=r"name of a state .*: expected up to 24 lower-case letters, digits and _"):
            replace(neurons, names=(name, "u"))


def test_no_two_machines_have_one_fingerprint():
    one, other = squat.lower(network("AlphaLIF", bits=(4, 4))), squat.lower(network("CubaLIF", bits=(4, 4)))
    alpha, cuba = one.layers[0].neurons, other.layers[0].neurons
    first = replace(alpha, states=(*alpha.states[:2], cuba.states[1]), names=("a", "b", "u"))
    second = replace(cuba, states=(alpha.states[1], cuba.states[1]), names=("a", "u"))
    assert changed(one, states=first.states).fingerprint != changed(one).fingerprint
    assert changed(other, states=second.states).fingerprint != changed(other).fingerprint


def test_readouts_read_what_they_can():
    net = network("CubaLIF")
    last = squat.lower(squat.Sequential(*list(net.layers)[:2]))
    for kind in ("max_membrane", "mean_membrane"):
        level = np.arange(16) if kind == "mean_membrane" else None
        with pytest.raises(ValueError, match=rf"readout {kind}: expected neurons that never fire in the last layer"):
            replace(last, readout=Readout(kind, level=level))


def test_too_much_to_prove():
    net = network("CubaLIF", bits=(8, 8))
    machine = squat.lower(net)
    assert_same(net, machine, inputs())
    with pytest.raises(ValueError, match=r"65536 joint codes of 6 neurons with 255 boundaries are too many .*fewer"):
        prove(net, machine)


@each_neuron
def test_report_and_skip(name):
    net = network(name)
    machine, x = squat.lower(net), inputs().numpy()
    report = machine.report(x)
    neurons = machine.layers[0].neurons
    assert report.sizes.states == -(-FEATURES * sum(neurons.widths[:1]) // 8) + sum(
        -(-FEATURES * bits // 8) for bits in neurons.widths[1:]
    ) + -(-3 * 4 // 8)
    result = machine.run(x)
    _, _, codes = next(machine.by_layer(result.codes))
    assert report.layers[0].spike_rate == pytest.approx(float(neurons.spikes(codes).mean()))
    assert report.layers[0].state_writes == STEPS * FEATURES * len(neurons.states)
    assert "layer 0" in str(report)
    silent = machine.run(np.zeros((5, BATCH, INPUTS), np.uint8), result.state).state
    skipped = machine.skip(5, result.state)
    assert all(np.array_equal(*pair) for pair in zip(silent.codes, skipped.codes, strict=True))


@each_neuron
def test_damaged_files(name, tmp_path):
    refuse_damaged_files(squat.lower(network(name, bits=(2, 2))), tmp_path)


@each_neuron
def test_obstacles(name):
    argument = SEVERAL[name].spec_arguments[0]

    def found(**arguments):
        net = network(name)
        neuron = next(layer for layer in net if type(layer) is SEVERAL[name])
        for key, value in arguments.items():
            setattr(neuron, key, value)
        return "; ".join(squat.integer.lower.obstacles(net))

    assert not found()
    assert f"a state is float; train it with a state spec such as {argument}=Uniform(4)" in found(**{argument: None})
    assert "was trained with the float rule" in found(arithmetic="float")
    if hasattr(SEVERAL[name], "own_arguments") and "as_published" in SEVERAL[name].own_arguments:
        assert "reads unquantized states, as published; train it with as_published=False" in found(as_published=True)
    if name == "CubaLIF":
        assert "resets without delay, which leaves its membrane off the grid" in found(reset_delay=False)


def test_a_wrong_number_of_parameters_and_too_many_are_obstacles():
    weight, specs = squat.IntWeight(4), {"state": squat.Uniform(8), "adaptation_state": squat.Uniform(2)}

    def found(features, weight=weight, **arguments):
        net = squat.Sequential(squat.Linear(3, features, weight=weight), squat.ALIF(**specs, **arguments))
        return "; ".join(squat.integer.lower.obstacles(net))

    assert "rho: 5 values of shape (5,) for an input of 6 neurons" in found(6, rho=torch.full((5,), 0.9))
    text = found(300, beta=torch.linspace(0.1, 0.9, 300))
    assert (
        "its state 'u' needs a table of (2, 300, 256) entries, at most 131072 are made; train it with one decay" in text
    )
    by_channel = squat.IntWeight(4, granularity="channel")
    assert found(300, by_channel, beta=torch.linspace(0.1, 0.9, 300)) == text
    assert not found(300, by_channel)


def test_fields_are_checked():
    summed = SummedState(1, (1, 1), np.zeros((2, 1, 2), np.int32), np.zeros((1, 1), np.int32), None, 0)
    table = np.zeros((1, 3, 2), np.uint8)
    last = ComputedState(1, (BEFORE, 0), table)
    first = np.ones(1, np.int32)
    good = {"names": ("a", "u"), "states": (summed, last), "first": first, "ruler": None, "start": None}
    machine = States(**good)
    codes = next_codes(machine, np.array([[1, -1]]), None, 2)
    assert [own.tolist() for own in codes] == [[[1, 0]], [[0, 0]]]
    with pytest.raises(ValueError, match=r"source -1 of state 1: expected one of \[-2, -1, 0\], -1 first"):
        States(**{**good, "states": (summed, ComputedState(1, (0, BEFORE), np.zeros((1, 2, 3), np.uint8)))})
    with pytest.raises(ValueError, match=r"states: none takes up synaptic sums, expected at least one"):
        States(**{**good, "states": (ComputedState(1, (SPIKE,), np.zeros((1, 2, 1), np.uint8)), last)})
    with pytest.raises(ValueError, match=r"source 1 of state 1: expected one of \[-2, -1, 0\]"):
        States(**{**good, "states": (summed, ComputedState(1, (BEFORE, 1), table))})
    with pytest.raises(ValueError, match=r"table of state 1: shape \(1, 3, 2\), expected rows of \(2, 1\)"):
        States(**{**good, "states": (summed, ComputedState(1, (SPIKE,), table))})
    with pytest.raises(ValueError, match=r"names \('u', 'u'\): expected a name of its own"):
        States(**{**good, "names": ("u", "u")})
    with pytest.raises(ValueError, match=r"number of states=1: expected an integer from 2 to 3"):
        States(**{**good, "names": ("u",), "states": (summed,)})
    with pytest.raises(ValueError, match=r"table: code 2, expected codes below 2"):
        ComputedState(1, (0, 1), table + np.uint8(2))
    with pytest.raises(ValueError, match=r"sources: 3 of them, expected 1 or 2"):
        ComputedState(1, (0, 1, 2), table)
    with pytest.raises(ValueError, match=r"bound: expected every row in rising order"):
        replace(summed, bits=2, table=np.zeros((2, 1, 4), np.int32), bound=np.array([[2, 1, 3]], np.int32))
    with pytest.raises(ValueError, match=r"gain=2: expected an integer from -1 to 1"):
        replace(summed, gain=(2, 1))
