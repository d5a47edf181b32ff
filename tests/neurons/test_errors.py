"""Bad arguments and bad inputs of the neurons: one sentence that names what came and what is accepted."""

from __future__ import annotations

import math

import pytest
import torch

import squat
from helpers import BACKENDS, DEVICES
from squat.layers import Current

NEURONS = {
    "LIF": squat.LIF,
    "LI": squat.LI,
    "RLIF": lambda *arguments, **keywords: squat.RLIF(5, 5, *arguments, **keywords),
}
each_neuron = pytest.mark.parametrize("make", NEURONS.values(), ids=NEURONS)
each_state = pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(2)], ids=str)


@each_neuron
@pytest.mark.parametrize("threshold", [0.0, 0, -1.0, math.nan, math.inf])
def test_threshold_that_is_not_positive(make, threshold):
    with pytest.raises(ValueError, match=r"threshold=.*expected a finite number > 0"):
        make(threshold=threshold)


@each_neuron
@pytest.mark.parametrize("threshold", ["1", None, True])
def test_threshold_that_is_no_number(make, threshold):
    with pytest.raises(TypeError, match=r"threshold=.*expected a finite number > 0"):
        make(threshold=threshold)


@each_neuron
@pytest.mark.parametrize("beta", [-0.1, 1.01, 2, math.nan, math.inf])
def test_beta_outside_its_range(make, beta):
    with pytest.raises(ValueError, match=r"beta=.*expected a finite number in \[0, 1\]"):
        make(beta)


@each_neuron
@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_one_beta_of_many_outside_its_range(make, bad):
    with pytest.raises(ValueError, match=r"beta: holds .*in \[0, 1\]"):
        make([0.9, 0.5, bad, 0.1, 0.2])


def test_wrong_number_of_betas():
    with pytest.raises(ValueError, match=r"beta: 3 values of shape \(3,\) for an input of 5 neurons \(5,\)"):
        squat.LIF([0.9, 0.8, 0.7])(torch.zeros(2, 2, 5))
    with pytest.raises(ValueError, match=r"beta: 3 values of shape \(3,\) for an input of 5 neurons \(5,\)"):
        squat.RLIF(4, 5, [0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("argument", "value", "accepted"),
    [
        ("reset", "soft", "'subtract', 'zero', 'none'"),
        ("zero_reset", "drop", "'keep_input', 'drop_input'"),
        ("ste", "tanh", "'identity', 'clipped'"),
        ("arithmetic", "int", "'integer', 'float'"),
        ("initial", "random", "'zero', 'code_of_zero'"),
        ("learn_beta", "tanh", "'clamp', 'sigmoid'"),
    ],
)
def test_unknown_choice(argument, value, accepted):
    with pytest.raises(ValueError, match=rf"{argument}='{value}': expected one of .*{accepted}"):
        squat.LIF(**{argument: value})


@each_neuron
def test_state_that_is_no_spec(make):
    with pytest.raises(TypeError, match=r"state=4: expected a state spec such as Uniform\(4\)"):
        make(state=4)
    with pytest.raises(TypeError, match=r"state=.*expected a state spec"):
        make(state=squat.IntWeight(4))


def test_weight_that_is_no_spec():
    with pytest.raises(TypeError, match=r"weight=4: expected an IntWeight"):
        squat.RLIF(4, 5, weight=4)
    with pytest.raises(ValueError, match=r"bits=1: expected an integer from 2 to 8"):
        squat.RLIF(4, 5, weight=squat.IntWeight(1))


@each_neuron
@each_state
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("backend", BACKENDS)
def test_non_finite_input(make, spec, value, backend):
    x = torch.zeros(4, 3, 5)
    x[2, 1, 3] = value
    neuron = make(state=spec)
    with squat.ops.backend(backend), pytest.raises(ValueError, match=r"NaN or infinity"):
        neuron.to(DEVICES[backend])(x.to(DEVICES[backend]))


def test_non_finite_input_of_a_network():
    net = squat.Sequential(squat.Linear(5, 4, weight=squat.IntWeight(4)), squat.LIF(state=squat.Uniform(4)))
    x = torch.zeros(4, 3, 5)
    x[3, 2, 4] = math.nan
    with pytest.raises(ValueError, match=r"x contains NaN or infinity"):
        net(x)


NETWORKS = {**NEURONS, "Sequential": lambda **keywords: squat.Sequential(squat.Linear(5, 4), squat.LIF(**keywords))}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (torch.zeros(5), ValueError, r"x: 1 axes \(5,\), expected at least 3 axes"),
        (torch.zeros(3, 5), ValueError, r"x: 2 axes \(3, 5\), expected at least 3 axes"),
        (torch.zeros(0, 3, 5), ValueError, r"x: 0 time steps in shape \(0, 3, 5\)"),
        (torch.zeros(4, 0, 5), ValueError, r"x: 0 samples in shape \(4, 0, 5\)"),
        (torch.zeros(4, 3, 5, dtype=torch.int64), TypeError, r"x: dtype torch.int64, expected float32"),
        (torch.zeros(4, 3, 5, dtype=torch.complex64), TypeError, r"x: dtype torch.complex64, expected float32"),
        ([[[0.0]]], TypeError, r"x: a list, expected a tensor"),
    ],
    ids=["one axis", "two axes", "no step", "empty batch", "integers", "complex", "list"],
)
def test_wrong_axes_or_dtype(make, x, error, text):
    with pytest.raises(error, match=text):
        make(state=squat.Uniform(4))(x)


