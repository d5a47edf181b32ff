"""Neurons of several states in exported C: in the proof with training, and wrong tables found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import squat
from helpers import louder
from several_neurons import SEVERAL
from squat.export.c99.host import compile_network, compile_networks, find_compiler
from squat.integer.proof import NotEqual, prove
from squat.integer.states import SummedState

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler: cc, gcc or clang")
FEATURES, BITS = 5, (3, 2)


def network(name, initial="zero", reset="subtract", decays=False):
    torch.manual_seed(0)
    neuron, weight = SEVERAL[name], squat.IntWeight(4, granularity="channel")
    beta = torch.linspace(0.3, 0.6, FEATURES) if decays else 0.5
    options = {"beta": beta, "state": squat.Anchored(BITS[0]), "initial": initial, "reset": reset, "threshold": 0.4}
    options[neuron.spec_arguments[0]] = squat.Uniform(BITS[1], 0.5, 1.5)
    if issubclass(neuron, squat.RLIF):
        return louder(squat.Sequential(neuron(8, FEATURES, weight=weight, **options)), 2.0)
    return louder(squat.Sequential(squat.Linear(8, FEATURES, weight=weight), neuron(**options)), 2.0)


def test_proved_with_c_beside():
    cases = {
        f"{name.lower()}{index}": network(name, *arguments)
        for name in SEVERAL
        for index, arguments in enumerate([("zero", "subtract", True), ("code_of_zero", "zero", False)])
    }
    machines = {name: squat.lower(net) for name, net in cases.items()}
    programs = compile_networks(machines)
    for name, net in cases.items():
        certificate = prove(net, machines[name], others={"C": programs[name]})
        assert certificate.implementations[-1] == "C"
        assert certificate.sums > 0


@pytest.mark.parametrize("name", SEVERAL)
def test_a_wrong_entry_in_c_is_found(name):
    net = network(name)
    machine = squat.lower(net)
    layer = machine.layers[0]
    for k, state in enumerate(layer.neurons.states):
        if isinstance(state, SummedState):
            wrong = replace(state, table=state.table + np.int32(2**state.shift))
        else:
            wrong = replace(state, table=np.uint8(2**state.bits - 1) - state.table)
        states = (*layer.neurons.states[:k], wrong, *layer.neurons.states[k + 1 :])
        other = replace(machine, layers=(replace(layer, neurons=replace(layer.neurons, states=states)),))
        with pytest.raises(NotEqual, match=r"layer '0 .*; the C gives code \(") as found:
            prove(net, machine, others={"C": compile_network(other)})
        assert found.value.counterexample.implementation == "the C"
