"""Every range rule on every family of specs: contracts, and what sets the rules apart."""

from __future__ import annotations

import pytest
import torch

import squat
from squat.ptq import RANGE_RULES, StreamingHistogram, calibrate, fit_limits, fit_shape, quantization_error
from squat.ptq.ranges import TAKES, RangeOptions, check_taken, fitted

FAMILIES = (squat.Uniform, squat.ThresholdCentered, squat.ZeroCentered, squat.Anchored)


def _histogram(scale: float = 1.5) -> StreamingHistogram:
    histogram = StreamingHistogram()
    histogram.add(torch.randn(20_000, generator=torch.Generator().manual_seed(1)) * scale - 0.4)
    return histogram


def _error(spec: squat.StateSpec, threshold: float = 1.0) -> float:
    return quantization_error(spec, _histogram(), threshold)


@pytest.mark.parametrize("rule", RANGE_RULES)
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_rule_gives_a_spec_that_can_fire_and_be_silent(rule, kind):
    spec = fitted(rule, kind(3), _histogram(), 0.7, RangeOptions())
    assert spec.bits == 3
    assert type(spec) is (squat.Fitted if rule == "lloyd_max" else kind)
    for threshold in (0.7, 1.0, 2.473):
        assert 0 < spec.first_firing_code(threshold) < 8
        assert torch.equal(spec.encode(spec.levels(threshold), threshold).long(), torch.arange(8))


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_search_is_at_least_as_good_as_the_one_before(kind):
    names = ("published", "calibrated", "mse", "mse_base")
    errors = [_error(fitted(rule, kind(4), _histogram(), 1.0, RangeOptions())) for rule in names]
    assert errors == sorted(errors, reverse=True)


def test_calibrated_is_what_it_was():
    assert fitted("calibrated", squat.Uniform(4), _histogram(), 1.0, RangeOptions()) == fit_limits(
        squat.Uniform(4), _histogram()
    )


def test_max_and_percentile_are_the_ends_of_what_was_seen():
    histogram = StreamingHistogram()
    values = torch.linspace(-3.0, 5.0, 100_001)
    histogram.add(values)
    widest = fitted("max", squat.Anchored(4), histogram, 2.0, RangeOptions())
    assert (widest.low, widest.high) == (-1.5, 2.5)
    most = fitted("percentile", squat.Uniform(4), histogram, 1.0, RangeOptions(percentile=90.0))
    assert float(most.levels()[0]) == pytest.approx(float(values.quantile(0.1)), abs=0.01)
    assert float(most.levels()[-1]) == pytest.approx(float(values.quantile(0.9)), abs=0.01)
    assert fitted("percentile", squat.Uniform(4), histogram, 1.0, RangeOptions(percentile=100.0)) == fitted(
        "max", squat.Uniform(4), histogram, 1.0, RangeOptions()
    )


@pytest.mark.parametrize("rule", RANGE_RULES)
def test_membranes_far_below_the_threshold_leave_a_firing_level(rule):
    histogram = StreamingHistogram()
    histogram.add(torch.linspace(0.1, 0.3, 50))
    spec = fitted(rule, squat.Uniform(4), histogram, 1.0, RangeOptions())
    assert 0 < spec.first_firing_code() < 16


def test_a_fitted_base_finds_the_shape_of_the_membranes():
    threshold_like = StreamingHistogram()
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    threshold_like.add(1.0 - noise.abs() ** 3)
    limits, shape = (fit(squat.ThresholdCentered(4), threshold_like) for fit in (fit_limits, fit_shape))
    assert limits.base is None
    assert 0.5 < shape.base < 1.0
    assert quantization_error(shape, threshold_like) < 0.8 * quantization_error(limits, threshold_like)


def test_a_fit_with_weight_near_the_threshold_differs():
    plain, near = (
        fitted("mse_base", squat.ThresholdCentered(4), _histogram(), 1.0, RangeOptions(near_threshold=weight))
        for weight in (0.0, 1000.0)
    )
    assert quantization_error(near, _histogram(), 1.0, 1000.0) < quantization_error(plain, _histogram(), 1.0, 1000.0)
    assert _error(near) > _error(plain)


