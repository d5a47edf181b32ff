"""Straight-through functions: forward values and stated gradients, against formulas written in plain torch."""

import pytest
import torch

from squat.quant.rounding import lsq_factor, quantize_ste, round_ste, scale_gradient


def test_round_ste_rounds_to_even_and_passes_the_gradient():
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, 0.49], dtype=torch.float64, requires_grad=True)
    upstream = torch.arange(1.0, 7.0, dtype=torch.float64)
    y = round_ste(x)
    y.backward(upstream)
    assert torch.equal(y, torch.tensor([-2.0, 0.0, 0.0, 2.0, 2.0, 0.0], dtype=torch.float64))
    assert torch.equal(x.grad, upstream)


def test_scale_gradient_changes_only_the_gradient():
    x = torch.tensor([2.0, -3.0], requires_grad=True)
    y = scale_gradient(x, 0.25)
    y.sum().backward()
    assert torch.equal(y, x)
    assert torch.equal(x.grad, torch.tensor([0.25, 0.25]))


def test_lsq_factor_is_that_of_the_paper():
    assert lsq_factor(700 * 256, 7) == pytest.approx((700 * 256 * 7) ** -0.5, rel=1e-15)


def plain_quantize(x, scale, qmax, limit):
    """The same function composed of torch operations, straight-through by `detach`."""
    ratio = x / scale
    q = ratio.round().clamp(-qmax, qmax)
    through = torch.where(ratio.abs() < limit, ratio, ratio.detach())
    return through + (q - through).detach()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_quantize_ste_against_plain_torch(bits, wide, per_channel):
    qmax = 2 ** (bits - 1) - 1
    limit = qmax + 0.5 if wide else qmax
    generator = torch.Generator().manual_seed(bits)
    x = (torch.randn(5, 7, 3, generator=generator, dtype=torch.float64) * 0.7).requires_grad_()
    scale = torch.rand((5, 1, 1) if per_channel else (), generator=generator, dtype=torch.float64) / qmax + 0.5 / qmax
    scale.requires_grad_()
    upstream = torch.randn(5, 7, 3, generator=generator, dtype=torch.float64)
    q = quantize_ste(x, scale, qmax, limit)
    ours = torch.autograd.grad(q, (x, scale), upstream)
    plain = plain_quantize(x, scale, qmax, limit)
    theirs = torch.autograd.grad(plain, (x, scale), upstream)
    assert torch.equal(q, (x / scale).round().clamp(-qmax, qmax))
    assert (q.abs() == qmax).any()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-12 * other.abs().max().item())


def test_scaled_integers_have_gradient_one_inside_and_the_lsq_gradient_of_the_scale():
    qmax = 7
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(11, 13, generator=generator, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(0.17, dtype=torch.float64, requires_grad=True)
    g = torch.randn(11, 13, generator=generator, dtype=torch.float64)
    w_int = quantize_ste(w, s, qmax, limit=qmax)
    (s * w_int * g).sum().backward()
    inside = (w / s).abs() < qmax
    assert 0.05 < inside.double().mean() < 0.95
    assert torch.allclose(w.grad, torch.where(inside, g, 0.0), rtol=1e-12)
    lsq = (g * torch.where(inside, w_int - w / s, w_int)).sum()
    assert torch.allclose(s.grad, lsq, rtol=1e-12)


def test_only_the_gradients_asked_for_are_made():
    x = torch.randn(4, 4)
    scale = torch.tensor(0.2, requires_grad=True)
    quantize_ste(x, scale, 7, 7.5).sum().backward()
    assert x.grad is None
    assert scale.grad.shape == ()
