"""The loop of spiking LSTM cells: compiled forward equal to the reference and to torch's cell, gradients close."""

from __future__ import annotations

import pytest
import torch

import squat
from helpers import STATE_SPECS, spec_id
from squat import ops
from squat.ops.lstm import LSTMConfig, LSTMWeights, lstm

SURROGATE = squat.FastSigmoid(5.0)
SIZES = [(1, 1, 3, 5), (9, 4, 13, 7), (6, 3, 8, 33)]  # steps, batch, inputs, cells


def arguments(sizes, dtype=torch.float32, bias=True, seed=0):
    steps, batch, inputs, cells = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)

    weights = LSTMWeights(
        draw(4 * cells, inputs), draw(4 * cells, cells), *((draw(4 * cells), draw(4 * cells)) if bias else (None, None))
    )
    return draw(steps, batch, inputs), draw(batch, cells, scale=0.5), draw(batch, cells), weights


def run(backend, sizes, config, theta=0.4, **options):
    x, u0, cell0, weights = arguments(sizes, **options)
    leaves = [x, u0, cell0, *(w for w in weights if w is not None), torch.tensor(theta, dtype=torch.float64)]
    for leaf in leaves:
        leaf.requires_grad_()
    with ops.backend(backend):
        result = lstm(x, u0, cell0, weights, leaves[-1], config)
    return result, leaves


def gradients(backend, sizes, config, **options):
    result, leaves = run(backend, sizes, config, **options)
    generator = torch.Generator().manual_seed(1)
    up = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in result[:3]]
    loss = sum((t * g).sum() for t, g in zip(result[:3], up, strict=True))
    return torch.autograd.grad(loss, leaves)


def assert_equal(ours, reference):
    for left, right in zip(ours, reference, strict=True):
        assert (left is None) == (right is None)
        assert left is None or torch.equal(left, right)


@pytest.mark.parametrize("spec", [None, *STATE_SPECS], ids=spec_id)
def test_forward_equals_the_reference(spec):
    for n, reset in enumerate(("none", "subtract", "zero")):
        for cell in (None, spec):
            config = LSTMConfig(spec, cell, SURROGATE, reset)
            dtype = torch.float64 if n == 1 else torch.float32
            (ours, _), (reference, _) = (run(name, SIZES[n], config, dtype=dtype) for name in ("cpu", "reference"))
            assert_equal(ours, reference)
            with torch.no_grad():
                x, u0, cell0, weights = arguments(SIZES[n], dtype)
                assert_equal(lstm(x, u0, cell0, weights, torch.tensor(0.4, dtype=torch.float64), config), reference)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_level_at_the_threshold_does_not_fire_in_float64(backend):
    """Levels are float32 numbers: 0.3 as a float32 is larger than 0.3, but the same level."""
    spec = squat.Uniform(2, upper_limit=1.0)
    assert float(spec.levels(0.3)[2]) > 0.3
    result, _ = run(backend, SIZES[1], LSTMConfig(spec, None, SURROGATE), theta=0.3, dtype=torch.float64)
    at_threshold = result.codes == 2
    assert bool(at_threshold.any())
    assert not bool(result.spikes[-1][at_threshold].any())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(3, 64, 20, 100), (2, 1, 7, 300)], ids=str)
def test_forward_equals_the_reference_in_larger_layers(size, threads):
    torch.set_num_threads(threads)
    config = LSTMConfig(squat.Uniform(8), squat.ThresholdCentered(4), SURROGATE)
    assert_equal(run("cpu", size, config)[0], run("reference", size, config)[0])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_without_quantizers_it_is_torchs_cell(sizes, bias):
    x, u, c, weights = arguments(sizes, bias=bias)
    with torch.no_grad():
        ours = lstm(x, u, c, weights, torch.tensor(0.4), LSTMConfig(None, None, SURROGATE))
        spikes = []
        for step in x:
            u, c = torch.lstm_cell(step, (u, c), *weights)
            spikes.append((u > 0.4).float())
    assert_equal(ours[:3], (torch.stack(spikes), u, c))


@pytest.mark.parametrize("clipped", [False, True], ids=["identity", "clipped"])
@pytest.mark.parametrize("reset", ["none", "subtract", "zero"])
@pytest.mark.parametrize(
    ("state", "cell"),
    [
        (None, None),
        (squat.Uniform(4), squat.Uniform(4, upper_limit=1.0)),
        (squat.ThresholdCentered(2), None),
        (None, squat.Anchored(8)),
    ],
    ids=str,
)
def test_gradients_are_the_references(state, cell, reset, clipped):
    config = LSTMConfig(state, cell, SURROGATE, reset, clipped)
    for bias in (True, False):
        ours, reference = (
            gradients(name, SIZES[1], config, dtype=torch.float64, bias=bias) for name in ("cpu", "reference")
        )
        for left, right in zip(ours, reference, strict=True):
            assert float((left - right).abs().max()) <= 1e-11 * float(right.abs().max())


def test_gradients_in_float32():
    config = LSTMConfig(squat.Uniform(4), squat.Uniform(8), SURROGATE, "subtract")
    for left, right in zip(gradients("cpu", SIZES[2], config), gradients("reference", SIZES[2], config), strict=True):
        assert float((left - right).abs().max()) <= 1e-4 * float(right.abs().max())


def test_what_is_kept_for_the_backward_pass_are_gates_and_codes():
    steps, batch, inputs, cells = 20, 4, 3, 16
    config = LSTMConfig(squat.Uniform(4), squat.Uniform(4), SURROGATE)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        run("cpu", (steps, batch, inputs, cells), config)
    long = [t for t in kept if t.shape[:1] == (steps,) and t.shape[2] != inputs]
    assert sorted((t.shape[2], t.element_size()) for t in long) == [(cells, 1), (cells, 1), (4 * cells, 4)]
