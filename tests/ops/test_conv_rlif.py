"""The loop with convolutional recurrence: compiled forward equal to the specification, gradients close."""

from __future__ import annotations

import pytest
import torch

import squat
from helpers import STATE_SPECS, spec_id
from squat import ops
from squat.ops.conv_rlif import Recurrence, conv_rlif
from squat.ops.lif import LoopConfig

STEPS, BATCH, IMAGE = 7, 3, (4, 5, 6)
NEURONS = 4 * 5 * 6
RESETS = [("subtract", False), ("zero", True), ("zero", False), ("none", False)]
each_backend = pytest.mark.parametrize("backend", ["cpu", "reference"])


def leaves(dtype, integer=False, per_neuron=False, carried=None):
    """x, beta, threshold, weight, bias, scale (integer weights), u0 (a carried state)."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weight = torch.randint(-7, 8, (4, 4, 3, 1), generator=generator).double() if integer else draw(4, 4, 3, 1) * 0.3
    beta = torch.rand(NEURONS, generator=generator, dtype=torch.float64) if per_neuron else torch.tensor(0.9).double()
    values = {
        "x": draw(STEPS, BATCH, NEURONS) * 0.8 + 0.2, "beta": beta, "threshold": torch.tensor(0.7, dtype=torch.float64),
        "weight": weight, "bias": draw(4) * 0.1,
    }  # fmt: skip
    if integer:
        values["scale"] = torch.rand(4 if per_neuron else (), generator=generator, dtype=torch.float64) * 0.1
    if carried is not None:
        values["u0"] = carried.double()
    return {name: value.to(dtype).requires_grad_() for name, value in values.items()}


def run(backend, config, values, codes0=None):
    recurrence = Recurrence(values["weight"], values["bias"], values.get("scale"), IMAGE)
    with ops.backend(backend):
        return conv_rlif(
            values["x"], values["beta"], values["threshold"], recurrence, config, u0=values.get("u0"), codes0=codes0
        )  # fmt: skip


def start(spec):
    """A state to carry: membranes, and their codes."""
    u = torch.randn(BATCH, NEURONS, generator=torch.Generator().manual_seed(3))
    if spec is None:
        return u, None
    codes = spec.encode(u, 0.7)
    return spec.levels(0.7)[codes.int()], codes


@pytest.mark.parametrize("spec", [None, *STATE_SPECS], ids=spec_id)
def test_forward_equals_the_reference(spec):
    for n, (reset, drop) in enumerate(RESETS):
        config = LoopConfig(spec, reset, drop, squat.FastSigmoid(5.0))
        u, codes0 = start(spec)
        values = leaves([torch.float32, torch.float64][n % 2], n > 1, n % 2 == 0, u if n else None)
        ours, reference = (run(backend, config, values, codes0 if n else None) for backend in ("cpu", "reference"))
        assert torch.equal(ours[0], reference[0])
        assert torch.equal(ours[1], reference[1])
        assert (ours[2] is None) == (spec is None)
        assert ours[2] is None or torch.equal(ours[2], reference[2])
        assert 0 < float(ours[0].detach().mean()) < 1 or spec in (squat.Uniform(1), squat.ThresholdCentered(1))


@pytest.mark.parametrize("clipped", [False, True], ids=["identity", "clipped"])
@pytest.mark.parametrize(("reset", "drop"), RESETS)
@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(8)], ids=str)
def test_gradients_are_the_references(spec, reset, drop, clipped):
    config = LoopConfig(spec, reset, drop, squat.FastSigmoid(5.0), clipped)
    for integer in (False, True):
        for per_neuron in (False, True):
            u, codes0 = start(spec) if integer else (None, None)
            found = []
            for backend in ("cpu", "reference"):
                values = leaves(torch.float64, integer, per_neuron, u)
                out, last, _ = run(backend, config, values, codes0)
                weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
                loss = (out * weight).sum() + last.square().sum()
                found.append(torch.autograd.grad(loss, list(values.values())))
            for name, ours, reference in zip(values, *found, strict=True):
                error = float((ours - reference).abs().max())
                assert error <= 1e-11 * float(reference.abs().max().clamp(min=1e-9)), name


@each_backend
def test_sums_of_integer_weights_are_exact(backend):
    """Weights up to 127 and neighbourhoods of many spikes: the current is the integer sum times the scale."""
    weight = torch.randint(-127, 128, (4, 4, 3, 3), generator=torch.Generator().manual_seed(0)).float()
    recurrence = Recurrence(weight, None, torch.tensor(0.013), IMAGE)
    spikes = (torch.rand(BATCH, NEURONS, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    z = torch.nn.functional.conv2d(spikes.view(BATCH, *IMAGE).long(), weight.long(), padding=1)
    assert torch.equal(recurrence.currents(spikes), (z.float() * 0.013).flatten(1))
    u0 = spikes * 2
    with ops.backend(backend):
        _, u, _ = conv_rlif(
            torch.zeros(1, BATCH, NEURONS), torch.tensor(0.0), torch.tensor(1.0), recurrence,
            LoopConfig(None, "none", False, squat.ATan()), u0=u0,
        )  # fmt: skip
    assert torch.equal(u, (z.float() * 0.013).flatten(1))


@each_backend
def test_membranes_that_are_not_finite(backend):
    values = leaves(torch.float32)
    values["x"].data[2, 1, 3] = float("nan")
    for spec in (None, squat.Uniform(4)):
        with pytest.raises(ValueError, match="the membrane contains NaN or infinity: expected finite input currents"):
            run(backend, LoopConfig(spec, "none", False, squat.ATan()), values)
