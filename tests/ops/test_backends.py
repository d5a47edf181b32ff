"""The compiled loop equals the reference: codes, membranes and spikes exactly, on every spec, shape, reset and rule."""

from __future__ import annotations

import pytest
import torch

import squat
from squat.layers import Current

SPECS = [
    None,
    *(squat.Uniform(bits) for bits in (1, 2, 4, 8)),
    *(squat.ThresholdCentered(bits) for bits in (1, 3, 4, 8)),
    *(squat.ZeroCentered(bits) for bits in (2, 5, 8)),
    *(squat.Anchored(bits) for bits in (1, 2, 4, 8)),
    *(squat.Anchored(bits, decay="at_least_one_code") for bits in (2, 4, 8)),
]
RESETS = [("subtract", "keep_input"), ("zero", "keep_input"), ("zero", "drop_input"), ("none", "keep_input")]
SHAPES = [(7, 3, 5), (1, 1, 1), (9, 1, 17), (3, 4, 1), (2, 33, 65), (5, 2, 3, 4, 5)]


def random_currents(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.3


def random_sums(shape, seed=0, per_channel=False, bias=True):
    """A `Current` with integer sums, as a quantized layer hands it on."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(-40, 61, shape, generator=generator).float()
    channels = shape[2]
    scale = torch.rand(channels, generator=generator) * 0.02 + 0.01 if per_channel else torch.tensor(0.0173)
    return Current(z, scale, torch.randn(channels, generator=generator) * 0.05 if bias else None, 64)


@torch.no_grad()
def assert_equal_on_both(neuron, x, state=None):
    with squat.ops.backend("reference"):
        expected, expected_state = neuron(x, state)
    with squat.ops.backend("cpu"):
        out, out_state = neuron(x, state)
    assert out.dtype == expected.dtype
    assert torch.equal(out, expected)
    assert torch.equal(out_state.u, expected_state.u)
    assert out_state.u.dtype == expected_state.u.dtype
    assert out_state.fresh == expected_state.fresh
    assert (out_state.codes is None) == (expected_state.codes is None)
    if out_state.codes is not None:
        assert out_state.codes.dtype == expected_state.codes.dtype == torch.uint8
        assert torch.equal(out_state.codes, expected_state.codes)
    return out_state


def lif(spec, reset, zero_reset, **arguments):
    return squat.LIF(0.9, 0.8, state=spec, reset=reset, zero_reset=zero_reset, **arguments)


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_float_rule(spec, reset, zero_reset):
    neuron = lif(spec, reset, zero_reset)
    for shape in SHAPES:
        state = assert_equal_on_both(neuron, random_currents(shape))
        assert_equal_on_both(neuron, random_currents(shape, seed=1), state)


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("spec", SPECS[1:], ids=str)
def test_integer_rule(spec, reset, zero_reset):
    neuron = lif(spec, reset, zero_reset)
    for number, shape in enumerate(SHAPES):
        per_channel, bias = number % 2 == 1, number % 3 != 2
        state = assert_equal_on_both(neuron, random_sums(shape, 0, per_channel, bias))
        assert_equal_on_both(neuron, random_sums(shape, 1, per_channel, bias), state)


@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(8), squat.Anchored(2)], ids=str)
def test_float64(spec):
    neuron = lif(spec, "subtract", "keep_input").double()
    assert_equal_on_both(neuron, random_currents((6, 3, 7)).double())


@pytest.mark.parametrize("spec", SPECS[::3], ids=str)
def test_decay_per_neuron(spec):
    neuron = squat.LIF(torch.linspace(0, 1, 11).tolist(), 1.3, state=spec)
    assert_equal_on_both(neuron, random_currents((8, 3, 11)))
    if spec is not None:
        assert_equal_on_both(neuron, random_sums((8, 3, 11), per_channel=True))
        assert_equal_on_both(neuron, random_sums((8, 3, 11), per_channel=False))


@pytest.mark.parametrize("spec", SPECS[::2], ids=str)
def test_membrane_readout(spec):
    neuron = squat.LI(0.95, state=spec)
    state = assert_equal_on_both(neuron, random_currents((8, 3, 11)))
    assert_equal_on_both(neuron, random_currents((8, 3, 11), seed=1), state)
    if spec is not None:
        assert_equal_on_both(neuron, random_sums((8, 3, 11)))


@pytest.mark.parametrize("initial", ["zero", "code_of_zero"])
@pytest.mark.parametrize("spec", [squat.ThresholdCentered(2), squat.Uniform(4)], ids=str)
def test_initial_state(spec, initial):
    neuron = squat.LIF(0.9, state=spec, initial=initial)
    assert_equal_on_both(neuron, random_currents((5, 3, 7)))
    assert_equal_on_both(neuron, random_sums((5, 3, 7)))


@pytest.mark.parametrize("spec", [None, squat.ThresholdCentered(4)], ids=str)
def test_memory_layout_of_the_input_does_not_matter(spec):
    neuron = squat.LIF(0.9, state=spec)
    x = random_currents((6, 4, 10))
    expected = neuron(x)[0]
    transposed = x.transpose(0, 2).contiguous().transpose(0, 2)
    sliced = random_currents((6, 4, 20)).copy_(torch.cat([x, x], dim=2))[:, :, :10]
    for same in (transposed, sliced):
        assert not same.is_contiguous()
        assert torch.equal(neuron(same)[0], expected)
        assert_equal_on_both(neuron, same)
    constant = x[0].expand(6, -1, -1)
    assert constant.stride(0) == 0
    assert_equal_on_both(neuron, constant)
    assert torch.equal(neuron(constant)[0], neuron(constant.contiguous())[0])


@pytest.mark.parametrize("spec", [squat.ThresholdCentered(4), squat.Anchored(8)], ids=str)
def test_constant_integer_sums(spec):
    neuron = squat.LIF(0.9, state=spec)
    current = random_sums((1, 4, 10), per_channel=True)
    constant = current._replace(z=current.z.expand(6, -1, -1))
    assert_equal_on_both(neuron, constant)
    assert torch.equal(neuron(constant)[0], neuron(constant._replace(z=constant.z.contiguous()))[0])


RECURRENT = [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(4), squat.Anchored(8)]


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("weight", [None, squat.IntWeight(4), squat.IntWeight(8, granularity="channel")], ids=str)
@pytest.mark.parametrize("spec", RECURRENT, ids=str)
def test_recurrent(spec, weight, reset, zero_reset):
    for shared in (True, False):
        torch.manual_seed(0)
        neuron = squat.RLIF(
            9, 13, 0.9, 0.7, weight=weight, state=spec, reset=reset, zero_reset=zero_reset, shared_scale=shared
        )
        with torch.no_grad():
            neuron.weight_in.mul_(3.0)
        neuron.eval()
        for steps, batch in ((7, 3), (1, 1), (5, 1)):
            spikes = (torch.rand(steps, batch, 9, generator=torch.Generator().manual_seed(steps)) < 0.4).float()
            state = assert_equal_on_both(neuron, spikes)
            assert_equal_on_both(neuron, spikes.flip(0), state)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_recurrent_on_pixels(bits):
    """A recurrent spike counts 255 units of a pixel input, so the recurrent integers outgrow a byte."""
    torch.manual_seed(0)
    neuron = squat.RLIF(
        9, 13, 0.9, 0.4, weight=squat.IntWeight(bits), state=squat.Anchored(4), input_scale=1 / 255, input_max=255
    ).eval()
    pixels = torch.randint(0, 256, (7, 3, 9), generator=torch.Generator().manual_seed(1)).float()
    assert_equal_on_both(neuron, pixels)
    assert_equal_on_both(neuron, pixels[:1].expand(7, -1, -1))
    assert 0.02 < float(neuron(pixels)[0].detach().mean()) < 0.98


@pytest.mark.parametrize("weight", [None, squat.IntWeight(4)], ids=str)
def test_float_rule_on_request(weight):
    torch.manual_seed(0)
    neuron = squat.RLIF(9, 13, 0.9, weight=weight, state=squat.Uniform(4), arithmetic="float").eval()
    spikes = (torch.rand(7, 3, 9, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    assert_equal_on_both(neuron, spikes)
    plain = squat.LIF(0.9, state=squat.Uniform(4), arithmetic="float")
    current = random_sums((7, 3, 9))
    assert_equal_on_both(plain, current)
    assert torch.equal(plain(current)[0], plain(current.dense())[0])


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"'fpga'.*'reference'"), squat.ops.backend("fpga"):
        pass


def test_backend_is_restored_after_an_error():
    neuron, x = squat.LIF(0.9), random_currents((3, 2, 4))
    expected = neuron(x)[0]
    with pytest.raises(RuntimeError, match="inside"), squat.ops.backend("reference"):
        raise RuntimeError("inside")
    assert torch.equal(neuron(x)[0], expected)
