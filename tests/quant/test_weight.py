"""Weight specs and quantizers: scales, integers, gradients, state, errors; Brevitas where the definitions coincide."""

import copy
import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from squat.quant.spec import spec_from_json
from squat.quant.weight import WEIGHT_SPECS, IntWeight, WeightQuantizer, row_bound

SPECS = [
    IntWeight(bits, granularity, scale)
    for bits in (2, 4, 8)
    for granularity in ("tensor", "channel")
    for scale in ("mse", "max", "learned")
]
SPECS += [IntWeight(bits, "shift", scale) for bits in (2, 4, 8) for scale in ("mse", "max")]


def weights(seed=0, shape=(12, 35)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def fitted(spec, weight):
    quantizer = WeightQuantizer(spec, weight.shape)
    quantizer.rescale(weight)
    return quantizer


def over(scale, weight):
    return scale.reshape(-1, *[1] * (weight.dim() - 1)) if scale.dim() else scale


# The spec


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_spec_round_trips(spec):
    values = spec.to_json()
    assert spec_from_json(values) == spec
    assert WEIGHT_SPECS[values.pop("type")](**values) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len({spec, copy.deepcopy(spec)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.bits = 3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"bits": 1}, ValueError, r"bits=1: expected an integer from 2 to 8; leave the weights in float"),
        ({"bits": 9}, ValueError, r"bits=9: expected an integer from 2 to 8"),
        ({"bits": 4.0}, TypeError, r"bits=4.0: expected an integer from 2 to 8"),
        ({"bits": True}, TypeError, r"bits=True: expected an integer"),
        (
            {"bits": 4, "granularity": "row"},
            ValueError,
            r"granularity='row': expected one of 'tensor', 'channel', 'shift'",
        ),
        ({"bits": 4, "granularity": "shift", "scale": "learned"}, ValueError, "powers of two have no gradient"),
        ({"bits": 4, "scale": "std"}, ValueError, r"scale='std': expected one of 'mse', 'max', 'learned'"),
    ],
)
def test_spec_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        IntWeight(**arguments)


def test_quantizer_refuses_another_spec():
    with pytest.raises(TypeError, match="spec=4: expected an IntWeight"):
        WeightQuantizer(4, (2, 3))


# The quantizer


@given(seed=st.integers(0, 10_000), spec=st.sampled_from(SPECS), gain=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=60)
def test_quantizer_properties(seed, spec, gain):
    weight = weights(seed, (3, 2, 4)) * gain
    quantizer = fitted(spec, weight).eval()
    with torch.no_grad():
        w_int, scale = quantizer(weight)
        value = over(scale, weight) * w_int
        again, same = quantizer(value)
    assert torch.equal(again, w_int)
    assert torch.equal(same, scale)
    assert torch.equal(w_int, w_int.round())
    own = quantizer.current_scale()  # of each channel, where shifts have taken it out of `scale`
    assert (w_int.abs() <= over(own / scale, weight) * spec.qmax).all()
    inside = weight.abs() <= over(own, weight) * spec.qmax
    assert ((weight - value).abs() <= over(own, weight) * 0.50001)[inside].all()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_all_zero_weights_keep_a_positive_scale(spec):
    weight = torch.zeros(4, 6)
    weight[0, 1] = 0.5 if spec.granularity == "channel" else 0.0
    quantizer = fitted(spec, weight)
    for _ in range(2):
        w_int, scale = quantizer(weight)
        assert (scale > 0).all()
        assert scale.isfinite().all()
        assert torch.equal(w_int[1:], torch.zeros(3, 6))
        torch.testing.assert_close(scale.detach().reshape(-1)[-1], torch.tensor(1.0 / spec.qmax))


@pytest.mark.parametrize("scale", ["mse", "max"])
def test_scale_moves_in_training_and_rests_in_eval(scale):
    weight = weights(1)
    quantizer = fitted(IntWeight(4, "channel", scale), weight)
    before = quantizer.scale.clone()
    quantizer.eval()(weight * 1.1)
    assert torch.equal(quantizer.scale, before)
    quantizer.train()
    _, first = quantizer(weight * 1.1)
    kept = first.clone()
    assert not torch.equal(quantizer.scale, before)
    quantizer(weight * 1.3)
    assert torch.equal(first, kept)


def test_extreme_weights():
    spec = IntWeight(8)
    for size in (1e-38, 3e37):
        w_int, scale = fitted(spec, weights() * size)(weights() * size)
        assert scale > 0
        assert w_int.isfinite().all()
    assert fitted(spec, torch.full((2, 2), 3e38))(torch.full((2, 2), 3e38))[0].eq(127).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("spec", SPECS[:3], ids=repr)
def test_non_finite_weights_are_refused(spec, bad):
    weight = weights()
    quantizer = fitted(spec, weight)
    weight[1, 2] = bad
    for training in (True, False):
        with pytest.raises(
            ValueError, match=r"weight: got NaN or infinity, expected finite values; .*lower the learning rate"
        ):
            quantizer.train(training)(weight)
    with pytest.raises(ValueError, match="weight: got NaN or infinity"):
        quantizer.rescale(weight)


