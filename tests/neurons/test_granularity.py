"""Decays and thresholds that are one, one per channel or one per neuron: tied in training as snnTorch ties them."""

from __future__ import annotations

import json
import math

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch.surrogate import fast_sigmoid
from torch import nn

import squat
from squat.integer.lower import obstacles
from squat.neurons import NEURONS
from squat.neurons.base import decode_config
from squat.neurons.granularity import over_neurons, rows_of

IMAGE = (3, 4, 2)
SHAPES = {"one": (), "channel": (3, 1, 1), "neuron": (3, 4, 2), "column": (1, 1, 2)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_values_are_laid_out_as_torch_broadcasts_them(shape, tied):
    own = [1 if tie else size for size, tie in zip(shape, tied, strict=False)]
    value = torch.arange(math.prod(own)).double().reshape(own)
    laid = over_neurons("beta", value, shape)
    size = math.prod(shape)
    assert torch.equal(laid.expand(size), value.expand(shape).flatten())
    rows = rows_of([value], shape)
    assert rows in (1, shape[0], size)
    assert torch.equal(laid.expand(size)[:: size // rows].repeat_interleave(size // rows), laid.expand(size))


@pytest.mark.parametrize("own", [(3,), (3, 1), (4, 1, 1), (1, 3, 1, 1)])
def test_values_of_other_neurons_are_refused(own):
    with pytest.raises(ValueError, match=r"beta: \d values of shape .* for an input of 24 neurons \(3, 4, 2\); expect"):
        squat.LIF(torch.full(own, 0.5))(torch.zeros(2, 1, *IMAGE))


class Loop(nn.Module):
    """A convolution and neurons of snnTorch, step by step."""

    def __init__(self, neuron):
        super().__init__()
        self.layer, self.neuron = nn.Conv2d(1, 3, 3, padding=1), neuron

    def forward(self, x):
        state, out = self.neuron.reset_mem(), []
        state = state if isinstance(state, tuple) else (state,)
        for step in x:
            spikes, *state = self.neuron(self.layer(step), *state)
            out.append(spikes)
        return torch.stack(out)


def values(shape, low=0.3):
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return low + 0.6 * torch.rand(shape, generator=generator)


KINDS = {
    "Leaky": lambda shape: snntorch.Leaky(values(shape), learn_beta=True, spike_grad=fast_sigmoid(5)),
    "Synaptic": lambda shape: snntorch.Synaptic(
        values(shape), values(()), learn_alpha=True, learn_beta=True, spike_grad=fast_sigmoid(5)
    ),
    "Leaky, thresholds": lambda shape: snntorch.Leaky(0.9, threshold=values(shape), spike_grad=fast_sigmoid(5)),
}


@each_shape
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_that_of_snntorch(kind, shape):
    torch.manual_seed(0)
    theirs = Loop(KINDS[kind](shape))
    x, weight = 3 * torch.rand(8, 2, 1, 4, 2), torch.rand(8, 2, *IMAGE)
    ours = squat.from_snntorch(theirs, x)
    assert torch.equal(ours(x)[0], theirs(x))
    assert {p.shape for p in ours.parameters()} == {p.shape for p in theirs.parameters()}
    optimizers = [torch.optim.SGD(net.parameters(), 0.01) for net in (ours, theirs)]
    for _ in range(3):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            out = net(x)
            optimizer.zero_grad()
            ((out if net is theirs else out[0]) * weight).mean(0).sum().backward()
            optimizer.step()
    decays = [name for name in ("alpha", "beta") if isinstance(getattr(theirs.neuron, name, None), nn.Parameter)]
    for name in decays:
        torch.testing.assert_close(getattr(ours[1], name), getattr(theirs.neuron, name), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours[0].weight, theirs.layer.weight, rtol=0, atol=2e-6)


@each_shape
def test_the_way_back_keeps_shapes_and_bits(shape):
    theirs = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        snntorch.Leaky(values(shape), learn_beta=True, threshold=values(shape), learn_threshold=True, init_hidden=True),
    )
    for ours in (squat.from_snntorch(theirs, torch.rand(2, 1, 4, 2)), squat.from_snntorch(theirs)):
        back = squat.to_snntorch(ours)[1]
        assert torch.equal(back.beta, theirs[1].beta)
        assert torch.equal(back.threshold, theirs[1].threshold)
        assert isinstance(back.threshold, nn.Parameter)


@each_shape
def test_files_and_configs_keep_the_granularity(shape, tmp_path):
    thresholds = squat.LIF(values(shape), values(shape), learn_beta="sigmoid", learn_threshold=True)
    stack = squat.Sequential(thresholds, squat.CubaLIF(values(shape), 0.8, values(shape)))
    squat.save(stack, tmp_path / "net")
    again = squat.load(tmp_path / "net")
    for layer, loaded in zip(stack.layers, again.layers, strict=True):
        assert {k: v.shape for k, v in layer.state_dict().items()} == {
            k: v.shape for k, v in loaded.state_dict().items()
        }
        config = json.loads(json.dumps(layer.config()))
        assert type(layer)(**decode_config(config)).threshold.shape == layer.threshold.shape == shape
    x = 2 * torch.rand(4, 2, *IMAGE)
    assert torch.equal(stack(x)[0], again(x)[0])


ONE_THRESHOLD = ("LI", "ConvRLIF", "SpikingLSTM")


def neuron_of(name, threshold, **options):
    arguments = {"RLIF": (4, 4), "RCubaLIF": (4, 4), "RALIF": (4, 4), "ConvRLIF": (4,), "SpikingLSTM": (4, 4)}
    options |= {"beta": 0.9} if name == "Lapicque" else {}
    return NEURONS[name](*arguments.get(name, ()), threshold=threshold, **options)


@pytest.mark.parametrize("name", [name for name in NEURONS if name not in ONE_THRESHOLD])
def test_equal_thresholds_are_one_threshold(name):
    one, each = (neuron_of(name, t, learn_threshold=True) for t in (0.2, [0.2] * 4))
    with torch.no_grad():
        for weight in [value for key, value in one.named_parameters() if key == "weight_in"]:
            weight.abs_()
    each.load_state_dict({k: v for k, v in one.state_dict().items() if "threshold" not in k}, strict=False)
    x = torch.rand(8, 2, 4)
    for neuron in (one, each):
        neuron.out = neuron(x)[0]
        (neuron.out * torch.arange(4)).sum().backward()
    assert torch.equal(one.out, each.out)
    assert bool(one.out.any())
    torch.testing.assert_close(each.log_threshold.grad.sum(), one.log_threshold.grad)
    assert int((each.log_threshold.grad != 0).sum()) >= 2


@pytest.mark.parametrize("name", ONE_THRESHOLD)
def test_neurons_of_one_threshold_say_so(name):
    with pytest.raises(
        ValueError, match=rf"threshold: 4 values of shape \(4,\), expected one for all neurons of {name}"
    ):
        neuron_of(name, [0.4, 0.5, 0.6, 0.7])


def test_quantized_states_have_one_threshold_and_the_way_out_fires_alike():
    thresholds = torch.tensor([0.25, 0.5, 2.0])
    text = r"state=Uniform.* with 3 thresholds: expected one threshold, .* divide the weights"
    with pytest.raises(ValueError, match=text):
        squat.LIF(0.5, thresholds, state=squat.Uniform(4))
    net = squat.Sequential(squat.Linear(5, 3), squat.LIF(0.5, thresholds))
    before = net[1].state_spec
    with pytest.raises(ValueError, match=r"layer 1 \(LIF\): " + text):
        squat.quantize_(net, weights=squat.IntWeight(4), states=squat.Uniform(4))
    assert net[1].state_spec is before
    assert net[0].weight_spec is None
    with pytest.raises(ValueError, match=r"current_state=.* with 3 thresholds"):
        squat.CubaLIF(0.5, 0.5, thresholds, current_state=squat.Uniform(4))
    assert squat.ALIF(0.5, 0.5, 0.1, thresholds, adaptation_state=squat.Uniform(4, upper_limit=3.0))  # in spikes
    assert any("has 3 thresholds" in reason and "divide the weights" in reason for reason in obstacles(net))
    x = (torch.rand(20, 4, 5) < 0.5).float()
    expected = net(x)[0]
    with torch.no_grad():
        net[0].weight.div_(thresholds[:, None])
        net[0].bias.div_(thresholds)
    alike = squat.Sequential(net[0], squat.LIF(0.5, 1.0))
    assert torch.equal(alike(x)[0], expected)  # powers of two, so exact
    assert bool(expected.any())


@settings(max_examples=20)
@given(st.sampled_from([(), (3,), (3, 1, 1)]), st.booleans())
def test_descriptions_are_short(shape, learn):
    text = repr(squat.LIF(values(shape), values(shape), learn_threshold=learn))
    assert len(text) < 160
    assert (f"of {shape}" in text) == bool(shape)


@pytest.mark.parametrize("values", [[[0.1], [0.2, 0.3]], ["a"], [None]])
def test_lists_of_no_shape_are_named(values):
    with pytest.raises(ValueError, match=r"beta=\[.*: expected a decay in \[0, 1\].*in lists of equal lengths"):
        squat.LIF(values)
    with pytest.raises(ValueError, match=r"threshold=\[.*: expected a threshold > 0.*in lists of equal lengths"):
        squat.LIF(0.5, threshold=values)
