import pytest
import torch

from squat.ops.events import MAX_DENSITY, MIN_SIZE, add_gradient_rows, add_weight_rows, events_of
from squat.ops.product import integer_linear

ROWS, INPUTS, OUTPUTS = 997, 131, 37


def sparse_rows(rng, density=0.05, dtype=torch.float32, largest=1):
    values = torch.randint(1, largest + 1, (ROWS, INPUTS), generator=rng)
    return (values * (torch.rand(ROWS, INPUTS, generator=rng) < density)).to(dtype)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("largest", [1, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sums_of_integers_equal_the_dense_product(generator, dtype, largest):
    x = sparse_rows(generator, dtype=dtype, largest=largest)
    weight = torch.randint(-127, 128, (OUTPUTS, INPUTS), generator=generator).to(dtype)
    assert torch.equal(add_weight_rows(events_of(x), weight), x @ weight.T)


def test_gradient_rows_are_the_outer_products_summed(generator):
    x = sparse_rows(generator, dtype=torch.float64, largest=3)
    g = torch.randn(ROWS, OUTPUTS, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(add_gradient_rows(events_of(x), g, INPUTS), g.T @ x, rtol=1e-12, atol=1e-12)


def test_gradients_do_not_depend_on_the_number_of_threads(generator):
    x, g = sparse_rows(generator), torch.randn(ROWS, OUTPUTS, generator=generator)
    one = add_gradient_rows(events_of(x), g, INPUTS)
    torch.set_num_threads(2)
    assert torch.equal(one, add_gradient_rows(events_of(x), g, INPUTS))


def test_dense_small_and_uneven_inputs_take_the_dense_product(generator):
    assert events_of(sparse_rows(generator, density=2 * MAX_DENSITY)) is None
    assert events_of(torch.zeros(2, MIN_SIZE // 4)) is None
    uneven = torch.zeros(ROWS, INPUTS)
    uneven[5] = 1.0  # sparse on the whole, but this row does not fit the list
    assert events_of(uneven) is None


def test_silent_inputs_give_zeros():
    x = torch.zeros(ROWS, INPUTS)
    events = events_of(x)
    assert torch.equal(add_weight_rows(events, torch.ones(OUTPUTS, INPUTS)), torch.zeros(ROWS, OUTPUTS))
    assert torch.equal(add_gradient_rows(events, torch.ones(ROWS, OUTPUTS), INPUTS), torch.zeros(OUTPUTS, INPUTS))


def test_the_product_takes_events_and_differentiates_alike(generator):
    x = sparse_rows(generator, dtype=torch.float64).reshape(ROWS, 1, INPUTS)
    weight = torch.randint(-7, 8, (OUTPUTS, INPUTS), generator=generator).double()
    g = torch.randn(ROWS, 1, OUTPUTS, dtype=torch.float64, generator=generator)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, x, weight)]
    z = integer_linear(leaves[0], leaves[1], True)
    dense = leaves[2] @ leaves[3].T
    assert torch.equal(z, dense)
    z.backward(g)
    dense.backward(g)
    torch.testing.assert_close(leaves[0].grad, leaves[2].grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(leaves[1].grad, leaves[3].grad, rtol=1e-12, atol=1e-12)
