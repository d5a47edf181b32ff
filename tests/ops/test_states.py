"""Loops over several states: compiled ones give the codes and spikes of the reference, and its gradients."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

import squat
from plain_neuron import largest_error
from squat.ops.states import StatesConfig, Sums, states
from squat.ops.states.registry import EQUATIONS

STEPS, BATCH, NEURONS = 10, 5, 19
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
WIDE = squat.Uniform(8, lower_limit=2.0, upper_limit=2.0)
SPECS = [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.ZeroCentered(3), squat.Anchored(5), WIDE]
EVERY = list(EQUATIONS.values())
each_neuron = pytest.mark.parametrize(
    "equations", EVERY, ids=[e.options.__name__.removesuffix("Options") for e in EVERY]
)


def cases(equations):
    """Specs for every state, mixed; each reset; options; in turns, so that every value meets every other somewhere."""
    count = len(equations.states)
    for index, (zero, published, recurrent) in enumerate(product((0.0, 1.0), (False, True), (False, True))):
        for turn in range(3):
            specs = tuple(SPECS[(index + 5 * turn + 2 * k * (turn + 1)) % len(SPECS)] for k in range(count))
            clipped, delayed = (index + turn) % 2 == 0, recurrent or turn != 1
            given = {"zero": zero, "published": published, "clears": float(published and not zero)}
            given |= {"keep_input": published, "at_once": turn == 1, "refractory": float(turn)}
            options = equations.options(**{name: given[name] for name in given if name in equations.options._fields})
            surrogate = squat.FastSigmoid(5.0)
            yield StatesConfig(equations, options, specs, surrogate, clipped, delayed), recurrent


def leaves(equations, recurrent, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    own = torch.rand(len(equations.parameters), NEURONS, generator=generator) * 0.4 + 0.5
    values = {
        "x": torch.randn(STEPS, BATCH, NEURONS, generator=generator) * 0.6 + 0.3,
        "threshold": torch.tensor(0.75),
        "own": own,
        "start": torch.randn(len(equations.states), BATCH, NEURONS, generator=generator),
    }
    if recurrent:
        values["w_rec"] = torch.randn(NEURONS, NEURONS, generator=generator) * 0.3
        values["rec_scale"] = torch.rand(NEURONS, generator=generator) + 0.5
    return {name: value.to(dtype).requires_grad_() for name, value in values.items()}


def run(config, inputs, backend, fresh=False):
    theta = inputs["threshold"].expand(1, NEURONS)
    drop = theta * (1.0 - config.options.zero)
    with squat.ops.backend(backend):
        return states(
            inputs["x"],
            torch.cat([theta, drop, inputs["own"]]),
            inputs["threshold"],
            config,
            steps=STEPS,
            start=None if fresh else inputs["start"],
            w_rec=inputs.get("w_rec"),
            rec_scale=inputs.get("rec_scale"),
        )


def integer_cases(equations):
    """The cases with a spec for every state that the integer rule takes, and whether they recur."""
    for turn, (config, recurrent) in enumerate(cases(equations)):
        published = getattr(config.options, "published", False)
        if config.delayed and not published:
            specs = tuple(spec or SPECS[1 + (turn + k) % 5] for k, spec in enumerate(config.specs))
            yield replace(config, specs=specs), recurrent


def run_on_integers(config, inputs, backend, seed):
    """With integer sums for `x`, integer recurrent weights, one scale or one a neuron, and carried codes."""
    generator = torch.Generator().manual_seed(seed)
    dtype = inputs["x"].dtype
    z = torch.randint(-40, 61, (STEPS, BATCH, NEURONS), generator=generator).to(dtype)
    bias = None if seed % 3 == 1 else inputs["bias"]
    scale = inputs["scale"] if seed % 2 else inputs["scale"][0]
    x = (inputs["x"].detach() * 0 + z) * scale
    theta = inputs["threshold"].expand(1, NEURONS)
    drop = theta * (1.0 - config.options.zero)
    own = inputs["own"][:, :1].expand(-1, NEURONS) if seed % 4 == 2 else inputs["own"]
    units = [0.75 if follows else 1.0 for follows in config.equations.in_thresholds]
    start = codes = None
    if seed % 5:
        codes = torch.stack(
            [torch.randint(0, 2**spec.bits, (BATCH, NEURONS), generator=generator) for spec in config.specs]
        ).to(torch.uint8)
        rows = [spec.levels(unit)[code.int()] for spec, unit, code in zip(config.specs, units, codes, strict=True)]
        start = torch.stack(rows).to(dtype) + (inputs["start"] - inputs["start"].detach())
    with squat.ops.backend(backend):
        return states(
            x if bias is None else x + bias,
            torch.cat([theta, drop, own]),
            inputs["threshold"],
            config,
            steps=STEPS,
            start=start,
            w_rec=inputs.get("w_rec"),
            rec_scale=scale if "w_rec" in inputs else None,
            sums=Sums(z, scale, bias, 60 + 5 * NEURONS, torch.cat([theta, drop, own]).detach().double()),
            start_codes=codes,
        )


@pytest.mark.parametrize("equations", [each for each in EVERY if each.sources], ids=lambda e: e.options.__name__)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_compiled_loops_equal_the_reference_under_the_integer_rule(equations, dtype):
    """Codes and spikes equal; the gradients are those of the float update, with the states of the integer rule."""
    seen, fired = 0, 0.0
    for seed, (config, recurrent) in enumerate(integer_cases(equations)):
        inputs = leaves(equations, recurrent, dtype, seed)
        generator = torch.Generator().manual_seed(seed)
        inputs["scale"] = (torch.rand(NEURONS, generator=generator) * 0.01 + 0.004).to(dtype).requires_grad_()
        inputs["bias"] = (torch.randn(NEURONS, generator=generator) * 0.1).to(dtype).requires_grad_()
        if recurrent:
            del inputs["rec_scale"]
            inputs["w_rec"] = torch.randint(-5, 6, (NEURONS, NEURONS), generator=generator).to(dtype).requires_grad_()
        ours, expected = (run_on_integers(config, inputs, name, seed) for name in ("cpu", "reference"))
        fired += float(ours[0].detach().mean())
        assert torch.equal(ours[0], expected[0]), f"spikes differ: {config}"
        assert torch.equal(ours[1], expected[1]), f"states differ: {config}"
        for code, expected_code in zip(ours[2], expected[2], strict=True):
            assert torch.equal(code, expected_code)
        # The float32 reference adds up thresholds' terms of both signs in float32, the kernel in float64.
        seen += close_gradients(ours, expected, inputs, 1e-10 if dtype == torch.float64 else 1e-4, config)
    assert seen > 40, "too few gradients that are not zero"
    assert fired > 0.5, "hardly a spike"


def gradients(out, last, inputs):
    generator = torch.Generator().manual_seed(3)
    by_out = torch.rand(out.shape, generator=generator).to(out) + 0.1
    by_last = torch.rand(last.shape, generator=generator).to(out) + 0.1
    return torch.autograd.grad((out * by_out).sum() + (last * by_last).sum(), list(inputs.values()), allow_unused=True)


def close_gradients(ours, expected, inputs, tolerance, config):
    """How many gradients are not zero; all of them must be close."""
    seen = 0
    named = zip(inputs, gradients(*ours[:2], inputs), gradients(*expected[:2], inputs), strict=True)
    for name, gradient, wanted in named:
        if wanted is None:
            assert gradient is None, name
            continue
        error = largest_error(gradient.double(), wanted.double())
        assert error <= tolerance, f"gradient of {name}: {error:.1e}, {config}"
        seen += int(wanted.any())
    return seen


@each_neuron
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_compiled_loops_equal_the_reference(equations, dtype):
    seen = 0
    for seed, (config, recurrent) in enumerate(cases(equations)):
        inputs = leaves(equations, recurrent, dtype, seed)
        ours, expected = (run(config, inputs, name, fresh=seed % 4 == 3) for name in ("cpu", "reference"))
        assert torch.equal(ours[0], expected[0]), f"spikes differ: {config}"
        assert torch.equal(ours[1], expected[1]), f"states differ: {config}"
        for code, expected_code, spec in zip(ours[2], expected[2], config.specs, strict=True):
            assert (code is None) == (expected_code is None) == (spec is None)
            assert code is None or torch.equal(code, expected_code)
        seen += close_gradients(ours, expected, inputs, TOLERANCE[dtype], config)
    assert seen > 60, "too few gradients that are not zero"


@each_neuron
def test_many_neurons_and_threads(equations):
    """More neurons than a task has, and samples that two threads share."""
    config, _ = next(cases(equations))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 7, 1100, generator=generator)
    parameters = torch.rand(2 + len(equations.parameters), 1100, generator=generator) * 0.4 + 0.5
    parameters[0] = 0.6
    torch.set_num_threads(2)
    results = []
    for backend in ("cpu", "reference"):
        leaf = x.clone().requires_grad_()
        with squat.ops.backend(backend):
            out, last, _ = states(leaf, parameters, torch.tensor(0.6), config, steps=12)
        (out.sum() + last.square().sum()).backward()
        results.append((out, last, leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert largest_error(results[0][2], results[1][2]) <= 1e-5


@each_neuron
def test_a_constant_current_is_read_once(equations):
    config, _ = next(cases(equations))
    one = leaves(equations, False, torch.float64, 0)
    whole = {**one, "x": one["x"][:1].detach().expand(STEPS, -1, -1).contiguous().requires_grad_()}
    one["x"] = one["x"][:1].detach().requires_grad_()
    ours, expected = run(config, one, "cpu"), run(config, whole, "cpu")
    assert torch.equal(ours[0], expected[0])
    gradient, wanted = gradients(*ours[:2], one)[0], gradients(*expected[:2], whole)[0]
    assert gradient.shape == (1, BATCH, NEURONS)
    assert largest_error(gradient[0], wanted.sum(0)) <= 1e-12


@each_neuron
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_states_that_are_not_finite(equations, backend):
    for config, recurrent in list(cases(equations))[::7]:
        inputs = leaves(equations, recurrent, torch.float32, 0)
        with torch.no_grad():
            inputs["x"][4, 2, 7] = float("inf")
        with pytest.raises(ValueError, match="a state contains NaN or infinity: expected finite input currents"):
            run(config, inputs, backend)