def test_wrong_features():
    with pytest.raises(ValueError, match=r"expected \[T, B, in_features\] with in_features=5"):
        squat.RLIF(5, 4)(torch.zeros(3, 2, 6))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.5, 101.0, -101.0, math.nan, math.inf])
def test_sums_that_are_no_integers_within_their_bound(value, backend):
    z = torch.zeros(4, 3, 5, device=DEVICES[backend])
    z[2, 1, 3] = value
    with squat.ops.backend(backend), pytest.raises(ValueError, match=r"not integers of at most 100.*integer-valued"):
        squat.LIF(state=squat.Uniform(4)).to(z.device)(Current(z, torch.tensor(0.1, device=z.device), None, 100))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.5, math.nan])
def test_recurrent_input_that_is_no_integer(value, backend):
    torch.manual_seed(0)
    neuron = squat.RLIF(5, 4, weight=squat.IntWeight(4), state=squat.Uniform(4))
    x = torch.zeros(4, 3, 5)
    x[2, 1, 3] = value
    with squat.ops.backend(backend), pytest.raises(ValueError, match=r"x: got fractions|reach from|NaN or infinity"):
        neuron.to(DEVICES[backend])(x.to(DEVICES[backend]))


def test_foreign_state():
    x, quantized, plain = torch.zeros(3, 2, 5), squat.LIF(state=squat.Uniform(4)), squat.LIF()
    _, state = quantized(x)
    _, float_state = plain(x)
    with pytest.raises(ValueError, match=r"state: codes are missing"):
        quantized(x, float_state)
    with pytest.raises(ValueError, match=r"state: codes are given"):
        plain(x, state)
    with pytest.raises(ValueError, match=r"state: membrane of shape \(2, 5\), expected \(4, 5\)"):
        quantized(torch.zeros(3, 4, 5), state)
    with pytest.raises(ValueError, match=r"state: code 200, expected codes below 16"):
        quantized(x, state._replace(codes=torch.full((2, 5), 200, dtype=torch.uint8)))
    with pytest.raises(ValueError, match=r"state: codes of dtype torch.int64"):
        quantized(x, state._replace(codes=state.codes.long()))
    with pytest.raises(TypeError, match=r"(?s)state=.*expected a LIFState"):
        quantized(x, (state.u,))
    net = squat.Sequential(quantized, plain)
    with pytest.raises(ValueError, match=r"states: 1 entries, expected 2"):
        net(x, (state,))
    with pytest.raises(ValueError, match=r"layers: none given"):
        squat.Sequential()
    with pytest.raises(TypeError, match=r"layers\[0\]=.*expected a layer or neuron"):
        squat.Sequential(torch.relu)


def test_thresholds_that_were_written_over():
    neuron = squat.LIF()
    neuron.threshold.fill_(-0.25)
    with pytest.raises(ValueError, match=r"threshold=-0.25 after training: expected a number > 0"):
        neuron(torch.zeros(2, 2, 3))
    neuron = squat.LIF(learn_threshold=True)
    with pytest.raises(ValueError, match=r"threshold=-0.25: expected a finite number > 0"):
        neuron.threshold = -0.25
    with torch.no_grad():
        neuron.log_threshold.fill_(math.nan)
    with pytest.raises(ValueError, match=r"threshold=nan after training: expected a number > 0"):
        neuron(torch.zeros(2, 2, 3))


@pytest.mark.parametrize("make", [squat.FastSigmoid, squat.ATan, squat.Sigmoid, squat.Triangular, squat.Boxcar])
def test_surrogate_shape(make):
    (field,) = make.__dataclass_fields__
    with pytest.raises(ValueError, match=rf"{field}=0.0: expected a finite number > 0"):
        make(0.0)
    with pytest.raises(TypeError, match=r"surrogate=.*expected a surrogate such as FastSigmoid"):
        squat.LIF(surrogate=make)


@pytest.mark.parametrize("threshold", [1e-46, 3e38])
def test_thresholds_whose_levels_do_not_fit_float32(threshold):
    with pytest.raises(ValueError, match=r"expected 1e-30 to 1e30, so that its levels fit float32"):
        squat.LIF(threshold=threshold, state=squat.Uniform(4))


def test_recurrent_inputs_may_not_use_the_room_of_the_recurrence():
    layer = squat.RLIF(3, 50, weight=squat.IntWeight(4), state=squat.Uniform(4))
    with pytest.raises(
        ValueError, match=r"x: values from 40 to 40, expected integers from 0 to 1.*; raise input_max to 40"
    ):
        layer(torch.full((2, 1, 3), 40.0))


def test_an_input_worth_many_units_stays_exact_or_is_refused():
    layer = squat.RLIF(2000, 4, weight=squat.IntWeight(8), state=squat.Uniform(4), input_scale=255, input_max=255)
    with pytest.raises(ValueError, match=r"an integer sum .* does not fit float32"):
        layer(torch.full((2, 1, 2000), 255.0) * (layer.weight_in[0].detach() > 0) - 0.0)
