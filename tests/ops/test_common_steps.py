"""The loops' common cases, which take the vector steps: no gradient of decay or threshold, rows of any length."""

import pytest
import torch

import squat
from squat.ops.lif import LoopConfig, lif

SPECS = [squat.Uniform(2), squat.ThresholdCentered(4), squat.Uniform(8), squat.ThresholdCentered(8)]


def run(backend, spec, neurons, integer, recurrent, samples, steps=5):
    generator = torch.Generator().manual_seed(neurons)
    x = torch.randn(steps, samples, neurons, generator=generator) * 0.5
    options = {"steps": steps}
    if integer:
        x = (x * 40).round()
        options |= {"scale": torch.tensor(0.025), "bias": torch.full((neurons,), 0.03), "sum_bound": 20_000}
    if recurrent:
        w_rec = torch.randint(-3, 4, (neurons, neurons), generator=generator).float()
        options |= {"w_rec": w_rec.requires_grad_()} | ({} if integer else {"rec_scale": torch.tensor(0.02)})
    config = LoopConfig(spec, surrogate=squat.FastSigmoid(5.0), integer=integer)
    leaves = [x.requires_grad_(), *(value.requires_grad_() for name, value in options.items() if name == "bias")]
    leaves += [options["w_rec"]] if recurrent else []
    with squat.ops.backend(backend):
        out, u, codes = lif(x, torch.tensor(0.9), torch.tensor(1.0), config, **options)
        gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad([out, u], leaves, [gradient, gradient[0]])
    return out.detach(), u.detach(), codes, gradients


def assert_same(*case):
    out, u, codes, gradients = run("cpu", *case)
    expected, last, expected_codes, close = run("reference", *case)
    assert torch.equal(out, expected)
    assert torch.equal(u, last)
    assert torch.equal(codes, expected_codes)
    assert 0 < out.mean() < 1 or out.shape[2] == 1
    for ours, theirs in zip(gradients, close, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "float"])
@pytest.mark.parametrize("neurons", [1, 15, 16, 17, 1023, 1024, 1025, 1040])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_rows_of_any_length(spec, neurons, integer):
    assert_same(spec, neurons, integer, False, 2)


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "float"])
@pytest.mark.parametrize(("neurons", "samples"), [(16, 1), (17, 5), (64, 4), (80, 3)])
@pytest.mark.parametrize("spec", SPECS[1:3], ids=str)
def test_recurrent_rows_of_any_length(spec, neurons, samples, integer):
    assert_same(spec, neurons, integer, True, samples)
