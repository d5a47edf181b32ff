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


def test_float_values_are_dropped_anywhere():
    torch.manual_seed(0)
    x, linear = torch.rand(4, 3, 50), squat.Linear(50, 40)
    for layers in ([Dropout(0.5)], [linear, Dropout(0.5)], [linear, Dropout(0.5), torch.nn.Identity()]):
        net = squat.Sequential(*layers).train()
        out, plain = net(x)[0], net.eval()(x)[0]
        kept = out != 0
        assert 0.3 < float(kept.float().mean()) < 0.7
        assert torch.equal(kept[0], kept[3])
        torch.testing.assert_close(out[kept], 2 * plain[kept])


def test_sums_are_dropped_behind_integer_weights_and_the_bias_is_kept():
    torch.manual_seed(0)
    layer = squat.Linear(9, 40, weight=squat.IntWeight(4))
    current = layer((torch.rand(4, 3, 9) < 0.5).float())
    dropped = Dropout(0.5)(current)
    assert dropped.exact
    assert dropped.bound == current.bound
    kept = dropped.z != 0
    assert 0.3 < float(kept.float().mean()) < 0.7
    assert torch.equal(dropped.z[kept], current.z[kept])
    torch.testing.assert_close(dropped.dense() - layer.bias, 2 * (current.dense() - layer.bias) * kept)
    assert squat.LIF(state=squat.Anchored(4))(dropped)[0].shape == (4, 3, 40)


def test_whole_channels():
    torch.manual_seed(0)
    drop = Dropout(0.5, channels=True)
    kept, _ = drop(torch.ones(2, 3, 20, 4, 5))
    assert torch.equal(kept.amax((3, 4)), kept.amin((3, 4)))
    assert 0.2 < float(kept.mean()) < 0.8
    assert Dropout(**drop.config()).channels
    assert repr(drop) == "Dropout(p=0.5, channels=True)"


def test_integers_stay_integers_through_pools_and_flatten():
    weight = squat.IntWeight(4)
    torch.manual_seed(1)
    x = (torch.rand(3, 2, 2, 6, 6) < 0.5).float()
    tail = [squat.layers.SumPool2d(2), squat.Flatten(), squat.Linear(18, 3, weight=weight, input_max=4)]
    net = squat.Sequential(Dropout(0.5), *tail)
    torch.manual_seed(2)
    out, _ = net(x)
    torch.manual_seed(2)
    kept, worth = Dropout(0.5)(x)
    expected, _ = squat.Sequential(*tail)(kept)
    assert torch.equal(out.z, expected.z)
    torch.testing.assert_close(out.scale, expected.scale * worth)
    block = squat.Residual(squat.Sequential(squat.Linear(4, 4, weight=weight)))
    for behind in (squat.RLIF(4, 4, weight=weight), block):
        with pytest.raises(
            ValueError, match=rf"a Dropout stands before {type(behind).__name__}, whose integer weights"
        ):
            squat.Sequential(Dropout(0.5), behind)(torch.ones(3, 2, 4))


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


def test_dropouts_one_after_the_other_multiply_their_factors():
    """Integers stay integers: what is kept by both is worth 1 / (0.5 * 0.8)."""
    torch.manual_seed(0)
    linear = squat.Linear(64, 3, bias=False, weight=squat.IntWeight(4))
    net = squat.Sequential(Dropout(0.5), Dropout(0.2), linear)
    out = net(torch.ones(2, 1, 64))[0]
    assert torch.equal(out.z, out.z.round())
    assert float(out.scale) == pytest.approx(float(linear(torch.ones(2, 1, 64)).scale) / (0.5 * 0.8))
    kept = squat.Sequential(Dropout(0.5), Dropout(0.2))(torch.ones(1, 1, 10000))[0]
    assert kept.unique().tolist() == pytest.approx([0.0, 2.5])
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)
    assert torch.equal(net.eval()(torch.ones(2, 1, 64))[0].z, linear(torch.ones(2, 1, 64)).z)
