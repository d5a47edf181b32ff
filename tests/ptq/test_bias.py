"""Bias correction: the mean current of each neuron comes back to that of the float network, layer by layer."""

from __future__ import annotations

import copy

import pytest
import torch

import squat
from squat.ptq import calibrate
from squat.ptq.bias import correct_biases, effective_weights, walks

LOW = {"weights": squat.IntWeight(2), "states": squat.Uniform(2)}


def _spikes(*shape, seed=0, rate=0.3):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def _deep():
    net = squat.Sequential(squat.Linear(9, 16), squat.LIF(0.9), squat.Linear(16, 5), squat.LIF(0.8))
    with torch.no_grad():
        net[0].weight.mul_(4.0)
        net[2].weight.mul_(4.0)
    return net


def _current(net, x, position):
    for layer in net.layers[:position]:
        out = layer(x)
        x = out[0] if isinstance(layer, squat.LIF) else out
    out = net[position](x)
    return out.dense() if isinstance(out, squat.Current) else out


def test_means_after_correction_are_those_of_the_float_network():
    net, data = _deep(), [_spikes(20, 8, 9), _spikes(20, 4, 9, seed=1)]
    plain, _ = calibrate(net, data, **LOW)
    corrected, report = calibrate(net, data, bias_correction=True, **LOW)
    x = torch.cat(data, 1)
    for position in (0, 2):
        wanted, before, after = (_current(one, x, position).detach().mean((0, 1)) for one in (net, plain, corrected))
        assert torch.allclose(after, wanted, atol=1e-5)
        assert float((before - wanted).abs().max()) > 0.01
    assert [(row.layer, row.kind) for row in report.biases] == [("0", "Linear"), ("2", "Linear")]
    assert all(row.shift_after < 1e-5 < row.shift_before for row in report.biases)
    assert "rms shift of the mean current" in str(report)
    assert report.to_json()["biases"][0]["layer"] == "0"


def test_without_correction_nothing_is_added():
    net, data = _deep(), [_spikes(20, 8, 9)]
    quantized, report = calibrate(net, data, **LOW)
    assert torch.equal(quantized[0].bias, net[0].bias)
    assert report.biases == ()
    assert "biases" not in report.to_json()


def test_means_of_a_convolution_are_over_its_places_too():
    net = squat.Sequential(squat.Conv2d(2, 3, 3), squat.LIF(0.9))
    data = [_spikes(10, 4, 2, 7, 6)]
    corrected, report = calibrate(net, data, bias_correction=True, **LOW)
    means = [_current(one, data[0], 0).mean((0, 1, 3, 4)) for one in (net, corrected)]
    assert torch.allclose(*means, atol=1e-5)
    assert report.biases[0].shift_after < 1e-5


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("shared_scale", [True, False])
@pytest.mark.parametrize("recurrence", ["full", "one_to_one"])
def test_a_recurrent_current_is_the_sum_of_its_parts(granularity, shared_scale, recurrence):
    options = {"shared_scale": shared_scale, "recurrence": recurrence, "input_scale": 0.25}
    layer = squat.RLIF(9, 12, 0.9, weight=squat.IntWeight(4, granularity=granularity), **options).eval()
    w_in, w_rec = effective_weights(layer)
    free = squat.RLIF(9, 12, 0.9, input_scale=0.25)
    with torch.no_grad():
        for name, value in (("weight_in", w_in), ("weight_rec", w_rec), ("bias", layer.bias)):
            getattr(free, name).copy_(value)
    x = _spikes(15, 4, 9)
    state, free_state = None, None
    for t in range(15):  # the membrane of one step shows its current
        _, state = layer(x[t : t + 1], state)
        _, free_state = free(x[t : t + 1], free_state)
        assert torch.allclose(state.u, free_state.u, atol=1e-4)


def test_a_recurrent_layer_settles_instead_of_overshooting():
    torch.manual_seed(3)
    net = squat.Sequential(squat.RLIF(9, 24, 0.9), squat.Linear(24, 3))
    with torch.no_grad():
        net[0].weight_in.mul_(4.0)
        net[0].weight_rec.mul_(2.0)
    _, report = calibrate(net, [_spikes(40, 32, 9)], bias_correction=True, **LOW)
    recurrent, linear = report.biases
    assert recurrent.kind == "RLIF"
    assert recurrent.shift_after < 0.3 * recurrent.shift_before
    assert linear.shift_after < 1e-5


def test_one_to_one_recurrence_is_corrected_too():
    torch.manual_seed(0)
    net = squat.Sequential(squat.RLIF(9, 24, 0.9, recurrence="one_to_one"))
    with torch.no_grad():
        net[0].weight_in.mul_(4.0)
    _, report = calibrate(net, [_spikes(40, 16, 9)], bias_correction=True, **LOW)
    assert report.biases[0].shift_after < 0.5 * report.biases[0].shift_before


def test_weights_alone_can_be_corrected():
    net, data = _deep(), [_spikes(20, 8, 9)]
    corrected, report = calibrate(net, data, weights=squat.IntWeight(2), bias_correction=True)
    assert corrected[1].state_spec is None
    assert report.biases[0].shift_after < 1e-5


def test_layers_without_a_bias_stay_and_none_at_all_is_an_error():
    net = squat.Sequential(squat.Linear(9, 6, bias=False), squat.LIF(0.9), squat.Linear(6, 3))
    _, report = calibrate(net, [_spikes(10, 4, 9)], bias_correction=True, **LOW)
    assert [row.layer for row in report.biases] == ["2"]
    assert walks(net) == 3
    bare = squat.Sequential(squat.Linear(9, 6, bias=False), squat.LIF(0.9))
    with pytest.raises(
        ValueError, match="net has no layer with a bias: there is nothing to correct; use bias_correction"
    ):
        calibrate(bare, [_spikes(10, 4, 9)], bias_correction=True, **LOW)
    with pytest.raises(TypeError, match="bias_correction=1: expected True or False"):
        calibrate(net, [_spikes(10, 4, 9)], bias_correction=1, **LOW)


def test_an_exact_copy_needs_no_correction():
    net = _deep().eval()
    before = copy.deepcopy(net.state_dict())
    rows = correct_biases(net, copy.deepcopy(net), [_spikes(20, 8, 9)])
    assert all(row.shift_before == 0.0 for row in rows)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
