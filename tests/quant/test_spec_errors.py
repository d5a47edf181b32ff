"""Bad state specs are refused by a sentence that names the argument, the value and what is accepted."""

from __future__ import annotations

import math

import pytest
import torch

import squat
from squat.quant.spec import STATE_SPECS


@pytest.mark.parametrize("name", STATE_SPECS)
@pytest.mark.parametrize(
    ("bits", "error"),
    [(0, ValueError), (9, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError), ("4", TypeError)],
)
def test_wrong_bits(name, bits, error):
    with pytest.raises(error, match=rf"bits={bits!r}: expected an integer from 1 to 8"):
        STATE_SPECS[name](bits)


@pytest.mark.parametrize("name", ["Uniform", "ThresholdCentered", "ZeroCentered"])
@pytest.mark.parametrize("upper_limit", [0.0, -0.1, math.nan, math.inf])
def test_a_spec_that_can_never_fire(name, upper_limit):
    with pytest.raises(ValueError, match=r"upper_limit=.*expected a finite number > 0.*never fire"):
        STATE_SPECS[name](4, upper_limit=upper_limit)


@pytest.mark.parametrize("name", ["Uniform", "ThresholdCentered", "ZeroCentered"])
def test_an_upper_limit_lost_to_rounding_can_never_fire(name):
    with pytest.raises(ValueError, match=r"can never fire; raise upper_limit"):
        STATE_SPECS[name](4, upper_limit=1e-12)


@pytest.mark.parametrize("lower_limit", [-1.5, math.nan, math.inf])
def test_wrong_lower_limit(lower_limit):
    with pytest.raises(ValueError, match=r"lower_limit=.*expected a finite number"):
        squat.Uniform(4, lower_limit=lower_limit)


@pytest.mark.parametrize("name", ["ThresholdCentered", "ZeroCentered"])
@pytest.mark.parametrize("base", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_wrong_base(name, base):
    with pytest.raises(ValueError, match=r"base="):
        STATE_SPECS[name](4, base=base)


def test_anchored_arguments():
    with pytest.raises(ValueError, match=r"low=0.0: expected a number < 0"):
        squat.Anchored(4, low=0.0)
    with pytest.raises(ValueError, match=r"low=0.5"):
        squat.Anchored(4, low=0.5)
    with pytest.raises(ValueError, match=r"high=1.0: expected a finite number > 1.*never fire"):
        squat.Anchored(4, high=1.0)
    with pytest.raises(ValueError, match=r"base=0.0"):
        squat.Anchored(4, base=0.0)
    with pytest.raises(ValueError, match=r"decay='slow': expected one of 'free', 'at_least_one_code'"):
        squat.Anchored(4, decay="slow")


@pytest.mark.parametrize("name", STATE_SPECS)
@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_wrong_threshold(name, threshold):
    with pytest.raises(ValueError, match=r"threshold=.*expected a finite number > 0"):
        STATE_SPECS[name](4).encode(torch.zeros(3), threshold)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_not_encoded(value):
    x = torch.zeros(2, 3)
    x[1, 2] = value
    with pytest.raises(ValueError, match=r"(?i)(nan|inf|finite)"):
        squat.Uniform(4).encode(x)


def test_integers_are_not_encoded():
    with pytest.raises(TypeError, match=r"int64.*float"):
        squat.Uniform(4).encode(torch.zeros(3, dtype=torch.int64))
