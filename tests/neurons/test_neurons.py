"""What every neuron promises beyond arithmetic: parameters, buffers, configs, learned decays, half precision."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

import squat
from helpers import NEURONS, SURROGATES
from squat.neurons.base import decode_config
from squat.surrogate import surrogate_from_json

FEATURES = 6
each_neuron = pytest.mark.parametrize("name", NEURONS)
each_spec = pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.Anchored(2)], ids=str)


def sequence(seed=0):
    return torch.randn(7, 3, FEATURES, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.4


@each_neuron
@each_spec
def test_shapes_and_dtypes(name, spec):
    neuron, x = NEURONS[name](FEATURES, state=spec), sequence()
    out, state = neuron(x)
    assert out.shape == x.shape
    assert out.dtype == state.u.dtype == torch.float32
    assert state.u.shape == x.shape[1:]
    assert not getattr(state, "fresh", False)
    assert (state.codes is None) == (spec is None)
    if spec is not None:
        assert state.codes.dtype == torch.uint8
        assert torch.equal(state.u, spec.levels(float(neuron.threshold))[state.codes.long()])
    if name != "LI":
        assert set(out.unique().tolist()) <= {0.0, 1.0}


@each_neuron
@each_spec
def test_config_rebuilds_the_neuron(name, spec):
    made = NEURONS[name](FEATURES, beta=0.85, threshold=0.3, state=spec)
    config = json.loads(json.dumps(made.config()))
    torch.manual_seed(1)
    again = type(made)(**decode_config(config))
    again.load_state_dict(made.state_dict())
    assert again.config() == made.config()
    assert made.config()["threshold"] == 0.3
    assert torch.equal(again(sequence())[0], made(sequence())[0])


@each_neuron
def test_neurons_pickle(name):
    neuron = NEURONS[name](FEATURES, state=squat.ThresholdCentered(4))
    again = pickle.loads(pickle.dumps(neuron))
    assert torch.equal(again(sequence())[0], neuron(sequence())[0])


def test_levels_are_in_the_state_dict():
    spec = squat.ThresholdCentered(4)
    assert torch.equal(squat.LIF(threshold=2.5, state=spec).state_dict()["levels"], spec.levels(2.5))


@each_neuron
def test_specs_are_swapped_in_place(name):
    neuron, x = NEURONS[name](FEATURES), sequence()
    expected = neuron(x)[0]
    neuron.set_state_spec(squat.Uniform(2))
    quantized = NEURONS[name](FEATURES, state=squat.Uniform(2))
    quantized.load_state_dict(neuron.state_dict())
    assert torch.equal(neuron(x)[0], quantized(x)[0])
    neuron.set_state_spec(None)
    assert torch.equal(neuron(x)[0], expected)


def test_learned_decay_is_clamped_in_the_forward_pass():
    neuron, x = squat.LIF(0.9, learn_beta="clamp"), sequence()
    with torch.no_grad():
        neuron.beta.fill_(1.7)
    assert torch.equal(neuron(x)[0], squat.LIF(1.0)(x)[0])


def test_learned_decay_as_a_sigmoid():
    neuron = squat.LIF([0.5, 0.9, 0.99], learn_beta="sigmoid")
    assert neuron.decay().tolist() == pytest.approx([0.5, 0.9, 0.99], abs=1e-6)
    neuron(torch.ones(4, 2, 3))[1].u.sum().backward()
    (logit,) = neuron.parameters()
    assert logit.grad.shape == (3,)
    assert bool((logit.grad != 0).all())


def test_levels_follow_a_learned_threshold():
    spec = squat.ThresholdCentered(4)
    neuron = squat.LIF(1.0, state=spec, learn_threshold=True)
    neuron.threshold = torch.tensor(1.5)
    _, state = neuron(sequence() * 1.5)
    assert torch.equal(state.u, spec.levels(1.5)[state.codes.long()])
    assert torch.equal(neuron.state_dict()["levels"], spec.levels(1.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_levels_and_parameters_wide(dtype):
    neuron = squat.LIF(0.9, 0.3, state=squat.ThresholdCentered(8))
    levels, x = neuron.levels.clone(), sequence().to(dtype)
    expected, _ = neuron(x.float())
    neuron.to(dtype)
    assert all(torch.finfo(kept.dtype).bits >= 32 for kept in (neuron.levels, neuron.beta, neuron.threshold))
    assert torch.equal(neuron.levels, levels)
    out, _ = neuron(x)
    assert out.dtype == dtype
    assert torch.equal(out.float(), expected)


def test_initial_state_is_off_the_grid_by_default():
    spec = squat.ThresholdCentered(2)  # a silent neuron rests at 0.80
    x = torch.full((1, 1, 1), 0.3)
    assert float(squat.LIF(0.9, state=spec)(x)[1].u) == float(spec.levels()[spec.encode(x).long()])
    after = 0.9 * float(spec.levels()[1]) + 0.3
    u = squat.LIF(0.9, state=spec, initial="code_of_zero")(x)[1].u
    assert float(u) == float(spec.levels()[spec.encode(torch.tensor(after)).long()])


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_surrogates_are_value_objects(surrogate):
    assert surrogate_from_json(json.loads(json.dumps(surrogate.to_json()))) == surrogate
    assert hash(surrogate) == hash(type(surrogate)())
    x = torch.linspace(-2, 2, 81, dtype=torch.float64)
    derivative = surrogate.derivative(x)
    assert bool((derivative >= 0).all())
    torch.testing.assert_close(derivative, derivative.flip(0))
    assert derivative.argmax() == 40 or derivative[40] == derivative.max()


def test_surrogate_with_bounded_support_integrates_to_one():
    x = torch.linspace(-4, 4, 80001, dtype=torch.float64)
    for surrogate in (squat.Triangular(1.5), squat.Boxcar(0.75), squat.Sigmoid(25.0)):
        assert float(torch.trapezoid(surrogate.derivative(x), x)) == pytest.approx(1.0, abs=1e-3)
