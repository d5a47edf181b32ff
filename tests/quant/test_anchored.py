"""What `Anchored` promises: 0 is a level, quantizing never flips a spike, both signs stay, no dead zone on request."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat
from oracles import THRESHOLDS, neighbourhood

ALL_BITS = range(1, 9)
DECAYS = ("free", "at_least_one_code")
BETAS = (0.5, 0.8, 0.9, 0.95, 0.99)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_zero_is_a_level_and_both_signs_are_kept(bits, decay):
    for threshold in THRESHOLDS:
        spec = squat.Anchored(bits, decay=decay)
        levels = spec.levels(threshold)
        assert int((levels == 0).sum()) == 1
        assert spec.encode(torch.tensor(0.0), threshold) == int((levels == 0).int().argmax())
        if bits >= 2:
            assert int((levels < 0).sum()) >= 1
            assert int((levels > threshold).sum()) >= 1
            assert int(((levels > 0) & (levels < threshold)).sum()) >= 1


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_quantizing_never_flips_a_spike(bits, decay):
    for threshold in THRESHOLDS:
        spec = squat.Anchored(bits, decay=decay)
        theta = torch.tensor([threshold], dtype=torch.float32)
        near = neighbourhood(theta, 50).flatten()
        x = torch.cat([near, torch.linspace(-3, 3, 401) * threshold])
        codes = spec.encode(x, threshold)
        assert torch.equal(codes >= spec.first_firing_code(threshold), x > theta)
        assert torch.equal(spec.levels(threshold)[codes.long()] > theta, x > theta)


@pytest.mark.parametrize("threshold", [1.0, 0.25, 5.0])
def test_quantizing_never_flips_a_spike_in_float64(threshold):
    x = neighbourhood(torch.tensor([threshold], dtype=torch.float64), 50)
    for bits in ALL_BITS:
        spec = squat.Anchored(bits)
        assert torch.equal(spec.encode(x, threshold) >= spec.first_firing_code(threshold), x > threshold)


@given(
    bits=st.integers(2, 8),
    low=st.floats(-4, -0.1),
    high=st.floats(1.05, 4),
    base=st.floats(0.9, 1.0),
    threshold=st.sampled_from(THRESHOLDS),
)
@settings(max_examples=60)
def test_any_range_and_base(bits, low, high, base, threshold):
    spec = squat.Anchored(bits, low=low, high=high, base=base)
    levels = spec.levels(threshold)
    assert bool((levels.diff() > 0).all())
    assert levels[0] == pytest.approx(low * threshold, rel=1e-6)
    assert levels[-1] == pytest.approx(high * threshold, rel=1e-6)
    assert int((levels == 0).sum()) == 1
    theta = torch.tensor([threshold], dtype=torch.float32)
    x = neighbourhood(theta, 20)
    assert torch.equal(spec.encode(x, threshold) >= spec.first_firing_code(threshold), x > theta)


@pytest.mark.parametrize("bits", range(3, 9))
def test_levels_gather_at_the_threshold(bits):
    spec = squat.Anchored(bits)
    levels = spec.levels()
    first = spec.first_firing_code()
    silent = levels[int((levels == 0).int().argmax()) : first].diff()
    assert bool((silent.diff() <= 1e-6).all())  # gaps shrink towards the threshold
    assert bool((levels[first:].diff().diff() >= -1e-6).all())  # and grow beyond it


def decay_without_input(spec, beta, threshold, current):
    """Codes before and after one silent step, for every code; `current` makes the layer's input from a zero tensor."""
    lif = squat.LIF(beta, threshold, state=spec, reset="none")
    levels = spec.levels(threshold)
    # A first step from the float rest state reaches every code, the second one has no input.
    first = levels.reshape(1, 1, -1)
    _, state = lif(first)
    codes = state.codes.clone()
    assert torch.equal(codes.flatten().long(), torch.arange(2**spec.bits))
    _, state = lif(current(torch.zeros_like(first)), state)
    return codes.flatten().long(), state.codes.flatten().long()


def integer_current(zeros):
    return squat.layers.Current(zeros, torch.tensor(0.013), None, 1000)


@pytest.mark.parametrize("rule", ["float", "integer"])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_at_least_one_code_leaves_no_dead_zone(bits, beta, rule):
    spec = squat.Anchored(bits, decay="at_least_one_code")
    for threshold in (1.0, 0.3):
        make = integer_current if rule == "integer" else (lambda zeros: zeros)
        before, after = decay_without_input(spec, beta, threshold, make)
        rest = int((spec.levels(threshold) == 0).int().argmax())
        assert after[rest] == rest
        assert bool((after[before > rest] < before[before > rest]).all()), (before, after)
        assert bool((after[before > rest] >= rest).all())
        assert bool((after[before < rest] > before[before < rest]).all())
        assert bool((after[before < rest] <= rest).all())


@pytest.mark.parametrize("beta", BETAS)
def test_free_decay_quantizes_the_leak_like_any_value(beta):
    spec = squat.Anchored(4)
    _, after = decay_without_input(spec, beta, 1.0, lambda zeros: zeros)
    leak = torch.tensor(beta, dtype=torch.float32) * spec.levels()
    assert torch.equal(after, spec.encode(leak).long())
