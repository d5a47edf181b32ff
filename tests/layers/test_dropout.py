"""`Dropout`: one mask a sample and sequence, integers stay integers, the global generator, errors."""

from __future__ import annotations

import pytest
import torch

import squat
from squat.layers import Dropout


@pytest.mark.parametrize("spec", [None, squat.IntWeight(4)], ids=repr)
@pytest.mark.parametrize("constant", [False, True])
def test_a_mask_for_each_sample_and_sequence(spec, constant):
    layer, drop = squat.Linear(6, 5, weight=spec, input_scale=0.5), Dropout(0.25)
    x = torch.ones(1, 8, 6).expand(4, 8, 6)
    x = x if constant else x.contiguous()
    torch.manual_seed(3)
    mask = torch.rand(8, 6) >= 0.25
    torch.manual_seed(3)
    out = layer(drop(x))
    expected = layer(x * mask)
    if spec is None:
        torch.testing.assert_close(out - layer.bias, (expected - layer.bias) / 0.75)
        return
    assert torch.equal(out.z, expected.z)
    assert out.bound == expected.bound
    torch.testing.assert_close(out.scale, expected.scale / 0.75)
    assert (out.z.stride(0) == 0) == constant


def test_the_mean_is_kept_and_nothing_happens_in_use():
    drop, x = Dropout(0.3), torch.ones(2, 100, 100)
    kept, worth = drop(x)
    assert float(kept.mean()) * worth == pytest.approx(1.0, abs=0.03)
    assert torch.equal(kept[0], kept[1])
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert drop.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(**drop.config()).p == 0.3
    assert repr(drop) == "Dropout(p=0.3)"


def test_gradients_go_to_what_was_kept():
    x = torch.ones(3, 2, 6, requires_grad=True)
    layer = squat.Linear(6, 5, bias=False)
    kept, worth = dropped = Dropout(0.5)(x)
    layer(dropped).sum().backward()
    torch.testing.assert_close(x.grad, kept.detach() * worth * layer.weight.detach().sum(0))


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([Dropout(0.5)], r"layers\[0\] \(Dropout\): followed by nothing, expected a Linear or Conv2d"),
        ([squat.Linear(2, 2), Dropout(0.5), squat.LIF()], r"layers\[1\] \(Dropout\): followed by LIF"),
    ],
)
def test_it_stands_before_a_layer_with_weights(layers, text):
    with pytest.raises(ValueError, match=text):
        squat.Sequential(*layers)


def test_errors():
    with pytest.raises(ValueError, match=r"p=1.0: expected a probability in \[0, 1\); at 1 no input would be left"):
        Dropout(1.0)
    with pytest.raises(ValueError, match=r"p=-0.1: expected a finite number in \[0, 1\]"):
        Dropout(-0.1)
    net = squat.Sequential(Dropout(0.5), squat.Linear(3, 2), squat.LIF())
    with pytest.raises(ValueError, match=r"network: layers.0 is a Dropout in training, which needs the whole sequence"):
        squat.checkpoint_over_time(net, torch.ones(4, 2, 3))


def test_lowering_passes_over_it():
    neuron = squat.LIF(state=squat.Anchored(4))
    layers = [squat.Linear(3, 2, weight=squat.IntWeight(4)), neuron]
    plain, dropping = squat.Sequential(*layers), squat.Sequential(Dropout(0.5), *layers)
    x = torch.ones(5, 1, 3)
    assert (squat.lower(dropping).run(x).output == squat.lower(plain).run(x).output).all()
