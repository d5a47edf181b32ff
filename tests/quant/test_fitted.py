"""`Fitted`: any sorted levels. The contract tests run over it too; here is what only it has."""

from __future__ import annotations

import json
import math

import pytest
import torch

import squat
from squat.quant.spec import spec_from_json

LEVELS = (-0.5, 0.0, 0.6, 1.5)


def test_levels_scale_with_the_threshold_and_boundaries_are_midpoints():
    spec = squat.Fitted(2, LEVELS)
    assert spec.levels(2.0).tolist() == pytest.approx([-1.0, 0.0, 1.2, 3.0])
    assert spec.boundaries(2.0).tolist() == pytest.approx([-0.5, 0.6, 2.1])
    assert spec.boundaries(2.0, torch.float64).dtype == torch.float64
    assert spec.first_firing_code(2.0) == 3


@pytest.mark.parametrize("threshold", [1.0, 0.1, 0.7, 2.473, 1e-20])
def test_firing_at_the_threshold_flips_no_spike(threshold):
    spec = squat.Fitted(2, LEVELS, firing="threshold")
    edge = torch.tensor(threshold)
    values = torch.stack([torch.nextafter(edge, torch.tensor(0.0)), edge, torch.nextafter(edge, edge * 2), edge * 9])
    fires = spec.encode(values, threshold) >= spec.first_firing_code(threshold)
    assert torch.equal(fires, values > edge)


def test_a_level_on_the_threshold_is_silent():
    spec = squat.Fitted(2, (-1.0, 0.0, 1.0, 2.0), firing="threshold")
    assert [spec.first_firing_code(threshold) for threshold in (1.0, 0.3, 7.7)] == [3, 3, 3]


def test_default_levels_are_those_of_anchored():
    assert torch.equal(squat.Fitted(4).levels(), squat.Anchored(4).levels())
    assert squat.Fitted(4) == squat.Fitted(4, squat.Fitted(4).unit_levels)


def test_json_gives_lists_and_the_same_spec():
    spec = squat.Fitted(2, (-1 / 3, 0.0, math.pi / 4, 1.1), firing="threshold")
    again = spec_from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert squat.Fitted(2, list(LEVELS)) == squat.Fitted(2, LEVELS)


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ((-1.0, 0.0, 2.0), r"unit_levels: 3 levels, expected 2\*\*bits = 4; one for each code"),
        ((-1.0, 0.5, 0.0, 2.0), r"unit_levels: 0.0 follows 0.5 at code 2, expected rising levels"),
        ((-1.0, 0.0, 0.0, 2.0), r"expected rising levels at least .* apart; merge equal levels or use fewer bits"),
        ((-1.0, 0.0, 0.5, 1.0), r"unit_levels: none above 1, so the neuron could never fire; the highest is 1.0"),
        ((1.5, 2.0, 3.0, 4.0), r"unit_levels: all above 1, the lowest is 1.5; expected at least one silent level"),
        ((-1.0, 0.0, 0.5, 1.0000001), r"unit_levels: 1.0000001 is too near above the threshold 1 for float32"),
        ((-1.0, 0.0, math.nan, 2.0), r"unit_levels\[2\]=nan: expected a finite number"),
        ((-1.0, 0.0, math.inf, 2.0), r"unit_levels\[2\]=inf: expected a finite number"),
    ],
)
def test_bad_levels_are_refused(levels, text):
    with pytest.raises(ValueError, match=text):
        squat.Fitted(2, levels)


def test_other_arguments_are_refused():
    with pytest.raises(TypeError, match=r"unit_levels=4: expected a tuple of numbers, in units of the threshold"):
        squat.Fitted(2, 4)
    with pytest.raises(TypeError, match=r"unit_levels\[1\]='a': expected a finite number"):
        squat.Fitted(1, (0.0, "a"))
    with pytest.raises(ValueError, match=r"firing='late': expected one of 'midpoint', 'threshold'"):
        squat.Fitted(2, LEVELS, firing="late")
