"""Neurons against snnTorch 1.0.0: same input currents, same state each step; membranes and spikes bit for bit."""

from __future__ import annotations

import pytest
import torch

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer

snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")

STEPS, BATCH, NEURONS = 24, 5, 13
SPECS = [None, *(scheme(bits) for scheme in PUBLISHED for bits in (1, 2, 3, 4, 6, 8))]
PER_NEURON = torch.linspace(0.0, 1.0, NEURONS).tolist()
CASES = [(1.0, 0.9), (0.3, 0.5), (2.473, PER_NEURON), (0.3, PER_NEURON)]  # threshold, beta
RESETS = ["subtract", "zero", "none"]


def currents(threshold, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(STEPS, BATCH, NEURONS, generator=generator) * 0.8 + 0.25
    x[5:8] = 0.0  # silence shows the leak alone
    return x * threshold


def theirs(spec, threshold):
    return False if spec is None else snntorch_quantizer(spec, threshold)


def beta_of(beta):
    return torch.tensor(beta) if isinstance(beta, list) else beta


def assert_steps_equal(ours, oracle, x, recurrent):
    """Feed both the same state at every step, and compare what each makes of it."""
    state, spikes, sequence = None, torch.zeros_like(x[0]), []
    membrane = torch.zeros_like(x[0])
    for t in range(len(x)):
        spikes_in, membrane_in = spikes, membrane
        spikes, state = ours.step(x[t], state)
        membrane = state.u
        if recurrent:
            spikes_oracle, membrane_oracle = oracle(x[t], spikes_in, membrane_in)
        else:
            spikes_oracle, membrane_oracle = oracle(x[t], membrane_in)
        assert same_floats(membrane, membrane_oracle), f"membranes differ at step {t}"
        assert same_floats(spikes, spikes_oracle), f"spikes differ at step {t}"
        sequence.append(spikes)
    whole, last = ours(x)
    assert same_floats(whole, torch.stack(sequence))
    assert same_floats(last.u, membrane)


@torch.no_grad()
def compare_leaky(spec, beta, threshold, reset, x=None):
    ours = squat.LIF(beta, threshold, state=spec, reset=reset, arithmetic="float")
    oracle = snntorch.Leaky(
        beta_of(beta), threshold=threshold, reset_mechanism=reset, state_quant=theirs(spec, threshold)
    )
    assert_steps_equal(ours, oracle, currents(threshold) if x is None else x, recurrent=False)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_lif_is_leaky(spec, reset):
    for threshold, beta in CASES:
        compare_leaky(spec, beta, threshold, reset)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spec", [None, squat.ThresholdCentered(4)], ids=str)
def test_lif_is_leaky_on_images(spec, reset):
    generator = torch.Generator().manual_seed(3)
    compare_leaky(spec, 0.8, 1.0, reset, torch.randn(6, 2, 3, 4, 5, generator=generator))


def recurrent_weights(seed=1):
    """Multiples of 1/16: the recurrent sum is exact in any order of summation."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-12, 13, (NEURONS, NEURONS), generator=generator) / 16


@torch.no_grad()
def compare_rleaky(spec, beta, threshold, reset):
    ours = squat.RLIF(NEURONS, NEURONS, beta, threshold, state=spec, reset=reset, arithmetic="float", bias=False)
    oracle = snntorch.RLeaky(
        beta_of(beta),
        linear_features=NEURONS,
        threshold=threshold,
        reset_mechanism=reset,
        state_quant=theirs(spec, threshold),
    )
    ours.weight_in.copy_(torch.eye(NEURONS))  # the input is the input current
    ours.weight_rec.copy_(recurrent_weights())
    oracle.recurrent.weight.copy_(recurrent_weights())
    oracle.recurrent.bias.zero_()
    assert_steps_equal(ours, oracle, currents(threshold, seed=2), recurrent=True)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_rlif_is_rleaky(spec, reset):
    for threshold, beta in CASES[:3]:
        compare_rleaky(spec, beta, threshold, reset)


def test_the_zero_resets_differ_as_in_snntorch():
    """Leaky keeps the input of the step after a spike, RLeaky drops it; each is the default of its neuron."""
    x = torch.full((4, 1, 1), 1.5)
    leaky = snntorch.Leaky(0.5, reset_mechanism="zero")
    rleaky = snntorch.RLeaky(0.5, linear_features=1, reset_mechanism="zero")
    with torch.no_grad():
        rleaky.recurrent.weight.zero_()
        rleaky.recurrent.bias.zero_()
        lif = squat.LIF(0.5, reset="zero")
        rlif = squat.RLIF(1, 1, 0.5, reset="zero", bias=False)
        rlif.weight_in.fill_(1.0)
        rlif.weight_rec.zero_()
        assert_steps_equal(lif, leaky, x, recurrent=False)
        assert_steps_equal(rlif, rleaky, x, recurrent=True)
        assert lif(x)[0].flatten().tolist() == [1, 1, 1, 1]
        assert rlif(x)[0].flatten().tolist() == [1, 0, 1, 0]
        dropping = squat.LIF(0.5, reset="zero", zero_reset="drop_input")
        assert dropping(x)[0].flatten().tolist() == [1, 0, 1, 0]


SURROGATES = [
    (squat.FastSigmoid(25.0), lambda s: s.fast_sigmoid(slope=25.0)),
    (squat.FastSigmoid(5.56), lambda s: s.fast_sigmoid(slope=5.56)),
    (squat.ATan(2.0), lambda s: s.atan(alpha=2.0)),
    (squat.Sigmoid(25.0), lambda s: s.sigmoid(slope=25.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), SURROGATES, ids=lambda value: str(value)[:20])
def test_surrogate_derivatives(ours, theirs):
    x = torch.linspace(-1.5, 1.5, 401, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    theirs(snntorch.surrogate)(leaf).sum().backward()
    torch.testing.assert_close(ours.derivative(x), leaf.grad, rtol=1e-6, atol=1e-9)
    mine = x.clone().requires_grad_()
    spikes = ours(mine)
    spikes.sum().backward()
    assert torch.equal(mine.grad, ours.derivative(x))
    assert torch.equal(spikes, (x > 0).double())


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(4)], ids=str)
def test_input_gradients_of_a_sequence(spec, reset):
    """Backpropagation through time through snnTorch's own graph (reset detached, straight-through quantizer)."""
    x = currents(1.0, seed=4)[:12]
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    ours = squat.LIF(0.9, state=spec, reset=reset, arithmetic="float", surrogate=squat.ATan(2.0))
    mine = x.clone().requires_grad_()
    (ours(mine)[0] * weight).sum().backward()

    oracle = snntorch.Leaky(
        0.9, reset_mechanism=reset, spike_grad=snntorch.surrogate.atan(2.0), state_quant=theirs(spec, 1.0)
    )
    leaf, membrane, loss = x.clone().requires_grad_(), torch.zeros_like(x[0]), torch.zeros(())
    for t in range(len(x)):
        spikes, membrane = oracle(leaf[t], membrane)
        loss = loss + (spikes * weight[t]).sum()
    loss.backward()
    assert float((mine.grad - leaf.grad).abs().max()) <= 1e-5 * float(leaf.grad.abs().max())


class Detached(snntorch.Leaky):
    """Without delay, but with its reset detached as all others of snnTorch are; its own leaves that one attached."""

    def forward(self, x, mem):
        spikes, mem = super().forward(x, mem)
        due = spikes.detach() - self.reset
        return spikes, mem - due * (self.threshold if self.reset_mechanism == "subtract" else mem)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(4)], ids=str)
def test_gradients_without_delay(spec, reset):
    x = currents(1.0, seed=4)[:12]
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    ours = squat.LIF(0.9, state=spec, reset=reset, surrogate=squat.ATan(2.0), reset_delay=False)
    mine = x.clone().requires_grad_()
    (ours(mine)[0] * weight).sum().backward()
    arguments = {"reset_mechanism": reset, "spike_grad": snntorch.surrogate.atan(2.0), "state_quant": theirs(spec, 1.0)}
    gradients = []
    for oracle in (Detached(0.9, **arguments), snntorch.Leaky(0.9, reset_delay=False, **arguments)):
        leaf, membrane, loss = x.clone().requires_grad_(), torch.zeros_like(x[0]), torch.zeros(())
        for t in range(len(x)):
            spikes, membrane = oracle(leaf[t], membrane)
            loss = loss + (spikes * weight[t]).sum()
        loss.backward()
        gradients.append(leaf.grad)
    assert float((mine.grad - gradients[0]).abs().max()) <= 1e-5 * float(gradients[0].abs().max())
    assert float((mine.grad - gradients[1]).abs().max()) > 0.01 * float(gradients[1].abs().max())
