"""Networks trained with the float rule: how many integer cuts differ."""

from __future__ import annotations

import pytest
import torch

import squat
from squat.integer.float_rule import differing_cuts


def pixels(arithmetic):
    linear = squat.Linear(784, 6, weight=squat.IntWeight(8), input_scale=1 / 255, input_max=255)
    return squat.Sequential(linear, squat.LIF(0.9, state=squat.Uniform(4), arithmetic=arithmetic))


def test_the_integer_rule_differs_nowhere_from_itself():
    assert [layer.differing for layer in differing_cuts(pixels("integer"))] == [0]


def test_float_rounding_moves_some_cuts_of_sums_of_pixels():
    net = pixels("float")
    (layer,) = differing_cuts(net)
    assert layer.cuts == 6 * 17 * 15
    assert 0 < layer.differing < layer.cuts / 10
    assert str(layer).startswith(f"layer 0 Linear, 1 LIF: {layer.differing} of {layer.cuts} cuts differ")
    assert net[1].arithmetic == "float"


def test_recurrent_layers_have_no_cuts():
    net = squat.Sequential(squat.RLIF(4, 3, weight=squat.IntWeight(4), state=squat.Anchored(2), arithmetic="float"))
    (layer,) = differing_cuts(net)
    assert (layer.differing, layer.cuts) == (None, 3 * 5 * 3)
    assert "no integer cuts exist" in str(layer)


def test_other_obstacles_are_errors():
    with pytest.raises(ValueError, match="its weights are float"):
        differing_cuts(squat.Sequential(squat.Linear(3, 2), squat.LIF(state=squat.Anchored(4))))
    assert torch.is_grad_enabled()
