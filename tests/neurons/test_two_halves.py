"""A sequence run in two halves, or step by step, with the carried state equals the whole; so do its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat
from plain_neuron import largest_error
from squat.layers import Current
from squat.quant.spec import STATE_SPECS

BATCH, INPUTS, NEURONS = 3, 10, 9
SPEC = st.one_of(
    st.none(),
    st.builds(lambda name, bits: STATE_SPECS[name](bits), st.sampled_from(sorted(STATE_SPECS)), st.integers(1, 8)),
)
STATE_SPEC = SPEC.filter(lambda spec: spec is not None)
RESET = st.sampled_from(["subtract", "zero", "none"])
SIZES = st.integers(2, 9).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(1, steps - 1)))


def tensor(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.3


def assert_halves_equal(neuron, x, cut):
    whole, last = neuron(x)
    first, state = neuron(_part(x, slice(None, cut)))
    second, last_of_two = neuron(_part(x, slice(cut, None)), state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert_states_equal(last_of_two, last)


def _part(x, steps):
    return x._replace(z=x.z[steps]) if isinstance(x, Current) else x[steps]


def assert_states_equal(left, right):
    assert torch.equal(left.u, right.u)
    assert left.fresh == right.fresh
    assert (left.codes is None) == (right.codes is None)
    assert left.codes is None or torch.equal(left.codes, right.codes)


@given(spec=SPEC, reset=RESET, sizes=SIZES, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_float_currents(spec, reset, sizes, seed):
    steps, cut = sizes
    with torch.no_grad():
        assert_halves_equal(squat.LIF(0.9, state=spec, reset=reset), tensor(seed, steps, BATCH, NEURONS), cut)


@given(spec=STATE_SPEC, reset=RESET, sizes=SIZES, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_integer_currents(spec, reset, sizes, seed):
    steps, cut = sizes
    z = (tensor(seed, steps, BATCH, NEURONS) * 40).round()
    current = Current(z, torch.tensor(0.02), tensor(seed, NEURONS) * 0.1, 400)
    with torch.no_grad():
        assert_halves_equal(squat.LIF(0.9, state=spec, reset=reset), current, cut)


@given(spec=SPEC, reset=RESET, bits=st.integers(2, 8), sizes=SIZES, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_recurrent_integer_weights(spec, reset, bits, sizes, seed):
    steps, cut = sizes
    torch.manual_seed(seed)
    neuron = squat.RLIF(INPUTS, NEURONS, 0.9, 0.4, weight=squat.IntWeight(bits), state=spec, reset=reset).eval()
    spikes = (torch.rand(steps, BATCH, INPUTS) < 0.4).float()
    with torch.no_grad():
        assert_halves_equal(neuron, spikes, cut)


@given(spec=SPEC, sizes=SIZES, seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_membrane_readout(spec, sizes, seed):
    steps, cut = sizes
    with torch.no_grad():
        assert_halves_equal(squat.LI(0.9, state=spec), tensor(seed, steps, BATCH, NEURONS), cut)


@given(spec=SPEC, sizes=SIZES, seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_a_whole_network(spec, sizes, seed):
    steps, cut = sizes
    torch.manual_seed(seed)
    weight = squat.IntWeight(4)
    net = squat.Sequential(
        squat.Linear(INPUTS, NEURONS, weight=weight),
        squat.LIF(0.9, 0.3, state=spec),
        squat.RLIF(NEURONS, NEURONS, 0.8, 0.3, weight=weight, state=spec),
        squat.Linear(NEURONS, 5, weight=weight),
        squat.LIF(0.9, 0.3, state=spec),
    ).eval()
    x = (torch.rand(steps, BATCH, INPUTS) < 0.5).float()
    with torch.no_grad():
        whole, _ = net(x)
        first, state = net(x[:cut])
        second, _ = net(x[cut:], state)
    assert torch.equal(torch.cat([first, second]), whole)


@pytest.mark.parametrize("spec", [None, squat.ThresholdCentered(4), squat.Anchored(2)], ids=str)
def test_streaming_equals_the_sequence(spec):
    x, neuron = tensor(0, 7, BATCH, NEURONS), squat.LIF(0.9, state=spec)
    whole, last = neuron(x)
    state, steps = None, []
    for step in x:
        spikes, state = neuron.step(step, state)
        assert spikes.shape == step.shape
        steps.append(spikes)
    assert torch.equal(torch.stack(steps), whole)
    assert_states_equal(state, last)


@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(8)], ids=str)
@pytest.mark.parametrize("recurrent", [False, True], ids=["lif", "rlif"])
def test_gradients_flow_through_the_carried_state(spec, recurrent):
    torch.manual_seed(0)
    arguments = {"learn_beta": "clamp", "learn_threshold": True, "state": spec, "surrogate": squat.FastSigmoid(5.0)}
    if recurrent:
        neuron = squat.RLIF(NEURONS, NEURONS, 0.9, 0.5, **arguments).double()
    else:
        neuron = squat.LIF(0.9, 0.5, **arguments).double()
    x = tensor(1, 8, BATCH, NEURONS).double()
    weight = tensor(2, 8, BATCH, NEURONS).double()

    def gradients(cut):
        leaf = x.clone().requires_grad_()
        neuron.zero_grad()
        if cut:
            first, state = neuron(leaf[:cut])
            second, state = neuron(leaf[cut:], state)
            spikes = torch.cat([first, second])
        else:
            spikes, state = neuron(leaf)
        ((spikes * weight).sum() + state.u.square().sum()).backward()
        return [leaf.grad, *(parameter.grad for parameter in neuron.parameters())]

    expected = gradients(0)
    assert float(expected[0][:3].abs().max()) > 0
    for cut in (1, 5):
        for ours, theirs in zip(gradients(cut), expected, strict=True):
            assert largest_error(ours, theirs) <= 1e-10


def test_detached_state_stops_the_gradient():
    neuron, x = squat.LIF(0.9), tensor(0, 6, BATCH, NEURONS).requires_grad_()
    _, state = neuron(x[:3])
    spikes, _ = neuron(x[3:], state._replace(u=state.u.detach()))
    spikes.sum().backward()
    assert not x.grad[:3].any()
    assert x.grad[3:].any()
