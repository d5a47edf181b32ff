"""Neurons against snnTorch 1.0.0 in random configurations, step-synchronised: states and spikes bit for bit.

Every seed draws a neuron, a published quantizer or none, threshold, decay, reset, learned parameters and weights. The
suite runs a few of each; `SQUAT_CONFIGURATIONS=50` (of each neuron) runs more. Of neurons without reset delay the slow
tests run 200.
"""

from __future__ import annotations

import os
import random

import pytest
import torch

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer
from plain_options import stored

snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")

COUNT = int(os.environ.get("SQUAT_CONFIGURATIONS", "6"))
STEPS, BATCH, NEURONS, IMAGE = 16, 3, 11, (3, 4, 5)
BASES = (None, 0.4, 0.8)


class Draw:
    """Arguments of one configuration, the same for both sides."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.learned = self.random.random() < 0.3
        # Multiples of 1/64, so that a learned threshold in float32 is the number that the quantizer was made for.
        self.threshold = self.random.randint(6, 150) / 64
        self.reset = self.random.choice(["subtract", "zero", "none"])
        self.spec = self.draw_spec()
        self.delay = {}

    def draw_spec(self):
        scheme = self.random.choice([None, *PUBLISHED])
        if scheme is None:
            return None
        arguments = {"lower_limit": self.random.choice([0.0, 0.3]), "upper_limit": self.random.choice([0.1, 0.2, 1.0])}
        if scheme is not squat.Uniform:
            arguments["base"] = self.random.choice(BASES)
        try:
            spec = scheme(self.random.randint(1, 8), **arguments)
        except ValueError:  # levels none of which can fire, or be silent
            return self.draw_spec()
        # Steep bases at many bits: sums of ever smaller steps, which rounding leaves out of order.
        in_order = bool((spec.levels(self.threshold).diff() >= 0).all())
        return spec if in_order else self.draw_spec()

    def values(self, *shape):
        return torch.randn(shape, generator=self.torch)

    def beta(self, neurons=NEURONS):
        if self.random.random() < 0.5:
            return round(self.random.uniform(0.0, 1.0), 3)
        return torch.rand(neurons, generator=self.torch)

    def theirs(self):
        quantizer = False if self.spec is None else snntorch_quantizer(self.spec, self.threshold)
        return {
            "threshold": self.threshold, "reset_mechanism": self.reset, "state_quant": quantizer,
            "learn_threshold": self.learned, **self.delay,
        }  # fmt: skip

    def ours(self):
        arguments = {"state": self.spec, "reset": self.reset, "learn_threshold": self.learned}
        return {"threshold": self.threshold, **arguments, **self.delay}

    def learned_beta(self):
        """`learn_beta` of ours, of snnTorch's."""
        return {"learn_beta": "clamp" if self.learned else False}, {"learn_beta": self.learned}


def leaky(draw):
    beta, (ours, theirs) = draw.beta(), draw.learned_beta()
    neuron = squat.LIF(beta, **draw.ours(), **ours)
    return neuron, snntorch.Leaky(beta, **draw.theirs(), **theirs), 1, draw.values(STEPS, BATCH, NEURONS)


class LapicqueAtOnce(snntorch.Lapicque):
    """snnTorch's Lapicque, which has no `reset_delay`, with the lines of its Leaky that come with it."""

    def __init__(self, *, reset_delay=True, **arguments):
        super().__init__(**arguments)
        self.reset_delay = reset_delay

    def forward(self, x, mem):
        spikes, mem = super().forward(x, mem)
        drop = {"subtract": self.threshold, "zero": mem, "none": 0.0}[self.reset_mechanism]
        return spikes, mem if self.reset_delay else mem - (spikes - self.reset) * drop


def lapicque(draw):
    circuits = [
        {"beta": round(draw.random.uniform(0.4, 0.99), 3)},
        {"beta": round(draw.random.uniform(0.4, 0.99), 3), "R": round(draw.random.uniform(0.1, 9.0), 2)},
        {"beta": round(draw.random.uniform(0.4, 0.99), 3), "C": round(draw.random.uniform(0.1, 9.0), 2)},
        {"R": round(draw.random.uniform(1.0, 9.0), 2), "C": round(draw.random.uniform(1.0, 9.0), 2)},
    ]
    circuit = draw.random.choice(circuits) | {"time_step": draw.random.choice([1, 0.5, 0.1])}
    neuron = squat.Lapicque(**circuit, **draw.ours())
    x = draw.values(STEPS, BATCH, NEURONS) / float(neuron.receive(torch.ones(())))
    return neuron, LapicqueAtOnce(**circuit, **draw.theirs()), 1, x


