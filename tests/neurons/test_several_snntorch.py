"""Neurons of several states against snnTorch 1.0.0: the same states fed to both at each step, compared bit for bit.

Random configurations: decays alone or per neuron, learned or not, thresholds, both resets and none, float states and
every published quantizer. The first ones run always, all of them with the slow tests.
"""

from __future__ import annotations

import random

import pytest
import torch

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer

snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")

STEPS, BATCH, NEURONS = 14, 4, 11
QUICK, ALL = range(40), range(40, 200)
LEARN = {False: False, True: "clamp"}


def configuration(seed):
    """Random arguments that both sides share."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    per_neuron = rng.random() < 0.5
    decays = torch.rand((3, NEURONS), generator=generator)
    scheme = rng.choice([None, *PUBLISHED])
    case = {
        "alpha": decays[0] if per_neuron else decays[0, 0],
        "beta": decays[1] if per_neuron else decays[1, 0],
        "threshold": float(torch.rand(1, generator=generator) * 2 + 0.1),
        "spec": None if scheme is None else scheme(rng.choice((1, 2, 3, 4, 6, 8))),
        "reset": rng.choice(["subtract", "zero", "none"]),
        "learn": rng.choice([False, True]),
        "delayed": rng.choice([False, True]),
    }
    x = (torch.randn(STEPS, BATCH, NEURONS, generator=generator) * 0.8 + 0.2) * case["threshold"]
    x[4:6] = 0.0  # silence shows the leaks alone
    weights = torch.randint(-12, 13, (NEURONS, NEURONS), generator=generator) / 16  # exact in any order of summation
    return case, x, weights


def theirs(case, **arguments):
    """Arguments of snnTorch's neurons."""
    quantizer = False if case["spec"] is None else snntorch_quantizer(case["spec"], case["threshold"])
    return {
        "threshold": case["threshold"],
        "reset_mechanism": case["reset"],
        "state_quant": quantizer,
        "learn_beta": case["learn"],
        "learn_alpha": case["learn"],
        "learn_threshold": case["learn"],
        **arguments,
    }


def ours(case, **arguments):
    learn = LEARN[case["learn"]]
    return {
        "threshold": case["threshold"],
        "reset": case["reset"],
        "state": case["spec"],
        "learn_beta": learn,
        "learn_alpha": learn,
        "learn_threshold": case["learn"],
        "as_published": True,
        **arguments,
    }


def cuba(case, weights):
    mine = squat.CubaLIF(case["alpha"], case["beta"], **ours(case, reset_delay=case["delayed"]))
    oracle = snntorch.Synaptic(case["alpha"].clone(), case["beta"].clone(), **theirs(case, reset_delay=case["delayed"]))

    def step(x, spikes, state):
        return oracle(x, state.current, state.u)

    return mine, step, ("current", "u")


def rcuba(case, weights):
    """The input is the input current. Without delay snnTorch's own reset fails here."""
    mine = squat.RCubaLIF(NEURONS, NEURONS, case["alpha"], case["beta"], bias=False, **ours(case))
    oracle = snntorch.RSynaptic(case["alpha"].clone(), case["beta"].clone(), linear_features=NEURONS, **theirs(case))
    mine.weight_in.copy_(torch.eye(NEURONS))
    mine.weight_rec.copy_(weights)
    oracle.recurrent.weight.copy_(weights)
    oracle.recurrent.bias.zero_()

    def step(x, spikes, state):
        return oracle(x, spikes, state.current, state.u)

    return mine, step, ("current", "u")


def alpha(case, weights):
    slower, faster = torch.maximum(case["alpha"], case["beta"]), torch.minimum(case["alpha"], case["beta"])
    case["alpha"], case["beta"] = slower * 0.8 + 0.19, faster * 0.8 + 0.05
    mine = squat.AlphaLIF(case["alpha"], case["beta"], **ours(case))
    arguments = theirs(case, learn_alpha=False)  # which snnTorch fails to make
    oracle = snntorch.Alpha(case["alpha"].clone(), case["beta"].clone(), **arguments)

    def step(x, spikes, state):
        return oracle(x, state.excitatory, state.inhibitory, state.u)

    return mine, step, ("excitatory", "inhibitory", "u")


MAKERS = {"CubaLIF": cuba, "RCubaLIF": rcuba, "AlphaLIF": alpha}
each_neuron = pytest.mark.parametrize("name", MAKERS)


@torch.no_grad()
def assert_equal(name, seed):
    case, x, weights = configuration(seed)
    mine, step, fields = MAKERS[name](case, weights)
    whole, last = mine(x)
    rest = torch.zeros_like(x[0])
    spikes, sequence, state = rest, [], mine.state_type(*[rest] * len(fields), fresh=True)
    for t in range(STEPS):
        expected = step(x[t], spikes, state)
        spikes, state = mine.step(x[t], state)
        assert same_floats(spikes, expected[0]), f"spikes differ at step {t}: {case}"
        for field, value in zip(fields, expected[1:], strict=True):
            assert same_floats(getattr(state, field), value), f"{field} differs at step {t}: {case}"
        if case["spec"] is not None and mine.reset_delay:
            levels = case["spec"].levels(case["threshold"])
            assert same_floats(levels[state.codes.int()], state.u)
        sequence.append(spikes)
    assert same_floats(whole, torch.stack(sequence))
    assert all(same_floats(getattr(last, field), getattr(state, field)) for field in fields)
    return float(whole.mean())


@each_neuron
def test_as_published_it_is_snntorchs(name):
    rates = [assert_equal(name, seed) for seed in QUICK]
    assert sum(0.02 < rate < 0.98 for rate in rates) > len(rates) // 2, "too many silent or saturated configurations"


@pytest.mark.slow
@each_neuron
def test_as_published_it_is_snntorchs_in_many_more_configurations(name):
    for seed in ALL:
        assert_equal(name, seed)


GRADIENTS = {"CubaLIF": (squat.CubaLIF, snntorch.Synaptic), "AlphaLIF": (squat.AlphaLIF, snntorch.Alpha)}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(4)], ids=str)
def test_gradients_are_those_of_snntorchs_graph(name, reset, spec):
    """Inputs and learned decays, through time: reset detached, straight-through quantizers."""
    neuron, oracle_class = GRADIENTS[name]
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(12, 4, NEURONS, generator=generator) * 0.4 + 0.2
    weight = torch.rand(x.shape, generator=generator) + 0.1
    shared = {"learn_alpha": name != "AlphaLIF", "learn_beta": True}  # snnTorch fails to make the other
    mine = neuron(
        0.8, 0.7, state=spec, reset=reset, surrogate=squat.ATan(2.0), as_published=True,
        **{argument: LEARN[learned] for argument, learned in shared.items()},
    )  # fmt: skip
    quantizer = False if spec is None else snntorch_quantizer(spec, 1.0)
    atan = snntorch.surrogate.atan(2.0)
    oracle = oracle_class(0.8, 0.7, reset_mechanism=reset, spike_grad=atan, state_quant=quantizer, **shared)
    my_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    (mine(my_x)[0] * weight).sum().backward()
    states, loss = [torch.zeros_like(x[0]) for _ in mine.equations.states], torch.zeros(())
    for t in range(len(x)):
        spikes, *states = oracle(their_x[t], *states)
        loss = loss + (spikes * weight[t]).sum()
    loss.backward()
    pairs = [(my_x.grad, their_x.grad), (mine.beta.grad, oracle.beta.grad)]
    pairs += [(mine.alpha.grad, oracle.alpha.grad)] if shared["learn_alpha"] else []
    for gradient, expected in pairs:
        assert float((gradient - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
