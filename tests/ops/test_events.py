import os
import subprocess
import sys

import pytest
import torch

from squat.ops import products
from squat.ops.events import (
    MAX_DENSITY,
    MAX_GRADIENT_DENSITY,
    MIN_SIZE,
    add_gradient_rows,
    add_weight_rows,
    dense_rows,
    events_of,
    events_of_codes,
    thin_product,
)
from squat.ops.product import FLOAT32_EXACT, integer_linear

ROWS, INPUTS = 1097, 131


def sparse_rows(rng, density=0.05, dtype=torch.float32, inputs=INPUTS):
    return (torch.rand(ROWS, inputs, generator=rng) < density).to(dtype)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("outputs", [1, 37, 64, 300])
@pytest.mark.parametrize("largest", [7, 127, 10**5], ids=lambda largest: f"weights<={largest}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sums_of_integers_equal_the_dense_product(generator, dtype, largest, outputs):
    x = sparse_rows(generator, dtype=dtype)
    weight = torch.randint(-largest, largest + 1, (outputs, INPUTS), generator=generator).to(dtype)
    assert torch.equal(add_weight_rows(events_of(x), weight), x @ weight.T)


@pytest.mark.parametrize("outputs", [1, 37, 64, 300, 700])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.9])
def test_gradient_rows_are_the_outer_products_summed(generator, density, outputs):
    x = sparse_rows(generator, density, torch.float64)
    g = torch.randn(ROWS, outputs, dtype=torch.float64, generator=generator)
    with products("rows"):
        total = add_gradient_rows(events_of(x), g)
    torch.testing.assert_close(total, g.T @ x, rtol=1e-12, atol=1e-12)


