import copy
import json

import pytest
import torch

import squat
from squat.models import AccumulatedCurrent, Network
from squat.ptq import CalibrationReport, calibrate
from squat.quant.encoder import quantize_state

SPECS = (squat.Uniform(4), squat.ThresholdCentered(4), squat.ZeroCentered(4), squat.Anchored(4))


def _spikes(steps=12, batch=6, features=9, seed=0):
    return (torch.rand(steps, batch, features, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def _recurrent():
    layers = squat.Sequential(squat.RLIF(9, 16, 0.9), squat.Linear(16, 3))
    with torch.no_grad():
        layers[0].weight_in.mul_(4.0)
    return Network(layers, AccumulatedCurrent())


def _feedforward():
    layers = squat.Sequential(squat.Linear(9, 16), squat.LIF(0.9), squat.Linear(16, 3), squat.LI(0.9))
    with torch.no_grad():
        layers[0].weight.mul_(4.0)
    return layers


NETS = {"recurrent": _recurrent, "feedforward": _feedforward}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("state_range", ["published", "calibrated"])
def test_the_network_handed_in_stays_as_it_was(make, state_range):
    net = make()
    net.train()
    before = copy.deepcopy(net.state_dict())
    new, _ = calibrate(net, [_spikes()], weights=squat.IntWeight(4), states=squat.Uniform(4), state_range=state_range)
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert net.training
    assert new.training
    assert new is not net


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_every_layer_gets_its_specs(make, spec):
    new, report = calibrate(make(), [_spikes()], weights=squat.IntWeight(4), states=spec, state_range="calibrated")
    layers = list(new.layers if isinstance(new, Network) else new)
    neurons = [layer for layer in layers if hasattr(layer, "set_state_spec")]
    assert all(type(layer.state_spec) is type(spec) and layer.state_spec.bits == 4 for layer in neurons)
    assert all(layer.weight_spec == squat.IntWeight(4) for layer in layers if hasattr(layer, "set_weight_spec"))
    assert [row.spec for row in report.states] == [layer.state_spec for layer in neurons]


def test_weights_are_what_set_weight_spec_gives():
    net = _feedforward().eval()
    new, report = calibrate(net, [_spikes()], weights=squat.IntWeight(3, scale="max"))
    direct = copy.deepcopy(net)
    for layer in direct:
        if isinstance(layer, squat.Linear):
            layer.set_weight_spec(squat.IntWeight(3, scale="max"))
    assert torch.equal(new(_spikes())[0], direct(_spikes())[0])
    assert report.weights[0].scale_low == pytest.approx(float(net[0].weight.detach().abs().max()) / 3)
    assert all(row.spec is None for row in report.states)


def test_the_weight_error_is_that_of_the_matrices():
    net = _recurrent()
    _, report = calibrate(net, [_spikes()], weights=squat.IntWeight(2, granularity="channel"))
    row = report.weights[0]
    joined = torch.cat((net.layers[0].weight_in, net.layers[0].weight_rec), 1).detach()
    quantizer = squat.quant.weight.WeightQuantizer(squat.IntWeight(2, granularity="channel"), joined.shape).eval()
    quantizer.rescale(joined)
    w_int, scale = quantizer(joined)
    expected = ((w_int * scale[:, None] - joined) ** 2).mean() / (joined**2).mean()
    assert row.error == pytest.approx(float(expected), rel=1e-5)
    assert row.scale_low == float(scale.min())
    assert row.scale_high == float(scale.max())


def test_observed_membranes_are_those_of_the_float_neurons():
    net = squat.Sequential(squat.LI(0.8))
    x = torch.randn(20, 4, 5, generator=torch.Generator().manual_seed(0)) * 2
    _, report = calibrate(net, [x], states=squat.Uniform(4))
    u = net(x)[0]
    row = report.states[0]
    assert (row.observed_low, row.observed_high) == (float(u.min()), float(u.max()))
    assert row.saturated_low == pytest.approx(float((u < -1.0).double().mean()), abs=5e-3)
    assert row.saturated_high == pytest.approx(float((u > 1.2).double().mean()), abs=5e-3)
    assert (row.rate_before, row.silent_after) == (None, None)


def test_a_calibrated_range_has_less_error_than_the_published_one():
    net = squat.Sequential(squat.LI(0.8))
    x = torch.randn(20, 40, 5, generator=torch.Generator().manual_seed(0)) * 2
    _, report = calibrate(net, [x], states=squat.Uniform(4), state_range="calibrated")
    u = net(x)[0]
    fitted, published = report.states[0].spec, squat.Uniform(4)
    errors = [float(((quantize_state(u, spec) - u) ** 2).mean()) for spec in (fitted, published)]
    assert errors[0] < 0.3 * errors[1]


def test_each_layer_gets_a_range_of_its_own():
    net = squat.Sequential(squat.LI(0.8), squat.Linear(5, 5), squat.LI(0.8))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(5) * 10)
    x = torch.randn(10, 8, 5, generator=torch.Generator().manual_seed(0))
    _, report = calibrate(net, [x], states=squat.Anchored(4), state_range="calibrated")
    assert report.states[1].chosen_high > 3 * report.states[0].chosen_high


@pytest.mark.parametrize(
    ("before", "asked", "text"),
    [
        ("weights", ("weights",), r"weights are quantized already, layer 0 \(RLIF\): IntWeight.* and 1 more: expected"),
        ("states", ("states",), r"states are quantized already, layer 0 \(RLIF\): Uniform.*: expected float states to"),
        ("states", ("weights", "states"), "what squat.dequantize_.net. leaves, or leave states out and they stay"),
    ],
)
def test_what_is_quantized_already_is_refused_and_not_taken_for_float(before, asked, text):
    specs = {"weights": squat.IntWeight(4), "states": squat.Uniform(4)}
    net = _recurrent()
    squat.quantize_(net, **{before: specs[before]})
    with pytest.raises(ValueError, match=text):
        calibrate(net, [_spikes()], **{name: specs[name] for name in asked})
    (other,) = {"weights", "states"} - {before}
    calibrate(net, [_spikes()], **{other: specs[other]})  # weights and states one after the other
    squat.dequantize_(net)
    calibrate(net, [_spikes()], **specs)


def test_spike_rates_and_silence_before_and_after():
    net = squat.Sequential(squat.LIF(0.9))
    x = torch.zeros(10, 2, 4)
    x[..., 0] = 1.1
    _, report = calibrate(net, [x], states=squat.Uniform(4))
    row = report.states[0]
    spikes = net(x)[0]
    assert row.rate_before == pytest.approx(float(spikes.mean()))
    assert row.silent_before == 0.75
    assert report.samples == 2


def test_a_silenced_layer_is_a_warning_not_an_error():
    # The published uniform 2-bit set fires above 0.83 of the threshold; at 0.7 steady state it never does, and a
    # threshold-centred set that rests at 0.8 swallows small inputs altogether.
    net = squat.Sequential(squat.LIF(0.95))
    x = torch.full((40, 2, 4), 0.07)
    assert net(x)[0].any()
    _, report = calibrate(net, [x], states=squat.Uniform(2))
    text = "layer 0 (LIF): no neuron spikes on the calibration data (before calibration 0% were silent)"
    assert report.warnings == (text,)
    assert "warning: layer 0 (LIF): no neuron spikes" in str(report)


def test_a_saturated_layer_is_a_warning():
    _, report = calibrate(squat.Sequential(squat.LI(0.9)), [torch.full((20, 2, 3), -1.0)], states=squat.Uniform(4))
    text = "of the float membranes lie below the lowest level; state_range='calibrated' fits the range"
    assert text in report.warnings[0]


def test_the_report_is_json_and_a_table():
    _, report = calibrate(_recurrent(), [_spikes()], weights=squat.IntWeight(4), states=squat.Anchored(4))
    assert isinstance(report, CalibrationReport)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["states"][0]["spec"]["type"] == "Anchored"
    assert document["weights"][0]["spec"]["bits"] == 4
    lines = str(report).splitlines()
    assert lines[0] == "calibrated on 6 samples, state range: published"
    assert any(line.startswith("0      RLIF") for line in lines)


def test_the_same_data_give_the_same_network():
    options = {"weights": squat.IntWeight(4), "states": squat.Uniform(4), "state_range": "calibrated"}
    net = _recurrent()
    (first, one), (second, two) = (calibrate(net, [_spikes()], **options) for _ in range(2))
    assert one == two
    assert torch.equal(first(_spikes()), second(_spikes()))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ValueError, "weights=None, states=None: expected at least one spec; there is nothing to quantize"),
        (
            {"weights": squat.IntWeight(4, scale="learned")},
            ValueError,
            "expected 'mse' or 'max'; a learned scale needs training",
        ),
        ({"weights": 4}, TypeError, "weights=4: expected an IntWeight or None"),
        ({"states": "uniform"}, TypeError, "states='uniform': expected a state spec or None"),
        ({"states": squat.Uniform(4), "state_range": "wide"}, ValueError, "state_range='wide': expected one of"),
        ({"states": squat.Uniform(4), "batches": 0}, ValueError, "batches=0: expected an integer >= 1"),
    ],
)
def test_bad_arguments_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        calibrate(_recurrent(), [_spikes()], **options)


def test_other_networks_and_empty_data_are_refused():
    with pytest.raises(TypeError, match=r"net=.*expected a Network or a Sequential"):
        calibrate(torch.nn.Linear(3, 3), [_spikes()], weights=squat.IntWeight(4))
    with pytest.raises(ValueError, match="data is empty"):
        calibrate(_recurrent(), [], weights=squat.IntWeight(4))
    with pytest.raises(ValueError, match=r"batch 0 of data contains NaN or infinity"):
        calibrate(_recurrent(), [_spikes() * float("nan")], weights=squat.IntWeight(4))
    with pytest.raises(ValueError, match="net has no layer of neurons: Sequential has no state to quantize"):
        calibrate(squat.Sequential(squat.Linear(9, 3)), [_spikes()], states=squat.Uniform(4))
    with pytest.raises(ValueError, match="net has no layer with weights: Sequential has nothing to quantize"):
        calibrate(squat.Sequential(squat.LIF()), [_spikes()], weights=squat.IntWeight(4))


def test_weights_with_nan_are_refused():
    net = _recurrent()
    with torch.no_grad():
        net.layers[1].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity"):
        calibrate(net, [_spikes()], weights=squat.IntWeight(4))
