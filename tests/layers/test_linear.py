"""`Linear` and `Current`: float and integer products, exactness, constant inputs, gradients, files, errors."""

import copy
import json
import pickle

import pytest
import torch
import torch.nn.functional as F

from squat.layers import MODULES, Current, Flatten, Linear
from squat.ops.product import FLOAT32_EXACT, integer_linear
from squat.quant.weight import IntWeight, row_bound

SPECS = [
    IntWeight(4),
    IntWeight(2, "channel"),
    IntWeight(8, scale="max"),
    IntWeight(4, "channel", "max"),
    IntWeight(4, scale="learned"),
    IntWeight(3, "channel", "learned"),
]


def spikes(*shape, seed=0, dtype=torch.float32):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).to(dtype)


def plain_current(layer, x):
    """What the layer means: fake-quantized weights in their own precision (in eval mode, where the scale rests)."""
    w_int, scale = layer.quantizer(layer.weight)
    weight = w_int * (scale[:, None] if scale.dim() else scale)
    return F.linear(x * layer.input_scale, weight, layer.bias)


def test_initial_weights_are_those_of_torch():
    torch.manual_seed(5)
    theirs = torch.nn.Linear(30, 7)
    for spec in (None, IntWeight(4)):
        torch.manual_seed(5)
        ours = Linear(30, 7, weight=spec)
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


