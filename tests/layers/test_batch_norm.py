"""Batch normalisation folded before quantization: trained as deployed, with gradients of batch renormalisation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import squat
from squat.integer.proof import prove
from squat.layers.batch_norm import EPS
from squat.models.tree import describe, rebuild

SPECS = [
    None,
    squat.IntWeight(2),
    squat.IntWeight(4, scale="max"),
    squat.IntWeight(4, "channel"),
    squat.IntWeight(4, scale="learned"),
]
SHAPES = {"Linear": (6, 5, 3), "Conv2d": (6, 5, 2, 7, 6)}


def make(kind: str, **options):
    if kind == "Linear":
        return squat.Linear(3, 4, batch_norm=True, **options)
    return squat.Conv2d(2, 4, 3, padding=1, batch_norm=True, **options)


def spikes(kind: str, rng: torch.Generator, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(SHAPES[kind], generator=rng) < 0.4).to(dtype)


def dense(out):
    return out.dense() if isinstance(out, squat.Current) else out


def randomise(layer, rng: torch.Generator) -> None:
    with torch.no_grad():
        for values in (layer.norm.log_gain, layer.norm.mean, layer.bias):
            values.copy_(0.3 * torch.randn(4, generator=rng))
        layer.norm.variance.copy_(0.2 + torch.rand(4, generator=rng))
        layer.norm.batches.fill_(20)
    if layer.quantizer is not None:
        layer.quantizer.rescale(layer.folded_weight())


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_training_computes_what_is_deployed(kind, spec, rng):
    layer, x = make(kind, weight=spec), spikes(kind, rng)
    randomise(layer, rng)
    statistics = {name: value.clone() for name, value in layer.norm.named_buffers()}
    trained = layer(x)
    assert not torch.equal(layer.norm.mean, statistics["mean"])
    for name, value in statistics.items():
        getattr(layer.norm, name).copy_(value)
    used = layer.eval()(x)
    if spec is None:
        assert torch.equal(trained, used)
    else:
        assert torch.equal(trained.z, used.z)
        assert torch.equal(trained.scale, used.scale)
        assert torch.equal(trained.bias, used.bias)
        assert trained.bound == used.bound


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    "spec", [None, squat.IntWeight(8, scale="max"), squat.IntWeight(8, "channel", "max")], ids=repr
)
def test_gradients_are_those_of_batch_renormalisation(kind, constant, spec, rng):
    layer = make(kind, weight=spec, input_scale=0.5).double()
    randomise(layer, rng)
    x = spikes(kind, rng, torch.float64)
    if constant:
        x = x[:1].expand(x.shape)
    x = x.clone().requires_grad_() if not constant else x
    norm, leaves = layer.norm, [*layer.parameters(), *([] if constant else [x])]
    factor = norm.factor().detach()
    mean_r, std_r = norm.mean.clone(), (norm.variance + EPS).sqrt()

    weight = layer.weight
    if spec is not None:  # straight through the rounding
        w_int, scale = layer.quantizer(layer.folded_weight())
        per_weight = (scale if scale.dim() else scale.expand(4)).reshape(-1, *[1] * (weight.dim() - 1))
        quantized = w_int * per_weight / factor.reshape(per_weight.shape)
        weight = weight + (quantized - weight).detach()
    y = F.linear(0.5 * x, weight) if kind == "Linear" else F.conv2d(0.5 * x.flatten(0, 1), weight, padding=1)
    y = y if kind == "Linear" else y.unflatten(0, x.shape[:2])
    axes, over = [axis for axis in range(y.dim()) if axis != 2], (-1, *[1] * (y.dim() - 3))
    variance, mean = torch.var_mean(y, axes, correction=0, keepdim=True)
    std = (variance + EPS).sqrt()
    r, d = std.detach() / std_r.reshape(over), (mean.detach() - mean_r.reshape(over)) / std_r.reshape(over)
    plain = norm.log_gain.exp().reshape(over) * ((y - mean) / std * r + d) + layer.bias.reshape(over)

    upstream = torch.randn(plain.shape, dtype=torch.float64, generator=rng)
    expected = torch.autograd.grad(plain, leaves, upstream)
    out = dense(layer(x))
    torch.testing.assert_close(out, plain, rtol=1e-9, atol=1e-9)
    for mine, other in zip(torch.autograd.grad(out, leaves, upstream), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def test_statistics_of_the_first_batches(rng):
    layer = squat.Linear(3, 4, bias=False, batch_norm=True)
    first, second = (spikes("Linear", rng) for _ in range(2))
    found = [torch.var_mean(F.linear(x, layer.weight), (0, 1), correction=0) for x in (first, second)]
    layer(first)
    torch.testing.assert_close((layer.norm.variance, layer.norm.mean), found[0])
    layer(second)
    averages = tuple((a + b) / 2 for a, b in zip(*found, strict=True))
    torch.testing.assert_close((layer.norm.variance, layer.norm.mean), averages)
    layer.eval()(first)
    assert int(layer.norm.batches) == 2


def test_the_first_batch_sets_the_weight_scale_too(rng):
    layer = squat.Linear(3, 4, weight=squat.IntWeight(4), batch_norm=True)
    layer(100 * spikes("Linear", rng).mul(0.01).round())  # silent inputs: a variance of 0
    expected = squat.Linear(3, 4, weight=squat.IntWeight(4)).quantizer
    expected.rescale(layer.folded_weight())
    assert torch.equal(layer.quantizer.scale, expected.scale)


def trained_network(kind: str, rng: torch.Generator) -> squat.Sequential:
    options = {"weight": squat.IntWeight(4), "batch_norm": True}
    neuron = {"state": squat.Anchored(3), "beta": 0.8, "threshold": 0.4}
    if kind == "Linear":
        layers = [
            squat.Linear(3, 6, **options),
            squat.LIF(**neuron),
            squat.Linear(6, 4, **options),
            squat.LIF(**neuron),
        ]
    else:
        counts = {"input_scale": 0.25, "input_max": 4}
        layers = [
            *(squat.Conv2d(2, 3, 3, padding=1, **options), squat.LIF(**neuron), squat.layers.SumPool2d(2)),
            *(squat.Conv2d(3, 4, 3, stride=2, padding=1, bias=False, **counts, **options), squat.LIF(**neuron)),
            *(
                squat.Flatten(),
                squat.layers.Dropout(0.3),
                squat.Linear(16, 4, weight=squat.IntWeight(4)),
                squat.LIF(**neuron),
            ),
        ]
    net = squat.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        (-net(spikes(kind, rng))[0].mean()).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("kind", SHAPES)
def test_lowered_networks_are_proved_equal(kind, rng):
    net = trained_network(kind, rng)
    shape = (2, 7, 6) if kind == "Conv2d" else None
    machine = squat.lower(net, shape)
    assert prove(net, machine).layers
    x = spikes(kind, rng)
    out, _ = net.eval()(x)
    assert out.sum() > 0
    assert torch.equal(torch.from_numpy(machine.run(x).output).float(), out)


@pytest.mark.parametrize("kind", SHAPES)
def test_saved_networks_give_the_same(kind, rng, tmp_path):
    net = trained_network(kind, rng)
    squat.save(net, tmp_path / "net.squat")
    again = squat.load(tmp_path / "net.squat")
    x = spikes(kind, rng)
    assert torch.equal(again(x)[0], net.eval()(x)[0])
    assert describe(rebuild(describe(net), net.state_dict())) == describe(net)
    assert "batch_norm=True" in repr(net[0])
    assert "batch_norm" not in squat.Linear(2, 2).config()


def test_calibration_quantizes_the_folded_weights(rng):
    net = squat.Sequential(make("Linear"), squat.LIF())
    randomise(net[0], rng)
    quantized, report = squat.calibrate(net.eval(), [spikes("Linear", rng)], weights=squat.IntWeight(4))
    w_int, scale = quantized[0].quantizer(net[0].folded_weight())
    assert torch.equal(quantized[0].quantized()[0], w_int)
    error = (w_int * scale - net[0].folded_weight()).square().mean() / net[0].folded_weight().square().mean()
    assert report.weights[0].error == pytest.approx(float(error.detach()), rel=1e-4)


def test_streamed_steps_follow_the_statistics(rng):
    net = squat.Sequential(make("Linear", weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4))).eval()
    randomise(net[0], rng)
    x = spikes("Linear", rng)
    with torch.no_grad():
        for mean in (0.0, -0.4):
            net[0].norm.mean.fill_(mean)
            states = None
            for now, expected in zip(x, net(x)[0], strict=True):
                out, states = net.step(now, states)
                assert torch.equal(out, expected)


def test_statistics_stay_wide_in_half_precision(rng):
    layer = make("Linear").half()
    assert (layer.norm.mean.dtype, layer.norm.log_gain.dtype) == (torch.float32, torch.float16)
    out = layer(spikes("Linear", rng, torch.float16))
    assert out.dtype == torch.float16
    out.sum().backward()
    assert layer.norm.log_gain.grad.dtype == torch.float16


def test_errors(rng):
    layer = make("Linear")
    with pytest.raises(
        ValueError, match=r"x: one value a channel in currents of shape \(1, 1, 4\), expected at least 2"
    ):
        layer(torch.ones(1, 1, 3))
    with pytest.raises(ValueError, match="x contains NaN or infinity"):
        layer(torch.full((2, 2, 3), float("nan")))
    assert int(layer.norm.batches) == 0
    with pytest.raises(TypeError, match="batch_norm=1: expected True or False"):
        squat.Linear(3, 4, batch_norm=1)
    net = squat.Sequential(layer, squat.LIF())
    text = "network: layers.0.norm is a BatchNorm in training, which needs the whole sequence at once"
    with pytest.raises(ValueError, match=text):
        squat.checkpoint_over_time(net, spikes("Linear", rng))
    squat.checkpoint_over_time(net.eval(), spikes("Linear", rng))