def recurrent(draw, one_to_one=False):
    beta, (ours, theirs) = draw.beta(), draw.learned_beta()
    neuron = squat.RLIF(
        NEURONS, NEURONS, beta, bias=False, recurrence="one_to_one" if one_to_one else "full", **draw.ours(), **ours
    )  # fmt: skip
    # Multiples of 1/16: the recurrent sum is exact in any order of summation.
    weights = torch.randint(-12, 13, neuron.weight_rec.shape, generator=draw.torch) / 16
    neuron.weight_in.copy_(torch.eye(NEURONS))  # the input is the input current
    neuron.weight_rec.copy_(weights)
    arguments = {"all_to_all": False, "V": weights[:, 0]} if one_to_one else {"linear_features": NEURONS}
    oracle = snntorch.RLeaky(beta, **arguments, **draw.theirs(), **theirs)
    if not one_to_one:
        oracle.recurrent.weight.copy_(weights)
        oracle.recurrent.bias.zero_()
    return neuron, oracle, 2, draw.values(STEPS, BATCH, NEURONS)


def one_to_one(draw):
    return recurrent(draw, one_to_one=True)


def convolutional(draw):
    kernel, (ours, theirs) = draw.random.choice([1, 3, (3, 1), (1, 5)]), draw.learned_beta()
    beta = round(draw.random.uniform(0.0, 1.0), 3)
    neuron = squat.ConvRLIF(IMAGE[0], kernel, beta, **draw.ours(), **ours)
    oracle = snntorch.RLeaky(beta, conv2d_channels=IMAGE[0], kernel_size=kernel, **draw.theirs(), **theirs)
    neuron.weight_rec.copy_(draw.values(*neuron.weight_rec.shape) * 0.3)
    oracle.recurrent.load_state_dict({"weight": neuron.weight_rec, "bias": neuron.bias})
    return neuron, oracle, 2, draw.values(STEPS, BATCH, *IMAGE)


def lstm(draw):
    """Equal sizes, where snnTorch keeps its states; thresholds within the reach of a hidden state."""
    draw.threshold = draw.random.randint(3, 50) / 64
    draw.spec = draw.draw_spec()
    bias = draw.random.random() < 0.7
    neuron = squat.SpikingLSTM(NEURONS, NEURONS, bias=bias, **draw.ours())
    oracle = snntorch.SLSTM(NEURONS, NEURONS, bias, **draw.theirs())
    names = {"weight_ih": "weight_in", "weight_hh": "weight_rec", "bias_ih": "bias_in", "bias_hh": "bias_rec"}
    for theirs, ours in names.items():
        if getattr(neuron, ours) is not None:
            getattr(oracle.lstm_cell, theirs).copy_(getattr(neuron, ours).mul_(4.0))
    return neuron, oracle, 3, draw.values(STEPS, BATCH, NEURONS) * 2


def without_delay(maker):
    def made(draw):
        draw.delay = {"reset_delay": False}
        return maker(draw)

    made.__name__ = f"{maker.__name__}_without_delay"
    return made


AT_ONCE = tuple(without_delay(maker) for maker in (leaky, lapicque, recurrent, one_to_one))
MAKERS = (leaky, lapicque, recurrent, one_to_one, convolutional, lstm, *AT_ONCE)


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_states_and_spikes_are_snntorchs(maker, seed):
    compare(maker, seed)


@pytest.mark.slow
@pytest.mark.parametrize("maker", AT_ONCE, ids=lambda maker: maker.__name__)
def test_without_delay_in_many_more_configurations(maker):
    rates = [compare(maker, seed) for seed in range(COUNT, 200)]
    assert sum(0.02 < rate < 0.98 for rate in rates) > len(rates) // 2, "too many silent or saturated configurations"


@torch.no_grad()
def compare(maker, seed):
    """The same states fed to both at each step; the share of spikes."""
    draw = Draw(1000 * MAKERS.index(maker) + seed)
    torch.manual_seed(seed)
    neuron, oracle, states, x = maker(draw)
    if maker is not lstm:
        x = (x * 0.8 + 0.25) * draw.threshold
    zeros = torch.zeros(BATCH, *x.shape[2:])
    state, before, spikes_before = None, [zeros] * states, zeros
    whole, last = neuron(x)
    for t in range(STEPS):
        spikes, state = neuron.step(x[t], state)
        fed = {1: before[-1:], 2: [spikes_before, before[-1]], 3: before[-2:]}[states]
        expected, *after = oracle(x[t].clone(), *fed)
        membrane = stored(neuron, state) if draw.delay else state.u
        before = [state.cell, membrane] if maker is lstm else [zeros, membrane]
        spikes_before = spikes
        assert same_floats(spikes, expected), f"spikes differ at step {t}: {neuron}"
        assert same_floats(membrane, after[-1]), f"membranes differ at step {t}: {neuron}"
        if maker is lstm:
            assert same_floats(state.cell, after[0]), f"cell states differ at step {t}: {neuron}"
        assert torch.equal(spikes, whole[t])
    assert torch.equal(last.u, state.u)
    return float(whole.mean())
