"""The convolution that CUDA runs, on the CPU: exact integer sums, gradients of the direct convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from squat.ops.product import integer_conv2d
from squat.ops.unfolded import unfolded_conv2d

# inputs, outputs, kernel, stride, padding
SHAPES = [(16, 16, (3, 3), (1, 1), (1, 1)), (2, 5, (3, 3), (2, 2), (1, 1)), (3, 4, (5, 2), (2, 3), (0, 1))]
SHAPES += [(1, 3, (1, 1), (1, 1), (0, 0))]


def integers(shape, inputs, outputs, kernel, generator):
    x = torch.randint(0, 256, (3, inputs, *shape), generator=generator)
    return x, torch.randint(-127, 128, (outputs, inputs, *kernel), generator=generator)


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_sums_equal_those_of_integers(shape, precision, rng):
    inputs, outputs, kernel, stride, padding = shape
    x, w = integers((14, 15), inputs, outputs, kernel, rng)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        z = unfolded_conv2d(x.float(), w.float(), stride, padding)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(z.long(), F.conv2d(x, w, None, stride, padding))


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_gradients_equal_those_of_the_direct_convolution(shape, rng):
    inputs, outputs, kernel, stride, padding = shape
    leaves = [v.double().requires_grad_() for v in integers((8, 9), inputs, outputs, kernel, rng)]
    direct = F.conv2d(*leaves, None, stride, padding)
    upstream = torch.randn(direct.shape, dtype=torch.float64, generator=rng)
    expected = torch.autograd.grad(direct, leaves, upstream)
    for mine, other in zip(
        torch.autograd.grad(unfolded_conv2d(*leaves, stride, padding), leaves, upstream), expected, strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_sums_on_the_device(shape, rng):
    inputs, outputs, kernel, stride, padding = shape
    x, w = integers((14, 15), inputs, outputs, kernel, rng)
    z = integer_conv2d(x.float().cuda(), w.float().cuda(), stride, padding, 2**23)
    assert torch.equal(z.cpu().long(), F.conv2d(x, w, None, stride, padding))
