"""Convolutions by entries: sums equal to the dense product's, close gradients, choices by density, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from squat.ops import products
from squat.ops.convolution import MIN_SIZE, add_images, entries_of, max_density
from squat.ops.product import integer_conv2d

# images, channels, outputs, kernel, height and width, stride, padding
SHAPES = [
    (40, 2, 5, (3, 3), (15, 14), (1, 1), (1, 1)),
    (40, 3, 16, (5, 2), (12, 12), (2, 3), (0, 1)),
    (40, 1, 1, (1, 1), (21, 20), (2, 2), (0, 0)),
    (40, 4, 40, (3, 4), (11, 10), (1, 2), (2, 3)),
    (1, 64, 7, (2, 3), (16, 17), (3, 1), (0, 2)),
]


def images(shape, rng, density=0.1, largest=3):
    size = (shape[0], shape[1], *shape[4])
    values = torch.randint(-largest, largest + 1, size, generator=rng).float()
    return values * (torch.rand(size, generator=rng) < density)


def weights(shape, rng, largest=7):
    return torch.randint(-largest, largest + 1, (shape[2], shape[1], *shape[3]), generator=rng).float()


@pytest.fixture(autouse=True)
def _few_entries_too(monkeypatch):
    monkeypatch.setattr("squat.ops.convolution.MIN_SIZE", 0)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("largest", [7, 2**11], ids=["int16", "int32"])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_sums_equal_and_gradients_close(shape, largest, density, rng):
    x, w = images(shape, rng, density).requires_grad_(), weights(shape, rng, largest).requires_grad_()
    *_, stride, padding = shape
    results = []
    for name in ("rows", "dense"):
        with products(name) as choices:
            z = integer_conv2d(x, w, stride, padding, 3 * largest * w[0].numel(), -3, 3)
            g = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
            results.append((z.detach(), *torch.autograd.grad(z, (x, w), g)))
        assert [(choice.product, choice.chosen) for choice in choices] == [("forward", name), ("weight gradient", name)]
    (z, gx, gw), (z_dense, gx_dense, gw_dense) = results
    assert torch.equal(z, z_dense)
    assert torch.equal(z, F.conv2d(x.detach().double(), w.detach().double(), None, stride, padding).float())
    assert torch.equal(gx, gx_dense)
    torch.testing.assert_close(gw, gw_dense, rtol=1e-4, atol=1e-4 * max(1.0, float(gw_dense.abs().max())))


def test_the_choice_follows_the_density_and_the_length_of_stretches(rng):
    shape = (40, 2, 64, (3, 3), (15, 14), (1, 1), (1, 1))
    for density, outputs, chosen in ((0.05, 64, "rows"), (0.2, 64, "dense"), (0.05, 8, "dense")):
        x = (torch.rand(40, 2, 15, 14, generator=rng) < density).float()
        with products() as choices:
            integer_conv2d(x, weights(shape, rng)[:outputs], (1, 1), (1, 1), 200)
        assert choices[0].chosen == chosen
        assert choices[0].density == pytest.approx(float(x.mean()))
    assert max_density(64, 3, 1) == 0.12
    assert max_density(64, 3, 2) == 0.08
    assert max_density(512, 5, 1) == 0.3


def test_what_has_no_entries(monkeypatch, rng):
    x = torch.ones(4, 1, 8, 8)
    assert entries_of(x) == (0, 1, 1.0)
    assert entries_of(-3 * x) == (-3, 0, 1.0)
    assert entries_of(torch.zeros(4, 1, 8, 8)) == (0, 0, 0.0)
    for other in (x.double(), x / 2, x * 2**15, x * float("nan"), x * float("inf")):
        assert entries_of(other) is None
    monkeypatch.setattr("squat.ops.convolution.MIN_SIZE", MIN_SIZE)
    assert entries_of(x) is None


@pytest.mark.parametrize("product", ["rows", "dense"])
def test_the_range_is_kept(rng, product):
    x = torch.zeros(4, 1, 8, 8)
    x[0, 0, 4, 4] = 9.0
    w = torch.ones(1, 1, 3, 3)
    with products(product):
        assert integer_conv2d(x, w, (1, 1), (1, 1), 9, 0, 9).max() == 9
        assert integer_conv2d(-x, w, (1, 1), (1, 1), 9, -9, 1).min() == -9
        with pytest.raises(ValueError, match=r"x: values from 0 to 9, expected integers from 0 to 8.*input_max to 9,"):
            integer_conv2d(x, w, (1, 1), (1, 1), 8, 0, 8)
        with pytest.raises(ValueError, match=r"x: values from -9 to 0, expected .* -8 to 1.*; lower input_min to -9,"):
            integer_conv2d(-x, w, (1, 1), (1, 1), 8, -8, 1)


def test_gradients_do_not_depend_on_the_number_of_threads(rng):
    x, g = images(SHAPES[0], rng), torch.randn(40, 5, 15, 14, generator=rng)
    entries = entries_of(x)
    with products("rows"):
        one = add_images(x, entries, g, (3, 3), (1, 1), (1, 1))
        torch.set_num_threads(2)
        assert torch.equal(add_images(x, entries, g, (3, 3), (1, 1), (1, 1)), one)
