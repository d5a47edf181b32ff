"""Scales of weights: the search against brute force, Lloyd's step, and following weights that move."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from squat.quant.weight import IntWeight, WeightQuantizer
from squat.quant.weight_scale import lloyd_step, max_scale, search_scale


def weights(seed=0, shape=(12, 35)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def squared_error(weight, scale, qmax):
    weight, scale = weight.double(), scale.double().reshape(-1, 1)
    rest = weight - scale * (weight / scale).round().clamp(-qmax, qmax)
    return rest.square().sum(1)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("qmax", [1, 3, 7, 127])
def test_search_is_as_good_as_brute_force(granularity, qmax):
    weight = weights(qmax)
    rows = weight if granularity == "channel" else weight.reshape(1, -1)
    found = squared_error(rows, search_scale(rows, qmax)[:, 0], qmax)
    widest = max_scale(rows, qmax)[:, 0]
    brute = torch.stack([squared_error(rows, widest * ratio, qmax) for ratio in torch.linspace(0.005, 1, 2000)]).amin(0)
    assert (found <= brute * 1.01).all()
    assert (found <= squared_error(rows, widest, qmax)).all()


@given(
    values=st.lists(st.floats(-4, 4, width=32, allow_subnormal=False), min_size=2, max_size=24),
    bits=st.integers(2, 8),
)
@settings(deadline=None, max_examples=60)
def test_scale_properties(values, bits):
    rows, qmax = torch.tensor([values]), 2 ** (bits - 1) - 1
    by_max, by_mse = max_scale(rows, qmax), search_scale(rows, qmax)
    size = rows.double().square().sum()
    assert by_max > 0
    assert by_mse > 0
    assert squared_error(rows, by_mse[:, 0], qmax) <= squared_error(rows, by_max[:, 0], qmax) + 1e-6 * size
    stepped = lloyd_step(rows, by_max, qmax)
    assert squared_error(rows, stepped[:, 0], qmax) <= squared_error(rows, by_max[:, 0], qmax) + 1e-6 * size


def test_mse_scale_follows_the_weights_and_recovers_from_all_zero_codes():
    spec = IntWeight(4)
    weight = weights(3)
    quantizer = WeightQuantizer(spec, weight.shape)
    quantizer.rescale(weight)
    small = weight * 0.01
    w_int, scale = quantizer(small)
    assert w_int.abs().max() == spec.qmax
    assert torch.equal(scale, small.abs().max() / spec.qmax)
    for _ in range(20):
        quantizer(small)
    rows = small.reshape(1, -1)
    followed, searched = (squared_error(rows, s, 7) for s in (quantizer.scale, search_scale(rows, 7)))
    assert followed <= 1.3 * searched
