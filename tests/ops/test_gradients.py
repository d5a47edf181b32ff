"""Gradients of the compiled loops equal autograd: through the reference, and through an independent plain neuron."""

from __future__ import annotations

import pytest
import torch

import squat
from plain_neuron import Plain, largest_error
from squat.ops.lif import LoopConfig, lif

STEPS, BATCH, NEURONS = 11, 4, 7
SPECS = [
    None,
    squat.Uniform(4),
    squat.ThresholdCentered(2),
    squat.ZeroCentered(3),
    squat.Anchored(4),
    squat.Anchored(8),
]
RESETS = [("subtract", False), ("zero", False), ("zero", True), ("none", False)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
RECURRENT_SCALE = 0.125


def leaves(dtype, recurrent, per_neuron, seed=0):
    """Every differentiable input as a leaf tensor; float32 values in both precisions."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        "x": torch.randn(STEPS, BATCH, NEURONS, generator=generator) * 0.8 + 0.3,
        "beta": torch.rand(NEURONS, generator=generator) * 0.5 + 0.5 if per_neuron else torch.tensor(0.9),
        "threshold": torch.tensor(0.8),
        "u0": torch.randn(BATCH, NEURONS, generator=generator),
    }
    if recurrent:
        values["w_rec"] = torch.randint(-3, 4, (NEURONS, NEURONS), generator=generator) * RECURRENT_SCALE
    return {name: value.to(dtype).requires_grad_() for name, value in values.items()}


def initial(spec, inputs, fresh):
    """Initial membrane and codes of a carried state: quantized membranes are levels."""
    if fresh:
        return None, None
    u0 = inputs["u0"]
    if spec is None:
        return u0, None
    theta = float(inputs["threshold"].detach())
    codes = spec.encode(u0.detach(), theta)
    return spec.levels(theta).to(u0.dtype)[codes.long()] + (u0 - u0.detach()), codes


def objective(out, last, dtype):
    """A loss that reads every output spike and the final state."""
    generator = torch.Generator().manual_seed(9)
    # Weights of one sign: a sum over all values, such as the threshold's gradient, must not be left by cancellation.
    by_output = 0.1 + torch.rand(out.shape, generator=generator, dtype=torch.float64).to(dtype)
    by_state = 0.1 + torch.rand(last.shape, generator=generator, dtype=torch.float64).to(dtype)
    return (out * by_output).sum() + (last * by_state).sum()


def compare(gradients, expected, dtype):
    for name, gradient in expected.items():
        error = largest_error(gradients[name].to(torch.float64), gradient.to(torch.float64))
        assert error <= TOLERANCE[dtype], f"gradient of {name}: {error:.2e} of its largest value"


def collect(loss, inputs):
    names = [name for name in inputs if inputs[name].requires_grad]
    gradients = torch.autograd.grad(loss, [inputs[name] for name in names], allow_unused=True)
    return {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def by_squat(config, dtype, fresh, recurrent, per_neuron, backend="cpu"):
    inputs = leaves(dtype, recurrent, per_neuron)
    u0, codes0 = initial(config.state, inputs, fresh)
    with squat.ops.backend(backend):
        out, last, _ = lif(
            inputs["x"],
            inputs["beta"],
            inputs["threshold"],
            config,
            steps=STEPS,
            w_rec=inputs.get("w_rec"),
            u0=u0,
            codes0=codes0,
        )
    return out, last, collect(objective(out, last, dtype), inputs)


def by_plain(config, dtype, fresh, recurrent, per_neuron):
    inputs = leaves(dtype, recurrent, per_neuron)
    u0, _ = initial(config.state, inputs, fresh)
    plain = Plain(config.state, config.reset, config.drop_input, config.clipped, config.surrogate)
    parameters = {"beta": inputs["beta"], "threshold": inputs["threshold"], "recurrent": inputs.get("w_rec")}
    spikes, u, _ = plain.run(inputs["x"], parameters, u0)
    return spikes, u[-1], collect(objective(spikes, u[-1], dtype), inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("recurrent", [False, True], ids=["lif", "rlif"])
@pytest.mark.parametrize(("reset", "drop_input"), RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_float_rule(spec, reset, drop_input, recurrent, dtype):
    for clipped in (False, True) if spec is not None else (False,):
        for fresh, per_neuron in ((True, False), (False, True)):
            surrogate = squat.ATan(2.0) if per_neuron else squat.FastSigmoid(5.0)
            config = LoopConfig(spec, reset, drop_input, surrogate, clipped)
            out, last, gradients = by_squat(config, dtype, fresh, recurrent, per_neuron)
            expected_out, expected_last, expected = by_plain(config, dtype, fresh, recurrent, per_neuron)
            assert torch.equal(out, expected_out)
            assert torch.equal(last, expected_last)
            assert expected.keys() == gradients.keys()
            compare(gradients, expected, dtype)


@pytest.mark.parametrize("spec", SPECS[:3], ids=str)
def test_reference_backend(spec):
    """The specification itself agrees with the plain neuron, so either may serve as the oracle of a new backend."""
    for recurrent in (False, True):
        config = LoopConfig(spec, surrogate=squat.FastSigmoid(5.0))
        _, _, gradients = by_squat(config, torch.float64, False, recurrent, True, backend="reference")
        _, _, expected = by_plain(config, torch.float64, False, recurrent, True)
        compare(gradients, expected, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("spec", [None, squat.Anchored(4)], ids=str)
def test_membrane_output(spec, dtype):
    inputs = leaves(dtype, False, True)
    config = LoopConfig(spec, reset="none", spiking=False)
    out, last, _ = lif(inputs["x"], inputs["beta"], inputs["threshold"], config, steps=STEPS)
    gradients = collect(objective(out, last, dtype), inputs)
    other = leaves(dtype, False, True)
    _, u, _ = Plain(spec, "none").run(other["x"], other)
    expected = collect(objective(u, u[-1], dtype), other)
    assert torch.equal(out, u)
    compare(gradients, expected, dtype)


def test_constant_input_gradient_is_the_sum_over_time():
    for spec in SPECS[:4]:
        config = LoopConfig(spec, surrogate=squat.FastSigmoid(5.0))
        inputs = leaves(torch.float64, False, False)
        one = inputs["x"].detach()[:1].requires_grad_()
        out, last, _ = lif(one, inputs["beta"], inputs["threshold"], config, steps=STEPS)
        gradient = torch.autograd.grad(objective(out, last, torch.float64), one)[0]
        many = one.detach().expand(STEPS, -1, -1).contiguous().requires_grad_()
        spread_out, spread_last, _ = lif(many, inputs["beta"], inputs["threshold"], config, steps=STEPS)
        spread = torch.autograd.grad(objective(spread_out, spread_last, torch.float64), many)[0]
        assert torch.equal(out, spread_out)
        assert largest_error(gradient, spread.sum(0, keepdim=True)) <= 1e-12


def test_only_the_wanted_gradients_are_made():
    config = LoopConfig(squat.Uniform(4), surrogate=squat.FastSigmoid(5.0))
    inputs = leaves(torch.float32, False, False)
    for name in ("x", "beta", "threshold"):
        chosen = {key: value.detach().requires_grad_(key == name) for key, value in inputs.items()}
        out, last, _ = lif(chosen["x"], chosen["beta"], chosen["threshold"], config, steps=STEPS)
        gradients = collect(objective(out, last, torch.float32), chosen)
        assert gradients.keys() == {name}
    with torch.no_grad():
        out, last, _ = lif(inputs["x"], inputs["beta"], inputs["threshold"], config, steps=STEPS)
    assert not out.requires_grad
    assert not last.requires_grad
