"""Neurons of several states: each state is observed, fitted, reported and compared by its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import torch

import squat
from squat.ptq import calibrate, compare
from squat.ptq.states import slots_of
from squat.quant.encoder import quantize_state


class _State(NamedTuple):
    u: torch.Tensor
    current: torch.Tensor


class _Cuba(torch.nn.Module):
    """A leaky current and a membrane behind it, with the attributes that `squat.ptq.states` reads."""

    spiking = True
    equations = SimpleNamespace(states=("current", "u"), in_thresholds=(False, True))
    spec_arguments = ("current_state",)

    def __init__(self, current_state="same"):
        super().__init__()
        self.threshold = torch.tensor(2.0)
        self.state_spec, self.current_state = None, current_state

    @property
    def specs(self):
        return (self.state_spec if self.current_state == "same" else self.current_state, self.state_spec)

    def set_state_spec(self, spec):
        self.state_spec = spec

    def forward(self, x, state=None):
        u, current = (torch.zeros_like(x[0]),) * 2 if state is None else state
        spikes = []
        for now in x:
            current = self._on_levels(0.5 * current + now, self.specs[0], 1.0)
            u = self._on_levels(0.9 * u + current - 2.0 * (u > 2.0), self.specs[1], 2.0)
            spikes.append((u > 2.0).float())
        return torch.stack(spikes), _State(u, current)

    @staticmethod
    def _on_levels(values, spec, unit):
        return values if spec is None else quantize_state(values, spec, unit)


X = [torch.randn(30, 8, 6, generator=torch.Generator().manual_seed(0)) * 2]


def test_slots_name_every_state_its_spec_and_its_unit():
    layer = _Cuba(squat.Uniform(2))
    layer.set_state_spec(squat.Anchored(4))
    slots = slots_of(layer)
    assert [(slot.name, slot.spec, slot.unit) for slot in slots.values()] == [
        ("current", squat.Uniform(2), 1.0),
        ("u", squat.Anchored(4), 2.0),
    ]
    assert slots["u"].ends == (-2.0, 3.799999952316284)
    assert list(slots_of(squat.LIF())) == ["u"]


def test_states_that_follow_the_membrane_get_levels_of_their_own():
    quantized, report = calibrate(squat.Sequential(_Cuba()), X, states=squat.Uniform(4), state_range="lloyd_max")
    current, membrane = report.states
    assert [row.kind for row in report.states] == ["_Cuba.current", "_Cuba"]
    assert current.silent_after is None
    assert membrane.silent_after is not None
    assert (quantized[0].current_state, quantized[0].state_spec) == (current.spec, membrane.spec)
    assert current.spec != membrane.spec
    assert current.chosen_high < current.observed_high < membrane.observed_high
    row = compare(squat.Sequential(_Cuba()), quantized, X).layers[0]
    seen = {state.state: state for state in row.states}
    assert seen["current"].spec == current.spec
    assert 0 < seen["current"].saturated_high < 0.05
    assert "_Cuba.current" in str(compare(squat.Sequential(_Cuba()), quantized, X))


def test_cell_and_hidden_state_of_a_spiking_lstm_have_levels_of_their_own():
    torch.manual_seed(0)
    net = squat.Sequential(squat.SpikingLSTM(6, 10, 0.1))
    quantized, report = calibrate(net, X, weights=squat.IntWeight(4), states=squat.Uniform(4), state_range="mse")
    assert [row.kind for row in report.states] == ["SpikingLSTM.cell", "SpikingLSTM"]
    cell, hidden = (row.spec for row in report.states)
    assert (quantized[0].cell_spec, quantized[0].state_spec) == (cell, hidden)
    assert cell != hidden
    state = quantized[0](X[0])[1]
    assert bool(torch.isin(state.cell, cell.levels(0.1)).all())
    assert bool(torch.isin(state.u, hidden.levels(0.1)).all())
    seen = compare(net, quantized, X).layers[0].states
    assert {one.state: one.spec for one in seen} == {"u": hidden, "cell": cell}


def test_published_levels_are_for_all_states_alike_and_own_specs_stay():
    quantized, _ = calibrate(squat.Sequential(_Cuba()), X, states=squat.Uniform(4))
    assert (quantized[0].current_state, quantized[0].specs[0]) == ("same", squat.Uniform(4))
    own = squat.Sequential(_Cuba(squat.Uniform(8, lower_limit=9, upper_limit=9)))
    quantized, _ = calibrate(own, X, states=squat.Uniform(4), state_range="max")
    assert quantized[0].current_state == squat.Uniform(8, lower_limit=9, upper_limit=9)
    floating, _ = calibrate(squat.Sequential(_Cuba(None)), X, states=squat.Uniform(4), state_range="max")
    assert floating[0].current_state is None
