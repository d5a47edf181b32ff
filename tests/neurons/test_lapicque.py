"""Lapicque: snnTorch's circuit bit for bit, its gain under both rules and in integer networks, and its errors."""

from __future__ import annotations

import math

import pytest
import torch

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer
from squat.integer.proof import prove

snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")

CIRCUITS = [
    {"beta": 0.9},
    {"beta": 0.5, "R": 3.0},
    {"beta": 0.8, "C": 0.7},
    {"R": 5, "C": 2},
    {"R": 5.1, "C": 0.31, "time_step": 0.1},
    {"beta": 0.7, "R": 0.3, "time_step": 0.01},
    {"R": 2.0, "C": 0.5},
]
SPECS = [None, *(scheme(bits) for scheme in PUBLISHED for bits in (1, 2, 4, 8))]


def current(neuron, shape=(16, 3, 7), seed=0):
    """Currents that make this circuit fire, or the plain ones of another shape."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.25
    return x / float(neuron.receive(torch.ones(())))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_it_is_snntorchs(spec, reset):
    for circuit in CIRCUITS:
        for threshold in (1.0, 0.427):
            ours = squat.Lapicque(**circuit, threshold=threshold, state=spec, reset=reset, arithmetic="float")
            quantizer = False if spec is None else snntorch_quantizer(spec, threshold)
            oracle = snntorch.Lapicque(
                **circuit, threshold=threshold, reset_mechanism=reset, state_quant=quantizer
            )  # fmt: skip
            x, state, membrane = current(ours) * threshold, None, torch.zeros(3, 7)
            whole, _ = ours(x)
            for t in range(len(x)):
                spikes, state = ours.step(x[t], state)
                expected, after = oracle(x[t], membrane)
                membrane = state.u
                assert same_floats(membrane, after), f"{circuit}: membranes differ at step {t}"
                assert same_floats(spikes, expected)
                assert torch.equal(spikes, whole[t])
            assert bool(whole.any())


def test_the_decay_is_the_euler_step_and_not_beta():
    assert float(squat.Lapicque(0.9).decay()) == pytest.approx(0.89464, abs=1e-5)
    assert float(squat.Lapicque(R=4.0, C=5.0).decay()) == pytest.approx(0.95)
    assert float(squat.Lapicque(R=4.0, C=5.0, time_step=2.0).receive(torch.ones(()))) == pytest.approx(0.4)


def test_where_snntorch_differs():
    """A small beta makes its membrane oscillate; a learned one is read once, when the neuron is made."""
    oracle = snntorch.Lapicque(beta=0.2)
    assert oracle(torch.zeros(1, 1), torch.ones(1, 1))[1].item() == pytest.approx(1 + math.log(0.2))
    learning = snntorch.Lapicque(beta=0.9, learn_beta=True)
    learning(torch.ones(1, 1), torch.zeros(1, 1))[1].sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        learning(torch.ones(1, 1), torch.zeros(1, 1))[1].sum().backward()


def test_learned_decay_keeps_the_gain():
    neuron = squat.Lapicque(0.9, learn_beta="clamp")
    with torch.no_grad():
        neuron.beta.fill_(0.25)
    assert float(neuron.receive(torch.ones(()))) == float(squat.Lapicque(0.9).receive(torch.ones(())))
    neuron(torch.ones(4, 2, 3))[1].u.sum().backward()
    assert float(neuron.beta.grad) > 0


def network():
    neuron = squat.Lapicque(R=2.0, C=5.0, threshold=0.05, state=squat.Anchored(4))
    return squat.Sequential(squat.Linear(8, 5, weight=squat.IntWeight(4)), neuron).eval()


def test_the_gain_reaches_scale_and_bias_under_the_integer_rule():
    net, x = network(), (torch.rand(12, 3, 8) < 0.5).float()
    linear, neuron = net.layers
    current = linear(x)
    gained = current._replace(scale=neuron.receive(current.scale), bias=neuron.receive(current.bias))
    plain = squat.LIF(neuron.decay(), 0.05, state=neuron.state_spec, zero_reset="drop_input")
    spikes, state = net(x)
    assert torch.equal(spikes, plain(gained)[0])
    assert torch.equal(state[1].codes, plain(gained)[1].codes)
    assert bool(spikes.any())
    assert not bool(spikes.all())


def test_it_is_lowered_and_proved():
    net, x = network(), (torch.rand(12, 3, 8) < 0.5).float()
    machine = squat.lower(net)
    assert torch.equal(torch.from_numpy(machine.run(x).output).float(), net(x)[0])
    assert prove(net, machine).cuts == 5 * 17 * 15


def test_files_keep_the_circuit(tmp_path):
    net, x = network(), (torch.rand(12, 3, 8) < 0.5).float()
    squat.save(net, tmp_path / "net")
    loaded = squat.load(tmp_path / "net")
    assert loaded.layers[1].config() == net.layers[1].config()
    assert torch.equal(loaded(x)[0], net(x)[0])
    assert repr(loaded.layers[1]).startswith("Lapicque(R=2.0, C=5.0, time_step=1.0, threshold=0.05")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"beta=None, R=None, C=None: expected beta, beta with R or C, or R with C"),
        ({"R": 2.0}, r"beta=None, R=2.0, C=None: expected beta, beta with R or C, or R with C"),
        ({"beta": 0.9, "R": 2.0, "C": 1.0}, r"expected beta, beta with R or C, or R with C"),
        ({"beta": 0.3}, r"beta=0.3: expected a finite number in \[0.367879, 1\]; use LIF\(beta\)"),
        ({"beta": 1.0}, r"beta=1: expected a circuit that leaks, beta < 1; use LIF\(1.0\)"),
        (
            {"R": 1.0, "C": 0.5},
            r"would decay by 1 - time_step/\(R\*C\) = -1, expected at least 0; use",
        ),
        ({"R": 0.0, "C": 0.5}, r"R=0.0: expected a finite number > 0"),
        ({"beta": 0.9, "time_step": 0}, r"time_step=0: expected a finite number > 0"),
    ],
)
def test_circuits_that_say_too_little_or_too_much(arguments, message):
    with pytest.raises(ValueError, match=message):
        squat.Lapicque(**arguments)
