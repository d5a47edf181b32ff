"""Codes of the published sets equal snnTorch's rule; `encode` is a monotone, pure function of each value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import squat
from oracles import (
    PUBLISHED,
    THRESHOLDS,
    nearest_code,
    neighbourhood,
    snntorch_levels,
    snntorch_quantizer,
    unchecked,
    usable,
)
from squat.quant.spec import STATE_SPECS

pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")
DTYPES = (torch.float32, torch.float64)
ALL_BITS = range(1, 9)


def assert_snntorch_code(spec, x, threshold=1.0):
    levels = snntorch_levels(spec, threshold)
    codes = spec.encode(x, threshold)
    assert codes.dtype == torch.uint8
    assert codes.shape == x.shape
    assert torch.equal(codes.long(), nearest_code(levels, x)), f"{spec} at {threshold}, {x.dtype}"
    assert torch.equal(levels[codes.long()], snntorch_quantizer(spec, threshold)(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", PUBLISHED)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_random_values(scheme, bits, dtype):
    generator = torch.Generator().manual_seed(bits)
    for threshold in THRESHOLDS:
        inside = torch.rand(700, generator=generator, dtype=dtype) * 3 - 1.5
        outside = torch.randn(300, generator=generator, dtype=dtype) * 8
        assert_snntorch_code(scheme(bits), torch.cat([inside, outside]) * threshold, threshold)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", PUBLISHED)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_levels_and_their_neighbours(scheme, bits, dtype):
    for threshold in THRESHOLDS:
        spec = scheme(bits)
        levels = snntorch_levels(spec, threshold).to(dtype)
        assert torch.equal(spec.encode(levels, threshold).long(), torch.arange(2**bits))
        assert_snntorch_code(spec, neighbourhood(levels, 2), threshold)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", PUBLISHED)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_every_float_around_every_midpoint(scheme, bits, dtype):
    for threshold in THRESHOLDS:
        spec = scheme(bits)
        levels = snntorch_levels(spec, threshold).double()
        midpoints = ((levels[1:] + levels[:-1]) / 2).to(dtype)
        assert_snntorch_code(spec, neighbourhood(midpoints, 8), threshold)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", PUBLISHED)
@given(
    bits=st.integers(1, 8),
    threshold=st.floats(0.05, 20.0),
    lower=st.floats(0.0, 2.0),
    upper=st.floats(0.05, 2.0),
    gap_ratio=st.floats(1e-6, 0.5),
)
@settings(max_examples=25)
def test_midpoints_for_any_threshold_limits_and_base(scheme, dtype, bits, threshold, lower, upper, gap_ratio):
    # Where gaps differ by more than 2^23, snnTorch's rounded distances tie across levels and its rule is not monotone.
    shape = {} if scheme is squat.Uniform else {"base": gap_ratio ** (1 / 2**bits)}
    assume(usable(snntorch_levels(unchecked(scheme, bits, lower_limit=lower, upper_limit=upper, **shape))))
    spec = scheme(bits, lower_limit=lower, upper_limit=upper, **shape)
    levels = snntorch_levels(spec, threshold).double()
    midpoints = ((levels[1:] + levels[:-1]) / 2).to(dtype)
    assert_snntorch_code(spec, neighbourhood(midpoints, 8), threshold)


@pytest.mark.parametrize("base", [0.05, 0.5])
@pytest.mark.parametrize("scheme", [squat.ThresholdCentered, squat.ZeroCentered])
@pytest.mark.parametrize("bits", [4, 8])
def test_levels_that_coincide_in_float32_share_the_lower_code(scheme, bits, base):
    levels = snntorch_levels(unchecked(scheme, bits, base=base))
    if bool((levels.diff() < 0).any()):
        with pytest.raises(ValueError, match="base"):
            scheme(bits, base=base)
        return
    spec = scheme(bits, base=base)
    x = torch.cat([levels, neighbourhood(levels, 2).flatten(), torch.linspace(-2, 2, 501)])
    assert_snntorch_code(spec, x)


@pytest.mark.parametrize("name", STATE_SPECS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_boundaries_are_what_encode_counts(name, bits):
    for threshold, dtype in ((1.0, torch.float32), (2.473, torch.float32), (0.25, torch.float64)):
        spec = STATE_SPECS[name](bits)
        bounds = spec.boundaries(threshold, dtype)
        assert bounds.shape == (2**bits - 1,)
        assert bounds.dtype == dtype
        x = neighbourhood(bounds, 3)
        assert torch.equal(spec.encode(x, threshold).long(), (x[..., None] > bounds).sum(-1))


values = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=40)
specs = st.builds(lambda name, bits: STATE_SPECS[name](bits), st.sampled_from(sorted(STATE_SPECS)), st.integers(1, 8))


@given(spec=specs, x=values, threshold=st.sampled_from(THRESHOLDS))
@settings(max_examples=100)
def test_encode_is_monotone(spec, x, threshold):
    codes = spec.encode(torch.tensor(sorted(x)), threshold).long()
    assert bool((codes.diff() >= 0).all())


@given(spec=specs, x=values, threshold=st.sampled_from(THRESHOLDS))
@settings(max_examples=100)
def test_encode_is_idempotent_on_levels(spec, x, threshold):
    codes = spec.encode(torch.tensor(x), threshold)
    again = spec.encode(spec.levels(threshold)[codes.long()], threshold)
    assert torch.equal(codes, again)


@given(spec=specs, x=values, data=st.data())
@settings(max_examples=60)
def test_encode_ignores_order_shape_and_memory_layout(spec, x, data):
    flat = torch.tensor(x)
    codes = spec.encode(flat)
    order = torch.tensor(data.draw(st.permutations(range(len(x)))))
    assert torch.equal(spec.encode(flat[order]), codes[order])
    strided = torch.stack([flat, -flat], dim=-1)
    assert torch.equal(spec.encode(strided[:, 0]), codes)
    assert torch.equal(spec.encode(strided.t()), spec.encode(strided.t().contiguous()))
    assert torch.equal(spec.encode(flat.expand(3, -1)), codes.expand(3, -1))
    one_by_one = torch.stack([spec.encode(value) for value in flat])
    assert torch.equal(one_by_one, codes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_values_are_compared_in_float32(dtype):
    x = torch.linspace(-2, 2, 999).to(dtype)
    for spec in (squat.Uniform(8), squat.ThresholdCentered(8), squat.Anchored(8)):
        assert torch.equal(spec.encode(x), spec.encode(x.float()))


def test_encode_leaves_its_input_alone_and_takes_empty_tensors():
    x = torch.tensor([0.3, -0.2], requires_grad=True)
    before = x.detach().clone()
    codes = squat.Uniform(4).encode(x)
    assert not codes.requires_grad
    assert torch.equal(x.detach(), before)
    assert squat.Uniform(4).encode(torch.zeros(0, 3)).shape == (0, 3)
