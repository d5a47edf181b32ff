from dataclasses import dataclass

import pytest
import torch

from squat.ptq import StreamingHistogram, fit_limits, quantization_error, with_range
from squat.quant.encoder import quantize_state
from squat.quant.spec import Anchored, StateSpec, ThresholdCentered, Uniform, ZeroCentered

FAMILIES = (Uniform, ThresholdCentered, ZeroCentered, Anchored)


def _membranes(scale: float = 1.5) -> torch.Tensor:
    return torch.randn(40_000, generator=torch.Generator().manual_seed(1)) * scale - 0.4


def _histogram(values: torch.Tensor) -> StreamingHistogram:
    histogram = StreamingHistogram()
    histogram.add(values)
    return histogram


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("bits", [2, 4])
def test_error_over_the_histogram_is_that_of_the_values(kind, bits):
    values = _membranes()
    direct = float(((quantize_state(values, kind(bits)) - values).double() ** 2).mean())
    assert quantization_error(kind(bits), _histogram(values)) == pytest.approx(direct, rel=0.02)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fitted_limits_are_never_worse_and_keep_the_scheme(kind, bits):
    spec, histogram = kind(bits), _histogram(_membranes())
    fitted = fit_limits(spec, histogram)
    assert type(fitted) is kind
    assert fitted.bits == bits
    assert 0 < fitted.first_firing_code() < 2**bits
    assert quantization_error(fitted, histogram) <= quantization_error(spec, histogram)


def test_a_wide_range_is_fitted_to_wide_membranes():
    values = _membranes(4.0)
    fitted = fit_limits(Uniform(4), _histogram(values))
    assert quantization_error(fitted, _histogram(values)) < 0.2 * quantization_error(Uniform(4), _histogram(values))


def test_four_bits_clip_and_eight_bits_keep_more_of_the_range():
    histogram = _histogram(_membranes())
    four, eight = (fit_limits(Uniform(bits), histogram) for bits in (4, 8))
    assert eight.lower_limit > four.lower_limit
    assert float(four.levels()[0]) > histogram.low


def test_limits_scale_with_the_threshold():
    values = _membranes()
    one = fit_limits(Uniform(4), _histogram(values))
    four = fit_limits(Uniform(4), _histogram(values * 4), threshold=4.0)
    assert four.upper_limit == pytest.approx(one.upper_limit)
    assert four.lower_limit == pytest.approx(one.lower_limit)


@pytest.mark.parametrize("kind", FAMILIES)
def test_membranes_that_never_reach_the_threshold_still_leave_a_firing_level(kind):
    fitted = fit_limits(kind(4), _histogram(torch.linspace(0.0, 0.5, 100)))
    assert float(fitted.levels()[-1]) > 1.0


def test_decay_and_base_are_kept():
    fitted = fit_limits(Anchored(4, base=0.8, decay="at_least_one_code"), _histogram(_membranes()))
    assert (fitted.base, fitted.decay) == (0.8, "at_least_one_code")


def test_an_empty_histogram_is_refused():
    with pytest.raises(ValueError, match="histogram is empty: expected observed membranes"):
        fit_limits(Uniform(4), StreamingHistogram())


@dataclass(frozen=True)
class _Fixed(StateSpec):
    def levels(self, threshold: float = 1.0) -> torch.Tensor:
        return torch.tensor([-1.0, 0.0, 1.0, 2.0]) * threshold


def test_a_spec_without_limits_cannot_be_calibrated():
    with pytest.raises(ValueError, match=r"_Fixed has no limits to calibrate.*use state_range='published'"):
        fit_limits(_Fixed(2), _histogram(_membranes()))


def test_with_range_refuses_a_range_without_a_firing_level():
    with pytest.raises(ValueError, match="could never fire"):
        with_range(Uniform(4), -1.0, 0.9)
