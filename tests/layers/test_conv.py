"""`Conv2d` and pooling: exact integer sums, gradients, constant inputs, config, errors."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from squat import LIF, Anchored
from squat.layers import MODULES, AvgPool2d, Conv2d, MaxPool2d, SumPool2d
from squat.quant.weight import IntWeight

# in, out, kernel, stride, padding: 3x3 stride 1 is where Winograd would be chosen
SHAPES = [(16, 16, 3, 1, 1), (2, 5, 3, 2, 1), (3, 4, (5, 2), (2, 3), (0, 1)), (1, 3, 1, 1, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("autocast", [False, True])
def test_sums_are_exact(shape, bits, autocast):
    inputs, outputs, kernel, stride, padding = shape
    layer = Conv2d(inputs, outputs, kernel, stride, padding, weight=IntWeight(bits, "channel"), input_max=255).eval()
    x = torch.randint(0, 256, (3, 2, inputs, 14, 15)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        current = layer(x)
    w_int, scale = layer.quantizer(layer.weight)
    exact = F.conv2d(x.flatten(0, 1).long(), w_int.long(), None, layer.stride, layer.padding)
    assert current.z.dtype == torch.float32
    assert torch.equal(current.z.flatten(0, 1).long(), exact)
    assert current.z.abs().max() <= current.bound
    expected = exact * scale[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(current.dense().flatten(0, 1), expected)


def test_bound_beyond_float32_runs_in_float64():
    layer = Conv2d(1, 1, (1, 3), bias=False, weight=IntWeight(8, scale="max"), input_max=2**22, input_min=-(2**22))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0, 1 / 127]).reshape(1, 1, 1, 3))
    assert layer(torch.tensor([2.0**22, 2.0**22, 3.0]).reshape(1, 1, 1, 1, 3)).z.item() == 3.0
    with pytest.raises(ValueError, match=r"x: an integer sum .*does not fit float32"):
        layer(torch.tensor([2.0**22, -(2.0**22), 3.0]).reshape(1, 1, 1, 1, 3))


@pytest.mark.parametrize("spec", [None, IntWeight(4), IntWeight(2, "channel", "learned")], ids=repr)
def test_gradients_against_plain_torch_also_for_a_constant_input(spec):
    layer = Conv2d(2, 3, 3, 1, 1, weight=spec, input_scale=0.5).double().eval()
    still = (torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.5).double().requires_grad_()
    upstream = torch.randn(4, 2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = layer.weight
    if spec is not None:
        w_int, scale = layer.quantizer(layer.weight)
        weight = w_int * (scale[:, None, None, None] if scale.dim() else scale)
    plain = F.conv2d(0.5 * still, weight, layer.bias, padding=1).expand(4, -1, -1, -1, -1)
    leaves = [still, *layer.parameters()]
    expected = torch.autograd.grad(plain, leaves, upstream)
    for x in (still.expand(4, -1, -1, -1, -1), still.expand(4, -1, -1, -1, -1).contiguous()):
        out = layer(x)
        dense = out if spec is None else out.dense()
        assert (dense.stride(0) == 0) == (x.stride(0) == 0)
        for mine, other in zip(torch.autograd.grad(dense, leaves, upstream), expected, strict=True):
            assert torch.allclose(mine, other, rtol=0, atol=1e-12 * other.abs().max().item())


@pytest.mark.parametrize("spec", [None, IntWeight(4, "channel")], ids=repr)
def test_config_rebuilds_the_layer(spec):
    layer = Conv2d(2, 3, (3, 2), stride=2, padding=(1, 0), weight=spec, input_max=4).eval()
    values = json.loads(json.dumps(layer.config()))
    rebuilt = MODULES["Conv2d"](**{**values, "weight": spec}).eval()
    rebuilt.load_state_dict(layer.state_dict())
    assert rebuilt.config() == layer.config()
    x = torch.ones(2, 2, 2, 7, 7)
    out, again = layer(x), rebuilt(x)
    assert torch.equal(out if spec is None else out.z, again if spec is None else again.z)
    assert "kernel_size=[3, 2]" in repr(layer)


def test_initial_weights_are_those_of_torch():
    torch.manual_seed(5)
    theirs = torch.nn.Conv2d(3, 7, 3)
    torch.manual_seed(5)
    ours = Conv2d(3, 7, 3, weight=IntWeight(4))
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"in_channels": 0}, ValueError, "in_channels=0: expected an integer >= 1"),
        ({"kernel_size": 0}, ValueError, "kernel_size=0: expected an integer >= 1"),
        ({"kernel_size": (3, 3, 3)}, ValueError, r"kernel_size=\(3, 3, 3\): expected an integer >= 1 or a pair"),
        ({"stride": 1.5}, TypeError, "stride=1.5: expected an integer >= 1"),
        ({"padding": -1}, ValueError, "padding=-1: expected an integer >= 0"),
    ],
)
def test_constructor_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        Conv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((2, 3, 2, 6), r"x: 4 axes .*expected 5 axes \[T, B, in_channels, H, W\]"),
        ((2, 3, 1, 6, 6), "x: 1 on axis 2 .*in_channels=2"),
        ((2, 3, 2, 2, 6), "x: H=2 with padding=0 is smaller than kernel_size=3; use a smaller kernel or more padding"),
        ((2, 3, 2, 6, 1), "x: W=1 with padding=0 is smaller than kernel_size=3"),
    ],
)
def test_forward_refuses(shape, text):
    with pytest.raises(ValueError, match=text):
        Conv2d(2, 3, 3)(torch.ones(shape))


def test_pooling_sums_averages_and_takes_the_largest():
    x = (torch.rand(3, 2, 4, 6, 7) < 0.5).float()
    total, mean = SumPool2d(2)(x), AvgPool2d(2)(x)
    assert total.shape == (3, 2, 4, 3, 3)
    assert torch.equal(total[0, 0, 0, 1, 2], x[0, 0, 0, 2:4, 4:6].sum())
    assert torch.equal(mean, total / 4)
    assert torch.equal(MaxPool2d(2)(x), (total > 0).float())
    assert SumPool2d((2, 3), stride=1)(x).shape == (3, 2, 4, 5, 5)
    for name in ("SumPool2d", "AvgPool2d", "MaxPool2d"):
        layer = MODULES[name]((2, 3), stride=1)
        assert MODULES[name](**layer.config()).config() == layer.config()
        with pytest.raises(ValueError, match=r"x: 3 axes \(2, 3, 4\), expected 5 axes \[T, B, C, H, W\]"):
            layer(torch.ones(2, 3, 4))
    assert repr(SumPool2d(2)) == "SumPool2d(kernel_size=(2, 2), stride=(2, 2))"


def test_the_how_to_runs():
    page = Path(__file__).parents[2] / "docs/how-to/convolutional-networks.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(example, str(page), "exec"), {})


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_pooling_currents_of_integer_weights(granularity):
    torch.manual_seed(0)
    current = Conv2d(2, 3, 3, weight=IntWeight(4, granularity))((torch.rand(4, 2, 2, 8, 8) < 0.5).float())
    pooled = MaxPool2d(2)(current)
    assert pooled.exact
    assert pooled.bound == current.bound
    assert torch.equal(pooled.dense(), MaxPool2d(2)(current.dense()))
    for pool, total in ((AvgPool2d(2), 1), (SumPool2d(2), 4)):
        added = pool(current)
        assert added.exact
        assert added.bound == 4 * current.bound
        assert torch.equal(added.z, SumPool2d(2)(current.z))
        torch.testing.assert_close(added.dense(), total * AvgPool2d(2)(current.dense()))
        spikes, _ = LIF(state=Anchored(4))(added)
        assert spikes.shape == (4, 2, 3, 3, 3)


def test_pooled_sums_stay_exact_and_constant():
    layer = Conv2d(1, 1, 1, bias=False, weight=IntWeight(8), input_max=2**17)
    layer.weight.data.fill_(1.0)
    layer.set_weight_spec(IntWeight(8))
    current = layer(torch.tensor([2.0**16, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 2, 2).expand(3, 1, 1, 2, 2))
    pooled = SumPool2d(2)(current)
    assert pooled.bound > 2**24  # so it was added in float64
    assert pooled.z.stride(0) == 0
    assert pooled.z.shape == (3, 1, 1, 1, 1)
    weight = int(current.z.max()) // 2**16
    assert int(pooled.z[0]) == weight * (2**16 + 1)
    with pytest.raises(ValueError, match=r"an integer sum \(largest 16777217\) does not fit float32"):
        SumPool2d((1, 2))(current._replace(z=torch.tensor([2.0**24, 1.0]).reshape(1, 1, 1, 1, 2)))
