import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squat.ops.encoder import COUNT, EVEN, EXPONENTIAL, HALVES, encode_row, make_encoder
from squat.ops.lif.tables import LoopConfig, code_tables
from squat.ops.simd import LANES
from squat.quant.encoder import COMPILED_SIZE, count_below, encode, quantize_state
from squat.quant.spec import STATE_SPECS, level_tables

ALL = [(name, bits) for name in STATE_SPECS for bits in range(2, 9)]


def near(bounds):
    """Values at, just beside and far from the bounds."""
    if bounds.dtype == np.int32:
        beside = np.concatenate([bounds.astype(np.int64) + step for step in range(-3, 4)] + [[-(2**31), 2**31 - 1, 0]])
        return np.clip(beside, -(2**31), 2**31 - 1).astype(np.int32)
    up, down = (np.nextafter(bounds, bounds.dtype.type(side)) for side in (np.inf, -np.inf))
    return np.concatenate([bounds, up, down, np.array([-np.inf, -1e30, 0.0, -0.0, 1e30, np.inf], bounds.dtype)])


def codes_of(values, bounds):
    """By the compiled encoder, and the way it took."""
    encoder = make_encoder(bounds)
    room = -(-len(values) // LANES) * LANES
    padded = np.resize(values, room)
    code, pair = np.empty(room, np.int32), np.empty(room, np.int32)
    encode_row(padded, encoder, code, np.empty_like(padded), pair)
    return code[: len(values)], encoder.way


def assert_exact(bounds, more=()):
    values = np.concatenate([near(bounds), np.asarray(more, bounds.dtype)])
    code, way = codes_of(values, bounds)
    np.testing.assert_array_equal(code, np.searchsorted(bounds, values))
    return way


@pytest.mark.parametrize(("name", "bits"), ALL)
@pytest.mark.parametrize("threshold", [1.0, 0.37])
def test_codes_of_every_level_set(name, bits, threshold):
    rng = np.random.default_rng(bits)
    for dtype in (torch.float32, torch.float64):
        bounds = level_tables(STATE_SPECS[name](bits), threshold, dtype)[1].numpy()
        way = assert_exact(bounds, rng.uniform(-2, 2, 1000))
        assert way == (COUNT if bits <= 4 else HALVES) if dtype == torch.float64 or bits <= 4 else way < HALVES


@pytest.mark.parametrize(("name", "bits"), ALL)
def test_codes_of_every_level_set_in_integers(name, bits):
    rng = np.random.default_rng(bits)
    config = LoopConfig(STATE_SPECS[name](bits), integer=True, spiking=False)
    for scale, sum_bound in ((0.05, 700), (0.0054, 4900), (0.0003, 88900)):
        tables = code_tables(
            config, torch.float32, torch.tensor(0.9), torch.tensor(1.0), torch.tensor(scale), None, sum_bound
        )
        bounds = tables.integers.bound[0].numpy()
        way = assert_exact(bounds, rng.integers(bounds[0] - 100, int(bounds[-1]) + 100, 1000))
        assert way < HALVES


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=255), st.booleans())
def test_codes_of_any_integer_bounds(bounds, crowded):
    assert_exact(np.sort(np.array(bounds, np.int64) >> (22 if crowded else 0)).astype(np.int32))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=255))
def test_codes_of_any_float_bounds(bounds):
    assert_exact(np.sort(np.array(bounds, np.float32)))


def test_each_way_is_taken():
    two_clusters = np.concatenate([np.arange(100), 2**30 + np.arange(100)])
    bounds = [np.arange(15), np.arange(255) * 100, np.cumsum(1.1 ** np.arange(100)) * 1000, two_clusters]
    assert [assert_exact(b.astype(np.int32)) for b in bounds] == [COUNT, EVEN, EXPONENTIAL, HALVES]


@pytest.mark.parametrize(("name", "bits"), ALL)
def test_many_values_equal_the_specification(name, bits):
    spec = STATE_SPECS[name](bits)
    x = torch.empty(COMPILED_SIZE + 5).uniform_(-1.5, 1.5)
    levels, bounds, _ = level_tables(spec, 1.0, torch.float32)
    expected = count_below(x, bounds)
    codes = encode(spec, x)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes.long(), expected)
    assert torch.equal(quantize_state(x, spec), levels[expected])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_many_values_must_be_finite(wrong):
    x = torch.zeros(COMPILED_SIZE)
    x[-1] = wrong
    for call in (lambda: encode(STATE_SPECS["Uniform"](4), x), lambda: quantize_state(x, STATE_SPECS["Uniform"](4))):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call()
