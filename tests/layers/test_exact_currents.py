"""Sums that a product has checked are not checked again; anything put in their place is."""

import pytest
import torch

import squat


@pytest.mark.parametrize("change", [lambda z: z * 0.5 + 0.25, lambda z: z * float("nan"), lambda z: z + 1e6])
def test_other_sums_in_place_of_the_checked_ones_are_refused(change):
    layer, neuron = squat.Linear(8, 4, weight=squat.IntWeight(4)), squat.LIF(state=squat.Uniform(4))
    current = layer(torch.ones(3, 2, 8))
    assert current.exact
    neuron(current)
    other = current._replace(z=change(current.z))
    assert not other.exact
    with pytest.raises(ValueError, match="not integers of at most"):
        neuron(other)


def test_a_pixel_that_no_window_reads_must_be_finite_too():
    net = squat.Sequential(
        squat.Conv2d(1, 2, 1, stride=2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Uniform(4))
    )
    x = torch.zeros(2, 1, 1, 3, 3)
    x[0, 0, 0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity"):
        net(x)


def test_large_sums_of_float64_networks():
    layer = squat.Linear(30, 5, weight=squat.IntWeight(8), input_max=10**8).double()
    z = layer(torch.full((3283, 1, 30), 1e8, dtype=torch.float64)).z
    assert z.abs().max() > 2**31