def test_a_gradient_over_more_rows_than_stay_in_the_cache(generator, monkeypatch):
    monkeypatch.setattr("squat.ops.events.RESIDENT", 64 * 100)
    x, g = sparse_rows(generator, dtype=torch.float64), torch.randn(ROWS, 64, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(add_gradient_rows(events_of(x), g), g.T @ x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", [20, 700])
def test_gradients_do_not_depend_on_the_number_of_threads(generator, outputs):
    x, g = sparse_rows(generator), torch.randn(ROWS, outputs, generator=generator)
    one = add_gradient_rows(events_of(x), g)
    torch.set_num_threads(2)
    assert torch.equal(one, add_gradient_rows(events_of(x), g))


@pytest.mark.parametrize("inputs", [16, 130, 131])
@pytest.mark.parametrize("wrong", [2.0, -1.0, 0.5, float("nan"), float("inf")])
def test_only_zeros_and_ones_are_spikes(generator, wrong, inputs):
    for place in (0, inputs - 1):
        x = sparse_rows(generator, inputs=inputs)
        assert torch.equal(dense_rows(events_of(x), torch.float32), x)
        x[700, place] = wrong
        assert events_of(x) is None
    assert events_of(torch.zeros(2, MIN_SIZE // 4)) is None


@pytest.mark.parametrize("first", [0, 3, 255, 256])
@pytest.mark.parametrize("neurons", [16, 37])
def test_spikes_of_codes(generator, neurons, first):
    codes = torch.randint(0, 256, (50, neurons), generator=generator, dtype=torch.uint8)
    events = events_of_codes(codes, first)
    spikes = (codes.int() >= first).float()
    assert torch.equal(dense_rows(events, torch.float32), spikes)
    assert events.count.tolist() == spikes.sum(1).tolist()


@pytest.mark.parametrize(("outputs", "inputs"), [(20, 256), (64, 64), (20, 250), (65, 256)])
def test_thin_products(generator, outputs, inputs):
    g, weight = torch.randn(1099, outputs, generator=generator), torch.randn(outputs, inputs, generator=generator)
    exact = g.double() @ weight.double()
    torch.testing.assert_close(thin_product(g, weight).double(), exact, rtol=1e-5, atol=1e-5)


def test_spikes_are_saved_as_tensors_one_bit_each(generator):
    x, weight = sparse_rows(generator), torch.ones(70, INPUTS, requires_grad=True)
    saved = integer_linear(x, weight, INPUTS).grad_fn.saved_tensors
    bytes_saved = sum(t.numel() * t.element_size() for t in saved if t is not None and t.shape != weight.shape)
    assert bytes_saved <= x.numel() / 8 * 1.1 + 8 * ROWS


def test_silent_inputs_give_zeros():
    events = events_of(torch.zeros(ROWS, INPUTS))
    assert torch.equal(add_weight_rows(events, torch.ones(70, INPUTS)), torch.zeros(ROWS, 70))
    assert torch.equal(add_gradient_rows(events, torch.ones(ROWS, 70)), torch.zeros(70, INPUTS))


@pytest.mark.parametrize("density", [0.05, 0.6])
def test_the_choice_follows_the_density_and_can_be_forced(generator, density):
    x, weight = sparse_rows(generator, density), torch.ones(70, INPUTS)
    events = events_of(x)
    for name in ("auto", "rows", "dense"):
        with products(name) as choices:
            z = add_weight_rows(events, weight)
            total = add_gradient_rows(events, torch.ones(ROWS, 70))
        assert torch.equal(z, x @ weight.T)
        assert torch.equal(total, torch.ones(ROWS, 70).T @ x)
        expected = [name, name]
        if name == "auto":
            expected = ["rows" if density <= limit else "dense" for limit in (MAX_DENSITY, MAX_GRADIENT_DENSITY)]
        assert [choice.chosen for choice in choices] == expected
        assert [choice.product for choice in choices] == ["forward", "weight gradient"]
        assert choices[0].density == pytest.approx(float(x.mean()))


def test_an_unknown_product_is_refused():
    with pytest.raises(ValueError, match=r"name='sparse'.*auto.*rows.*dense"), products("sparse"):
        pass


def test_the_product_takes_spikes_and_differentiates_alike(generator):
    x = sparse_rows(generator, dtype=torch.float64).reshape(ROWS, 1, INPUTS)
    weight = torch.randint(-7, 8, (70, INPUTS), generator=generator).double()
    g = torch.randn(ROWS, 1, 70, dtype=torch.float64, generator=generator)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, x, weight)]
    z = integer_linear(leaves[0], leaves[1], FLOAT32_EXACT - 1)
    dense = leaves[2] @ leaves[3].T
    assert torch.equal(z, dense)
    z.backward(g)
    dense.backward(g)
    torch.testing.assert_close(leaves[0].grad, leaves[2].grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(leaves[1].grad, leaves[3].grad, rtol=1e-12, atol=1e-12)


WITHOUT_AVX512 = """
import torch
import squat
from squat.ops import simd
from squat.ops.events import add_weight_rows, events_of
assert not simd.HAS_AVX512
x, weight = (torch.rand(800, 70) < 0.1).float(), torch.randint(-7, 8, (40, 70)).float()
assert torch.equal(add_weight_rows(events_of(x), weight), x @ weight.T)
net = squat.Sequential(
    squat.RLIF(70, 33, 0.9, 0.3, weight=squat.IntWeight(4), state=squat.ThresholdCentered(8)),
    squat.Linear(33, 16, weight=squat.IntWeight(4)), squat.LIF(0.9, 0.2, state=squat.Uniform(4)),
)
x = (torch.rand(30, 2, 70) < 0.3).float()
results = []
for backend in ("cpu", "reference"):
    with squat.ops.backend(backend):
        net.zero_grad()
        spikes, states = net.train()(x)
        spikes.square().sum().backward()
        results.append((spikes.detach(), states[0].codes, net.layers[0].weight_rec.grad.clone()))
        net.eval()
assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-4, atol=1e-5)
with torch.no_grad():
    whole, state = net(x)[0], None
    for step, expected in zip(x, whole):
        spikes, state = net.step(step, state)
        assert torch.equal(spikes, expected)
print("equal")
"""


@pytest.mark.slow  # compiles the loops for another processor
def test_processors_without_avx512_give_the_same_sums():
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AVX512], env=os.environ | plain, capture_output=True, text=True
    )
    assert done.stdout == "equal\n", done.stderr