# Gradients


@pytest.mark.parametrize("granularity", ["tensor", "channel", "shift"])
@pytest.mark.parametrize("rule", ["mse", "max"])
def test_weight_gradient_is_straight_through(granularity, rule):
    weight = weights(5).double().requires_grad_()
    quantizer = fitted(IntWeight(2, granularity, rule), weight).double()
    w_int, scale = quantizer(weight)
    upstream = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (over(scale, weight) * w_int * upstream).sum().backward()
    inside = (weight / over(quantizer.current_scale(), weight)).abs() < 1.5
    assert inside.all() == (rule == "max")
    assert not scale.requires_grad
    torch.testing.assert_close(weight.grad, torch.where(inside, upstream, 0.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("bits", [2, 4])
def test_learned_scale_has_the_lsq_gradient(granularity, bits):
    weight = weights(7).double().requires_grad_()
    quantizer = fitted(IntWeight(bits, granularity, "learned"), weight).double()
    w_int, scale = quantizer(weight)
    upstream = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (over(scale, weight) * w_int * upstream).sum().backward()
    qmax = quantizer.spec.qmax
    with torch.no_grad():
        ratio = weight / over(scale, weight)
        inside = ratio.abs() < qmax
        per_scale = (upstream * torch.where(inside, w_int - ratio, w_int)).sum_to_size(over(scale, weight).shape)
        shared_by = weight.numel() // scale.numel()
        expected = per_scale.reshape(scale.shape) * scale * (shared_by * qmax) ** -0.5
    torch.testing.assert_close(quantizer.log_scale.grad, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(weight.grad, torch.where(inside, upstream, 0.0), rtol=1e-12, atol=0)


# State


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_pickle_deepcopy_and_state_dict(spec):
    weight = weights(9)
    quantizer = fitted(spec, weight).eval()
    expected = quantizer(weight)
    fresh = WeightQuantizer(spec, weight.shape).eval()
    fresh.load_state_dict(quantizer.state_dict())
    for other in (fresh, copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        for mine, theirs in zip(other(weight), expected, strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spec", [IntWeight(8), IntWeight(4, "channel", "learned")], ids=repr)
def test_scale_stays_float32_in_half_precision(spec, dtype):
    weight = (weights() * 1e-4).to(dtype)
    quantizer = fitted(spec, weight).eval()
    before = quantizer.current_scale().detach().clone()
    w_int, scale = quantizer.to(dtype)(weight)
    assert w_int.dtype == scale.dtype == torch.float32
    assert torch.equal(scale, before)
    assert w_int.abs().max() >= spec.qmax - 1
    assert quantizer.double().current_scale().dtype == torch.float64


def test_shifts_are_powers_of_two_of_one_scale():
    weight = weights(3) * torch.logspace(0, 4, 12, base=2.0).unsqueeze(1)
    quantizer = fitted(IntWeight(4, "shift"), weight)
    w_int, scale = quantizer(weight)
    shifts = quantizer.shifts()
    assert scale.dim() == 0
    assert shifts.min() == 0
    assert 2 <= shifts.max() <= 7
    assert torch.equal(quantizer.current_scale(), scale * 2.0**shifts)
    stored = w_int / (2.0**shifts).unsqueeze(1)
    assert torch.equal(stored, stored.round())
    assert stored.abs().max() <= 7
    assert fitted(IntWeight(4), weight).shifts() is None
    quantizer.train()(weight * 3.0)
    assert torch.equal(quantizer.current_scale() / quantizer.scale.min(), 2.0 ** quantizer.shifts())


@pytest.mark.parametrize("rule", ["mse", "max"])
@pytest.mark.parametrize("small", [1e-6, 1e-3, 0.0])
def test_a_small_channel_costs_the_others_nothing(rule, small):
    weight = weights(4, (6, 40))
    weight[0] *= small
    for training in (False, True):
        quantizer = fitted(IntWeight(4, "shift", rule), weight).train(training)
        w_int, scale = quantizer(weight)
        error = (scale * w_int - weight)[1:].norm() / weight[1:].norm()
        w_int, scale = fitted(IntWeight(4, "tensor", rule), weight)(weight)
        assert error < 1.25 * (scale * w_int - weight)[1:].norm() / weight[1:].norm()


def test_shifts_refuse_the_scales_of_channels():
    weight = weights(3)
    channel, shift = (fitted(IntWeight(4, granularity), weight) for granularity in ("channel", "shift"))
    shift.load_state_dict(shift.state_dict())
    with pytest.raises(RuntimeError, match="scale: expected powers of two times one scale, as granularity='shift'"):
        shift.load_state_dict(channel.state_dict())


def test_row_bound_is_exact_and_holds():
    w_int = torch.tensor([[127.0, -127.0, 3.0], [0.0, 1.0, -1.0]])
    assert row_bound(w_int, 1) == 257
    assert row_bound(w_int, 255) == 257 * 255
    assert row_bound(torch.full((1, 2**18 + 1), 127.0), 1) == 127 * (2**18 + 1)
    assert row_bound(torch.full((2, 3, 2, 2), -1.0), 2) == 24
