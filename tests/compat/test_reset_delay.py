"""Conversion of neurons without reset delay, to squat and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import squat
from squat.compat import compare, state_quant, to_snntorch
from tutorial_networks import spikes

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")


def theirs(**options):
    options = {"threshold": 0.5, "init_hidden": True, "reset_delay": False, **options}
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Linear(6, 8), snntorch.Leaky(0.9, **options)),
        *(nn.Linear(8, 7), snntorch.RLeaky(0.8, linear_features=7, **options)),
    )
    with torch.no_grad():
        for parameter in net.parameters():  # multiples of 1/16, whose sums are exact
            parameter.copy_((parameter * 2 * 16).round() / 16)
        net[3].recurrent.bias.zero_()
    return net


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("bits", [None, 2, 4])
def test_there_and_back(reset, bits):
    quantizer = False if bits is None else state_quant(bits, threshold=0.5)
    net, x = theirs(reset_mechanism=reset, state_quant=quantizer), spikes(30, 5, 6)
    ours = squat.from_snntorch(net)
    assert [layer.reset_delay for layer in (ours[1], ours[2])] == [False, False]
    assert not any(layer.integer_states for layer in (ours[1], ours[2]))
    assert compare(net, ours, x).differing == 0.0
    again = to_snntorch(ours)
    assert not again[1].reset_delay
    assert not again[3].reset_delay
    assert compare(again, ours, x).differing == 0.0
    assert 0.02 < float(ours(x)[0].detach().mean()) < 0.98


def test_the_delay_matters_here():
    x, net = spikes(30, 5, 6), theirs()
    assert compare(net, squat.from_snntorch(theirs(reset_delay=True)), x).differing > 0.01


def test_synaptic():
    net = nn.Sequential(nn.Linear(6, 8), snntorch.Synaptic(0.8, 0.7, 0.3, init_hidden=True, reset_delay=False))
    ours = squat.from_snntorch(net)
    assert not ours[1].reset_delay
    assert compare(net, ours, spikes(20, 3, 6)).rows[0].given_inputs == 0.0


def test_an_integrator_has_nothing_to_delay():
    class Readout(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.leaky = nn.Linear(6, 2), snntorch.Leaky(0.9, reset_mechanism="none", reset_delay=False)

        def forward(self, x):
            membrane, out = self.leaky.reset_mem(), []
            for step in x:
                _, membrane = self.leaky(self.fc(step), membrane)
                out.append(membrane)
            return torch.stack(out)

    ours = squat.from_snntorch(Readout(), spikes(5, 2, 6))
    assert type(ours[1]) is squat.LI


def test_lapicque_there_and_back():
    net = nn.Sequential(snntorch.Lapicque(R=5.0, C=2.0, time_step=0.5, threshold=0.3, init_hidden=True, output=True))
    ours, x = squat.from_snntorch(net), spikes(40, 3, 6)
    again = to_snntorch(ours)
    assert type(again[0]) is snntorch.Lapicque
    assert compare(again, ours, x).differing == 0.0
    assert 0.02 < float(ours(x)[0].detach().mean()) < 0.98


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(snntorch.RLeaky(0.9, conv2d_channels=2, kernel_size=3, reset_delay=False)),
        nn.Sequential(nn.Linear(3, 4), snntorch.RSynaptic(0.9, 0.8, linear_features=4, reset_delay=False)),
    ],
    ids=["convolution", "RSynaptic"],
)
def test_where_squat_resets_with_delay_only(net):
    with pytest.raises(
        ValueError, match=r"reset_delay=False: expected True; this neuron of squat resets with the step"
    ):
        squat.from_snntorch(net)
