"""Layers over signals: equal to those over images of one row, and to torch's; saved, and refused with a reason."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import squat
from squat import layers

WEIGHT = squat.IntWeight(4, "channel")


def signals(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["float", "integer"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (4, 1, 2)])
def test_a_convolution_is_one_over_images_of_one_row(weight, kernel, stride, padding):
    torch.manual_seed(0)
    x = signals(5, 2, 3, 17)
    layer = squat.Conv1d(3, 4, kernel, stride, padding, weight=weight, batch_norm=True)
    wide = squat.Conv2d(3, 4, (1, kernel), (1, stride), (0, padding), weight=weight, batch_norm=True)
    wide.load_state_dict(layer.state_dict())
    out, other = layer(x), wide(x.unsqueeze(3))
    if weight is None:
        torch.testing.assert_close(out, other.squeeze(3))
        expected = F.conv1d(x.flatten(0, 1), layer.folded_weight().squeeze(2), layer.folded_bias(), stride, padding)
        torch.testing.assert_close(layer.eval()(x).flatten(0, 1), expected)
    else:
        assert torch.equal(out.z, other.z.squeeze(3))
        assert torch.equal(out.dense(), other.dense().squeeze(3))


@pytest.mark.parametrize("kind", ["Sum", "Avg", "Max"])
def test_pools_of_spikes_and_of_currents(kind):
    narrow, wide = getattr(layers, f"{kind}Pool1d")(3, 2), getattr(layers, f"{kind}Pool2d")((1, 3), (1, 2))
    x = signals(5, 2, 3, 17)
    assert torch.equal(narrow(x), wide(x.unsqueeze(3)).squeeze(3))
    current = squat.Conv1d(3, 4, 3, weight=WEIGHT)(x)
    out = narrow(current)
    other = wide(current._replace(z=current.z.unsqueeze(3)))
    assert out.exact
    assert out.bound == other.bound
    assert torch.equal(out.dense(), other.dense().squeeze(3))


def test_saved_with_their_arguments(tmp_path):
    net = squat.Sequential(
        layers.Unflatten((3, 20)), squat.Conv1d(3, 4, 3, 1, 1, weight=WEIGHT), layers.AvgPool1d(2),
        squat.LIF(state=squat.Anchored(4)), layers.MaxPool1d(2, 1), layers.SumPool1d(3), squat.Flatten(),
        squat.Linear(12, 2, weight=WEIGHT, input_max=3),
    ).eval()  # fmt: skip
    squat.save(net, tmp_path / "net.safetensors")
    again = squat.load(tmp_path / "net.safetensors").eval()
    x = signals(5, 2, 60)
    assert torch.equal(net(x)[0].z, again(x)[0].z)
    assert repr(again) == repr(net)
    assert [layer.config() for layer in again.layers] == [layer.config() for layer in net.layers]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: squat.Conv1d(2, 3, 0), "kernel_size=0: expected an integer >= 1"),
        (lambda: squat.Conv1d(2, 3, (3,)), r"kernel_size=\(3,\): expected an integer >= 1"),
        (lambda: squat.Conv1d(2, 3, 3)(torch.ones(5, 1, 2, 1, 9)), r"x: 5 axes .*, expected 4 axes \[T, B, in_chan"),
        (lambda: squat.Conv1d(2, 3, 3)(torch.ones(5, 1, 2, 2)), "x: L=2 with padding=0 is smaller than kernel_size=3"),
        (lambda: layers.MaxPool1d(2)(torch.ones(5, 1, 9)), r"x: 3 axes .*, expected 4 axes \[T, B, C, L\]"),
        (lambda: layers.Unflatten(()), r"shape=\(\): expected the sizes of one step"),
        (lambda: layers.Unflatten(3), "shape=3: expected the sizes of one step"),
        (lambda: layers.Unflatten((2, -1)), r"shape\[1\]=-1: expected an integer >= 1"),
        (lambda: layers.Unflatten((2, 2))(torch.ones(5, 1, 5)), r"x: shape \(5, 1, 5\), expected .* 4 values a step"),
        (lambda: layers.Unflatten((2, 2))(squat.Linear(2, 4, weight=WEIGHT)(torch.ones(5, 1, 2))), "x: a Current"),
    ],
)
def test_errors(call, text):
    with pytest.raises((ValueError, TypeError), match=text):
        call()


def test_flattened_currents():
    current = squat.Conv2d(2, 3, 3, weight=WEIGHT)(signals(5, 2, 2, 5, 5))
    flat = squat.Flatten()(current)
    assert flat.exact
    assert torch.equal(flat.dense(), current.dense().flatten(2))
    lif = squat.LIF(state=squat.Anchored(4))
    assert torch.equal(lif(flat)[0], lif(current)[0].flatten(2))
