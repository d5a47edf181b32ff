"""The public names, pinned: a name that appears, vanishes or has no docstring is noticed here."""

import inspect

import pytest

import squat

NAMES = {
    *("levels", "Uniform", "ThresholdCentered", "ZeroCentered", "Anchored", "StateSpec", "IntWeight"),
    *("Linear", "Conv2d", "Sequential", "LIF", "LI", "RLIF", "ConvRLIF", "Lapicque", "SpikingLSTM", "sample_beta"),
    *("CubaLIF", "RCubaLIF", "AlphaLIF", "ALIF", "RALIF", "Residual", "Heads"),
    *("quantize_", "dequantize_", "from_snntorch", "to_snntorch"),
    *("calibrate", "checkpoint_over_time", "save", "load", "__version__"),
}


def test_the_public_names_are_these():
    assert set(squat.__all__) >= NAMES


@pytest.mark.parametrize("name", sorted(squat.__all__))
def test_every_public_name_resolves_is_listed_and_documented(name):
    value = getattr(squat, name)
    assert name in dir(squat)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Anchord'"):
        squat.Anchord  # noqa: B018 - reading the name is the test