def test_clipping_is_for_every_rule_and_leaves_the_levels_inside():
    histogram = _histogram(20.0)  # bins of 1/16
    for rule in ("max", "mse", "lloyd_max"):
        levels = fitted(rule, squat.Uniform(4), histogram, 1.0, RangeOptions(clip=80.0)).levels()
        assert float(levels[0]) >= histogram.percentile(20.0) - 0.07
        assert float(levels[-1]) <= histogram.percentile(80.0) + 0.07
    clipped = fitted("max", squat.Uniform(4), histogram, 1.0, RangeOptions(clip=80.0))
    percentile = fitted("percentile", squat.Uniform(4), histogram, 1.0, RangeOptions(percentile=80.0))
    assert torch.allclose(clipped.levels(), percentile.levels(), atol=0.07)
    assert histogram.clipped(80.0).total == histogram.total
    assert histogram.clipped(100.0).counts.tolist() == histogram.counts.tolist()
    with pytest.raises(ValueError, match=r"clip=40\.0: expected a finite number in \(50, 100\]"):
        RangeOptions(clip=40.0)


def test_lloyd_max_keeps_what_the_spec_anchors():
    free = fitted("lloyd_max", squat.Uniform(4), _histogram(), 1.0, RangeOptions())
    assert (free.firing, 0.0 in free.unit_levels) == ("midpoint", False)
    anchored = fitted("lloyd_max", squat.Anchored(4), _histogram(), 1.0, RangeOptions())
    assert (anchored.firing, 0.0 in anchored.unit_levels) == ("threshold", True)
    again = fitted("lloyd_max", anchored, _histogram(), 1.0, RangeOptions())
    assert again == anchored


def test_what_a_rule_cannot_do_is_said():
    with pytest.raises(ValueError, match=r"fitted levels decay freely, expected decay='free'; keep the scheme with"):
        fitted("lloyd_max", squat.Anchored(4, decay="at_least_one_code"), _histogram(), 1.0, RangeOptions())
    with pytest.raises(ValueError, match=r"Fitted has no limits to calibrate.*or 'lloyd_max' for levels of any kind"):
        fitted("mse", squat.Fitted(4), _histogram(), 1.0, RangeOptions())
    with pytest.raises(ValueError, match=r"percentile=50\.0: expected a finite number in"):
        RangeOptions(percentile=50.0)
    with pytest.raises(TypeError, match="near_threshold='much': expected a finite number >= 0"):
        RangeOptions(near_threshold="much")


OPTIONS = {"percentile": 70.0, "near_threshold": 1e4, "clip": 70.0}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("rule", RANGE_RULES)
def test_a_rule_takes_the_options_that_change_its_levels_and_no_other(rule, option):
    spec, given = squat.ThresholdCentered(4), RangeOptions(**{option: OPTIONS[option]})
    plain, changed = (fitted(rule, spec, _histogram(), 1.0, options) for options in (RangeOptions(), given))
    assert (plain != changed) == (option in TAKES[rule])
    if option in TAKES[rule]:
        check_taken(rule, given, spec)
        return
    with pytest.raises(
        ValueError, match=rf"{option}=\d+\.0 does nothing with state_range='{rule}': expected state_range='"
    ):
        check_taken(rule, given, spec)


@pytest.mark.parametrize("options", [{"state_range": "mse"}, *({name: value} for name, value in OPTIONS.items())])
def test_what_is_for_states_is_refused_without_them(options):
    net, data = squat.Sequential(squat.Linear(3, 4), squat.LIF(0.9)), [torch.ones(5, 2, 3)]
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"^{name}=.* does nothing with states=None: expected a state spec"):
        calibrate(net, data, weights=squat.IntWeight(4), **options)


def test_calibrate_names_the_layer_whose_levels_cannot_be_found():
    net = squat.Sequential(squat.LI(0.8))
    data = [torch.full((10, 2, 3), 4.0)]
    with pytest.raises(ValueError, match=r"layer 0 \(LI\), state_range='max': .*every level lies above the threshold"):
        calibrate(net, data, states=squat.ThresholdCentered(2), state_range="max")
    with pytest.raises(ValueError, match="state_range='least': expected one of 'published', 'calibrated', 'max'"):
        calibrate(net, data, states=squat.Uniform(2), state_range="least")
    with pytest.raises(TypeError, match="percentile='all': expected a finite number"):
        calibrate(net, data, states=squat.Uniform(2), percentile="all")


@pytest.mark.parametrize("rule", RANGE_RULES)
def test_calibrate_knows_every_rule(rule):
    net = squat.Sequential(squat.Linear(9, 16), squat.LIF(0.9, threshold=1.7))
    data = [(torch.rand(12, 6, 9, generator=torch.Generator().manual_seed(0)) < 0.5).float()]
    quantized, report = calibrate(net, data, weights=squat.IntWeight(4), states=squat.Anchored(4), state_range=rule)
    assert report.state_range == rule
    assert quantized[1].state_spec == report.states[0].spec
    assert quantized(data[0])[1][1].codes is not None
