"""What `Linear` refuses, and what it says then."""

import pytest
import torch

from squat.layers import Linear
from squat.quant.weight import IntWeight


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"in_features": 0}, ValueError, "in_features=0: expected an integer >= 1"),
        ({"out_features": 2.0}, TypeError, "out_features=2.0: expected an integer >= 1"),
        ({"bias": None}, TypeError, "bias=None: expected True or False"),
        ({"weight": 4}, TypeError, "weight=4: expected an IntWeight"),
        ({"input_scale": 0.0}, ValueError, "input_scale=0.0: expected a finite number > 0"),
        ({"input_scale": float("nan")}, ValueError, "input_scale=nan: expected a finite number > 0"),
        ({"input_max": 0}, ValueError, "input_max=0: expected an integer >= 1"),
        ({"input_max": 1.0}, TypeError, "input_max=1.0: expected an integer >= 1"),
    ],
)
def test_constructor_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        Linear(**{"in_features": 3, "out_features": 2, **arguments})


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (torch.ones(2, 3), ValueError, r"x: 2 axes \(2, 3\), expected 3 axes \[T, B, in_features\].*unsqueeze"),
        (torch.ones(2, 3, 2, 2), ValueError, r"x: 4 axes .*Flatten"),
        (
            torch.ones(2, 3, 5),
            ValueError,
            r"x: 5 on axis 2 of \(2, 3, 5\), .* with in_features=4; build .*in_features=5",
        ),
        (torch.ones(2, 3, 4, dtype=torch.int64), ValueError, r"x: dtype torch.int64, expected float32.*x\.float\(\)"),
        ([[1.0]], TypeError, r"x: a list, expected a tensor \[T, B, in_features\]"),
        (torch.full((1, 1, 4), 0.3), ValueError, "x: got fractions, expected integer values"),
        (torch.full((1, 1, 4), 9.0), ValueError, "x: values from 9 to 9, expected .* raise input_max to 9"),
        (torch.full((1, 1, 4), float("nan")), ValueError, "x contains NaN or infinity: expected finite inputs"),
        (torch.full((1, 1, 4), float("inf")), ValueError, "x contains NaN or infinity: expected finite inputs"),
    ],
)
def test_forward_refuses(x, error, text):
    layer = Linear(4, 2, weight=IntWeight(4))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.1, 0.1]]))
    with pytest.raises(error, match=text):
        layer(x)


def test_a_current_into_a_layer_is_refused_with_the_way_out():
    current = Linear(4, 4, weight=IntWeight(4))(torch.ones(2, 2, 4))
    with pytest.raises(TypeError, match=r"x: a Current, expected a tensor .*put a neuron, or pass current\.dense\(\)"):
        Linear(4, 2)(current)