def test_float_layer_is_a_linear_map_of_the_scaled_input():
    layer = Linear(6, 4, input_scale=1 / 255, input_max=255)
    x = torch.randint(0, 256, (3, 2, 6)).float()
    assert torch.equal(layer(x), F.linear(x * (1 / 255), layer.weight, layer.bias))
    constant = x[:1].expand(9, 2, 6)
    assert layer(constant).stride(0) == 0
    assert torch.equal(layer(constant), layer(constant.contiguous()))


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("bias", [True, False])
def test_integer_layer_hands_on_exact_sums(spec, bias):
    layer = Linear(50, 9, bias=bias, weight=spec, input_scale=0.5, input_max=3, input_min=-3)
    x = torch.randint(-3, 4, (7, 5, 50)).float()
    current = layer(x)
    w_int, scale = layer.eval().quantizer(layer.weight)
    assert torch.equal(current.z.long(), x.long() @ w_int.long().T)
    assert torch.equal(current.scale, scale * 0.5)
    assert current.bound == row_bound(w_int, 3)
    assert current.z.abs().max() <= current.bound
    assert (current.bias is None) == (not bias)
    torch.testing.assert_close(current.dense(), plain_current(layer, x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_exact_float32_whatever_the_inputs_dtype_and_autocast(dtype):
    layer = Linear(2000, 5, weight=IntWeight(8), input_max=255)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.abs())
    layer.set_weight_spec(IntWeight(8))
    layer.eval()
    x = torch.randint(0, 256, (3, 4, 2000)).to(dtype)  # integers up to 256 are exact in all of them
    w_int, _ = layer.quantizer(layer.weight)
    expected = x.long() @ w_int.long().T
    assert expected.max() > FLOAT32_EXACT / 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        current = layer(x)
        # The backward pass keeps out of autocast too.
        gradient = torch.autograd.grad(current.z.sum(), layer.weight)[0]
    assert current.z.dtype == torch.float32
    assert torch.equal(current.z.long(), expected)
    inside = (layer.weight / layer.quantizer.scale).abs() < 127.5
    plain = x.float().sum((0, 1)) / layer.quantizer.scale
    torch.testing.assert_close(gradient, torch.where(inside, plain, 0.0), rtol=1e-6, atol=0)


def test_sums_beyond_float32_run_in_float64_or_are_refused():
    bound = 2**30
    w_int = torch.full((1, 3), 127.0)
    inside = torch.tensor([[[2.0**20, -(2.0**20), 1.0]]])
    assert integer_linear(inside, w_int, bound, -(2**20), 2**20).item() == 127.0
    odd = torch.tensor([[[2.0**20, 2.0**20, 1.0]]])
    with pytest.raises(ValueError, match=r"x: an integer sum .*does not fit float32.*fewer weight bits.*\.double\(\)"):
        integer_linear(odd, w_int, bound, 0, 2**20)
    assert integer_linear(odd, w_int.double(), bound, 0, 2**20).item() == 127 * (2**21 + 1)


def test_layer_switches_to_float64_by_its_bound():
    layer = Linear(4, 1, bias=False, weight=IntWeight(8, scale="max"), input_max=2**22)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0, 1 / 127, 0.0]]))
    current = layer(torch.tensor([[[2.0**22, 2.0**22, 3.0, 0.0]]]))
    assert current.bound > FLOAT32_EXACT
    assert current.z.item() == 3.0


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_gradients_against_plain_torch(spec):
    layer = Linear(13, 6, weight=spec).double().eval()
    x = spikes(4, 3, 13, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(4, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    leaves = [x, *layer.parameters()]
    theirs = torch.autograd.grad(plain_current(layer, x), leaves, upstream)
    ours = torch.autograd.grad(layer(x).dense(), leaves, upstream)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-12 * other.abs().max().item())


@pytest.mark.parametrize("spec", [None, *SPECS[:2]], ids=repr)
def test_constant_input_is_multiplied_once_with_the_same_gradients(spec):
    layer = Linear(13, 6, weight=spec).double().eval()
    still = spikes(3, 13, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(8, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    results = []
    for x in (still.expand(8, 3, 13), still.expand(8, 3, 13).contiguous()):
        out = layer(x)
        dense = out.dense() if isinstance(out, Current) else out
        results.append((dense, torch.autograd.grad(dense, [still, *layer.parameters()], upstream)))
    (once, gradients), (each, expected) = results
    assert once.stride(0) == 0
    assert once.shape == each.shape
    torch.testing.assert_close(once, each, rtol=1e-13, atol=0)
    for mine, other in zip(gradients, expected, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-12 * other.abs().max().item())


def test_expanded_leaf_gets_its_gradient_per_step():
    layer = Linear(3, 2)
    x = torch.ones(1, 1, 3).expand(4, 1, 3).detach().requires_grad_()
    (layer(x) * torch.arange(4.0)[:, None, None]).sum().backward()
    assert torch.equal(x.grad[0], torch.zeros(1, 3))
    torch.testing.assert_close(x.grad[3], 3 * layer.weight.sum(0, keepdim=True))


def test_two_forwards_before_one_backward():
    layer = Linear(5, 3, weight=IntWeight(4))
    first, second = layer(spikes(2, 2, 5)), layer(spikes(2, 2, 5, seed=1))
    (first.dense().sum() + second.dense().sum()).backward()
    assert layer.weight.grad.isfinite().all()


def test_training_moves_weights_and_scale():
    torch.manual_seed(0)
    layer = Linear(20, 3, weight=IntWeight(4, scale="learned"))
    x, target = spikes(4, 16, 20), torch.randn(4, 16, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(x).dense() - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert layer.quantizer.log_scale.grad != 0


@pytest.mark.parametrize("spec", [None, *SPECS], ids=repr)
def test_config_pickle_deepcopy_and_state_dict(spec):
    layer = Linear(8, 5, bias=False, weight=spec, input_scale=1 / 255, input_max=255).eval()
    values = json.loads(json.dumps(layer.config()))
    values["weight"] = None if spec is None else IntWeight(*list(values["weight"].values())[1:])
    rebuilt = MODULES["Linear"](**values).eval()
    rebuilt.load_state_dict(layer.state_dict())
    assert rebuilt.config() == layer.config()
    x = torch.randint(0, 256, (2, 3, 8)).float()
    expected = layer(x)
    for other in (rebuilt, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for mine, theirs in zip(other(x), expected, strict=True):
            assert mine is theirs or torch.equal(torch.as_tensor(mine), torch.as_tensor(theirs))


def test_set_weight_spec_swaps_and_rescales():
    layer = Linear(8, 5).eval()
    x = spikes(2, 3, 8)
    plain = layer(x)
    with torch.no_grad():
        layer.weight.mul_(4)
    layer.set_weight_spec(IntWeight(8))
    assert layer.weight_spec == IntWeight(8)
    assert not layer.quantizer.training
    torch.testing.assert_close(layer(x).dense(), layer.bias + 4 * (plain - layer.bias), atol=0.05, rtol=0)
    layer.set_weight_spec(None)
    assert isinstance(layer(x), torch.Tensor)
    with pytest.raises(TypeError, match="weight=4: expected an IntWeight, or None for float weights"):
        layer.set_weight_spec(4)


def test_half_precision_network_keeps_float32_sums():
    layer = Linear(300, 5, weight=IntWeight(4)).bfloat16()
    current = layer(spikes(2, 2, 300, dtype=torch.bfloat16))
    assert current.z.dtype == current.scale.dtype == current.bias.dtype == torch.float32
    assert torch.equal(current.z, current.z.round())
    assert Linear(3, 2).bfloat16()(spikes(2, 2, 3)).dtype == torch.bfloat16


def test_repr_shows_arguments_and_spec():
    text = repr(Linear(8, 5, weight=IntWeight(4)))
    assert "in_features=8, out_features=5, bias=True, input_scale=1.0, input_max=1" in text
    assert "IntWeight(bits=4" in text


def test_flatten_keeps_time_and_batch_and_a_constant_input():
    x = torch.rand(1, 3, 2, 4, 4).expand(5, 3, 2, 4, 4)
    flat = Flatten()(x)
    assert flat.shape == (5, 3, 32)
    assert flat.stride(0) == 0
    assert torch.equal(flat, x.flatten(2))
    with pytest.raises(ValueError, match=r"x: 2 axes \(5, 3\), expected \[T, B, \.\.\.\]"):
        Flatten()(torch.ones(5, 3))
