"""Level sets against snnTorch's own, and the state specs as value objects."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat
from oracles import PUBLISHED, THRESHOLDS, snntorch_levels, unchecked, usable
from squat.quant.spec import STATE_SPECS, spec_from_json

ALL_BITS = range(1, 9)
pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")


@pytest.mark.parametrize("scheme", PUBLISHED)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_levels_equal_the_published_ones_bit_for_bit(scheme, bits):
    spec = scheme(bits)
    for threshold in THRESHOLDS:
        ours, theirs = spec.levels(threshold), snntorch_levels(spec, threshold)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs), f"{spec} at threshold {threshold}"


@pytest.mark.parametrize("scheme", PUBLISHED)
@given(
    bits=st.integers(1, 8),
    threshold=st.floats(0.05, 20.0),
    lower=st.floats(0.0, 2.0),
    upper=st.floats(0.01, 2.0),
    base=st.floats(0.3, 0.98),
)
@settings(max_examples=60)
def test_levels_equal_the_published_ones_for_any_threshold_limits_and_base(scheme, bits, threshold, lower, upper, base):
    arguments = {"lower_limit": lower, "upper_limit": upper}
    if scheme is not squat.Uniform:
        arguments["base"] = base
    published = snntorch_levels(unchecked(scheme, bits, **arguments))
    out_of_order = bool((published.diff() < 0).any())
    if out_of_order or not usable(published):
        with pytest.raises(ValueError, match="base" if out_of_order else "fire"):
            scheme(bits, **arguments)
        return
    spec = scheme(bits, **arguments)
    assert torch.equal(spec.levels(threshold), snntorch_levels(spec, threshold))


@pytest.mark.parametrize("bits", ALL_BITS)
def test_exponential_levels_follow_the_closed_form(bits):
    base = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.5, 5: 0.7, 6: 0.9, 7: 0.925, 8: 0.95}[bits]
    low, high, count = -1.0, 1.2, 2**bits
    for scheme, centre in ((squat.ThresholdCentered, 1.0), (squat.ZeroCentered, 0.0)):
        below = math.floor(count * (centre - low) / (high - low))
        above = count - below
        lower = [low + (centre - low) * (1 - base**k) / (1 - base**below) for k in range(below)]
        upper = [
            centre + (high - centre) * (base ** (above - k) - base**above) / (1 - base**above)
            for k in range(1, above + 1)
        ]
        expected = torch.tensor(lower + upper, dtype=torch.float64)
        torch.testing.assert_close(scheme(bits).levels().double(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (squat.Uniform(2), [-1, -0.267, 0.467, 1.2]),
        (squat.ThresholdCentered(2), [-1, 0.802, 0.982, 1.2]),
        (squat.ZeroCentered(2), [-1, 0.011, 0.119, 1.2]),
        (squat.ThresholdCentered(3), [-1, 0.400, 0.820, 0.946, 0.984, 0.996, 0.999, 1.2]),
    ],
)
def test_documented_level_sets(spec, expected):
    assert spec.levels().tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_module_functions_give_the_levels_of_the_specs(bits):
    for threshold in THRESHOLDS:
        assert torch.equal(squat.levels.uniform(bits, threshold), squat.Uniform(bits).levels(threshold))
        centred = squat.levels.threshold_centered(bits, threshold)
        assert torch.equal(centred, squat.ThresholdCentered(bits).levels(threshold))
        assert torch.equal(squat.levels.zero_centered(bits, threshold), squat.ZeroCentered(bits).levels(threshold))


@pytest.mark.parametrize("name", STATE_SPECS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_every_scheme_is_sorted_and_straddles_its_threshold(name, bits):
    spec = STATE_SPECS[name](bits)
    for threshold in THRESHOLDS:
        levels = spec.levels(threshold)
        assert levels.shape == (2**bits,)
        assert bool((levels.diff() > 0).all())
        fires = levels > torch.tensor(threshold, dtype=torch.float32)
        assert bool(fires[-1])
        assert not bool(fires[0])
        assert spec.first_firing_code(threshold) == int(fires.int().argmax())


@pytest.mark.parametrize("name", STATE_SPECS)
def test_specs_are_value_objects(name):
    spec = STATE_SPECS[name](4)
    assert spec == STATE_SPECS[name](4)
    assert spec != STATE_SPECS[name](3)
    assert hash(spec) == hash(STATE_SPECS[name](4))
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.to_json()["type"] == name
    with pytest.raises(AttributeError):
        spec.bits = 5


def test_json_keeps_every_argument():
    for spec in (
        squat.Uniform(3, lower_limit=0.25, upper_limit=0.5),
        squat.ThresholdCentered(5, upper_limit=0.4, base=0.8),
        squat.ZeroCentered(5, lower_limit=0.1, base=0.75),
        squat.Anchored(4, low=-2.0, high=1.5, base=0.7, decay="at_least_one_code"),
    ):
        assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec_from_json(None) is None


def test_unknown_json_is_refused():
    with pytest.raises(ValueError, match=r"'Logarithmic'.*Uniform"):
        spec_from_json({"type": "Logarithmic", "bits": 4})
    with pytest.raises(ValueError, match=r"'color'.*bits"):
        spec_from_json({"type": "Uniform", "bits": 4, "color": 1})
