"""Gradients under the integer rule: autograd through the reference on the same codes, and the plain chain rule."""

from __future__ import annotations

import pytest
import torch

import squat
from plain_neuron import largest_error
from squat.ops.lif import LoopConfig, lif
from squat.ops.lif.reference import lif as reference

STEPS, BATCH, NEURONS, BOUND = 9, 3, 8, 200
SPECS = [squat.Uniform(2), squat.Uniform(8), squat.ThresholdCentered(4), squat.ZeroCentered(4), squat.Anchored(4)]
SPECS += [squat.Anchored(2, decay="at_least_one_code"), squat.Anchored(8)]
RESETS = [("subtract", False), ("zero", False), ("zero", True), ("none", False)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def leaves(dtype, recurrent, per_channel, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (NEURONS,) if per_channel else ()
    values = {
        "x": torch.randint(-40, 61, (STEPS, BATCH, NEURONS), generator=generator).float(),
        "scale": torch.rand(shape, generator=generator) * 0.02 + 0.01,
        "bias": torch.randn(NEURONS, generator=generator) * 0.1,
        "beta": torch.rand(shape, generator=generator) * 0.4 + 0.5,
        "threshold": torch.tensor(0.8),
        "u0": torch.randn(BATCH, NEURONS, generator=generator),
    }
    if recurrent:
        values["w_rec"] = torch.randint(-7, 8, (NEURONS, NEURONS), generator=generator).float()
    return {name: value.to(dtype).requires_grad_() for name, value in values.items()}


def run(loop, config, inputs, fresh, steps=STEPS, **more):
    theta = float(inputs["threshold"].detach())
    codes0 = None if fresh else config.state.encode(inputs["u0"].detach(), theta)
    u0 = None if fresh else config.state.levels(theta).to(inputs["x"].dtype)[codes0.long()]
    if u0 is not None:
        u0 = u0 + (inputs["u0"] - inputs["u0"].detach())
    recurrent = inputs.get("w_rec")
    return loop(
        inputs["x"][:steps],
        inputs["beta"],
        inputs["threshold"],
        config,
        steps=steps,
        scale=inputs["scale"],
        bias=inputs["bias"],
        w_rec=recurrent,
        rec_scale=None if recurrent is None else inputs["scale"],
        u0=u0,
        codes0=codes0,
        sum_bound=BOUND,
        **more,
    )


def trajectory(config, inputs, fresh):
    """Codes of every step: the last codes of ever longer runs of the reference."""
    with torch.no_grad():
        return torch.stack([run(reference, config, inputs, fresh, steps)[2] for steps in range(1, STEPS + 1)])


def gradients(out, last, inputs):
    generator = torch.Generator().manual_seed(9)
    # Weights of one sign: a sum over all values, such as the threshold's gradient, must not be left by cancellation.
    weights = [0.1 + torch.rand(value.shape, generator=generator, dtype=torch.float64) for value in (out, last)]
    loss = (out * weights[0].to(out.dtype)).sum() + (last * weights[1].to(out.dtype)).sum()
    found = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    return {name: value for name, value in zip(inputs, found, strict=True) if value is not None}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("recurrent", [False, True], ids=["lif", "rlif"])
@pytest.mark.parametrize(("reset", "drop_input"), RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_gradient(spec, reset, drop_input, recurrent, dtype):
    for clipped, fresh, per_channel in ((False, True, False), (True, False, True), (False, False, True)):
        config = LoopConfig(spec, reset, drop_input, squat.FastSigmoid(5.0), clipped, integer=True)
        inputs = leaves(dtype, recurrent, per_channel)
        with squat.ops.backend("cpu"):
            out, last, codes = run(lif, config, inputs, fresh)
        found = gradients(out, last, inputs)

        wide = {n: v.detach().double().requires_grad_() for n, v in inputs.items()}
        forced = trajectory(config, inputs, fresh)
        assert torch.equal(codes, forced[-1])
        expected_out, expected_last, _ = run(reference, config, wide, fresh, forced_codes=forced)
        assert torch.equal(out.double(), expected_out)
        assert torch.equal(last.double(), expected_last)
        expected = gradients(expected_out, expected_last, wide)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            error = largest_error(found[name].double(), gradient)
            assert error <= TOLERANCE[dtype], f"gradient of {name}: {error:.2e} of its largest value ({config})"


@pytest.mark.parametrize("recurrent", [False, True], ids=["lif", "rlif"])
@pytest.mark.parametrize("spec", [squat.Uniform(4), squat.Anchored(4)], ids=str)
def test_chain_rule_on_forced_codes(spec, recurrent):
    """An independent graph: `i = scale*z + bias`, membranes replaced by the levels of the codes, identity STE."""
    config = LoopConfig(spec, surrogate=squat.FastSigmoid(5.0), integer=True)
    inputs = leaves(torch.float64, recurrent, True)
    out, last, _ = run(lif, config, inputs, True)
    found = gradients(out, last, inputs)

    mine = leaves(torch.float64, recurrent, True)
    codes, levels = trajectory(config, mine, True), spec.levels(float(mine["threshold"].detach())).double()
    theta = mine["threshold"].detach()
    u, spikes, all_spikes = None, None, []
    for t in range(STEPS):
        z = mine["x"][t] if spikes is None or not recurrent else mine["x"][t] + spikes @ mine["w_rec"].t()
        a = z * mine["scale"] + mine["bias"]
        if u is not None:
            a = a + mine["beta"] * u - theta * spikes.detach()
        u = levels[codes[t].long()] + (a - a.detach())
        spikes = config.surrogate(u - theta)
        all_spikes.append(spikes)
    expected = gradients(torch.stack(all_spikes), u, mine)
    assert torch.equal(out, torch.stack(all_spikes))
    for name in expected:
        assert largest_error(found[name], expected[name]) <= 1e-10, name
