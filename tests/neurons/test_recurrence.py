"""Recurrence one to one and by convolution: snnTorch's RLeaky bit for bit, integer weights, files, lowering, errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer
from plain_neuron import largest_error
from squat.integer.lower import obstacles
from squat.integer.proof import prove
from squat.neurons.lif import per_element
from squat.ops.lif import reference

STEPS, BATCH, NEURONS, IMAGE = 12, 3, 9, (4, 6, 5)
SPECS = [None, *(scheme(bits) for scheme in PUBLISHED for bits in (1, 2, 4, 8))]
RESETS = ["subtract", "zero", "none"]
each_spec = pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.Anchored(3)], ids=str)


def currents(*shape, seed=0, threshold=1.0):
    x = torch.randn(STEPS, BATCH, *shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.25
    return x * threshold


def rleaky(spec, beta, threshold, reset, **recurrence):
    snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")
    quantizer = False if spec is None else snntorch_quantizer(spec, threshold)
    return snntorch.RLeaky(beta, threshold=threshold, reset_mechanism=reset, state_quant=quantizer, **recurrence)


@torch.no_grad()
def assert_steps_equal(ours, oracle, x):
    state, spikes, membrane = None, torch.zeros_like(x[0]), torch.zeros_like(x[0])
    whole, _ = ours(x)
    for t in range(len(x)):
        expected, after = oracle(x[t], spikes, membrane)
        spikes, state = ours.step(x[t], state)
        membrane = state.u
        assert same_floats(membrane, after), f"membranes differ at step {t}"
        assert same_floats(spikes, expected)
        assert torch.equal(spikes, whole[t])
    assert bool(whole.any())


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_one_to_one_is_snntorchs(spec, reset):
    for threshold, beta in ((1.0, 0.9), (0.427, 0.5)):
        ours = squat.RLIF(
            NEURONS, NEURONS, beta, threshold, recurrence="one_to_one", state=spec, reset=reset, bias=False
        )  # fmt: skip
        with torch.no_grad():
            ours.weight_in.copy_(torch.eye(NEURONS))  # the input is the input current
        weights = ours.weight_rec.detach()[:, 0] * threshold
        ours.weight_rec.data.mul_(threshold)
        oracle = rleaky(spec, beta, threshold, reset, all_to_all=False, V=weights)
        assert_steps_equal(ours, oracle, currents(NEURONS, threshold=threshold))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_convolution_is_snntorchs(spec, reset):
    for threshold, beta, kernel in ((1.0, 0.9, 3), (0.427, 0.5, (1, 5))):
        ours = squat.ConvRLIF(IMAGE[0], kernel, beta, threshold, state=spec, reset=reset)
        oracle = rleaky(spec, beta, threshold, reset, conv2d_channels=IMAGE[0], kernel_size=kernel)
        oracle.recurrent.load_state_dict({"weight": ours.weight_rec, "bias": ours.bias})
        assert_steps_equal(ours, oracle, currents(*IMAGE, threshold=threshold))


@pytest.mark.parametrize("per_neuron", [False, True], ids=["one beta", "beta per neuron"])
def test_convolution_learns_its_decay_and_threshold(per_neuron):
    beta = torch.linspace(0.5, 0.99, 120) if per_neuron else 0.9
    neuron = squat.ConvRLIF(4, 3, beta, learn_beta="clamp", learn_threshold=True, state=squat.Uniform(4))
    neuron(currents(*IMAGE))[0].sum().backward()
    for name, parameter in neuron.named_parameters():
        assert parameter.grad.shape == parameter.shape, name
        assert bool(parameter.grad.any()), name


@each_spec
def test_halves_and_single_steps_of_a_convolution_equal_the_whole(spec):
    neuron = squat.ConvRLIF(4, 3, 0.9, state=spec, weight=squat.IntWeight(3), surrogate=squat.FastSigmoid(5.0)).double()
    neuron.eval()
    x = currents(*IMAGE).double()

    def gradients(cut):
        leaf = x.clone().requires_grad_()
        spikes, state = neuron(leaf[:cut])
        if cut < STEPS:
            rest, state = neuron(leaf[cut:], state)
            spikes = torch.cat([spikes, rest])
        (spikes * x).sum().backward()
        return spikes, state, leaf.grad

    whole, last, expected = gradients(STEPS)
    for cut in (1, 5):
        spikes, state, found = gradients(cut)
        assert torch.equal(spikes, whole)
        assert torch.equal(state.u, last.u)
        assert largest_error(found, expected) <= 1e-10
    state = None
    for t in range(STEPS):
        spikes, state = neuron.step(x[t], state)
        assert torch.equal(spikes, whole[t])


def image_network(spec=None, **arguments):
    torch.manual_seed(0)
    weight = squat.IntWeight(4)
    return squat.Sequential(
        squat.Conv2d(2, 4, 3, padding=1, weight=weight),
        squat.ConvRLIF(4, 3, 0.9, 0.3, weight=weight, state=spec, **arguments),
        squat.layers.Flatten(),
        squat.Linear(120, 5, weight=weight),
        squat.LIF(0.9, state=squat.Anchored(4)),
    ).eval()


def spikes_of(*shape):
    return (torch.rand(STEPS, BATCH, *shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@each_spec
def test_networks_with_convolutional_recurrence(spec, tmp_path):
    net, x = image_network(spec, initial="zero" if spec is None else "code_of_zero"), spikes_of(2, *IMAGE[1:])
    whole, _ = net(x)
    squat.save(net, tmp_path / "net")
    loaded = squat.load(tmp_path / "net")
    assert torch.equal(loaded(x)[0], whole)
    assert loaded.layers[1].config() == net.layers[1].config()
    first, states = net(x[:5])
    assert torch.equal(torch.cat([first, net(x[5:], states)[0]]), whole)
    assert torch.equal(squat.checkpoint_over_time(net, x, segments=3)[0], whole)
    found = obstacles(net, (2, 6, 5))
    assert (spec is None) == any("layer 1 (ConvRLIF): its membrane is float" in text for text in found)
    before = net.layers[1].weight_rec.detach().clone()
    net.train()(x)[0].sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    assert not torch.equal(net.layers[1].weight_rec, before)


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("options", [{}, {"initial": "code_of_zero", "reset": "zero"}], ids=["subtract", "zero"])
def test_the_integer_rule_of_a_convolution_is_the_references(granularity, options):
    """Codes, spikes and gradients, as one sequence and in two parts; recurrent integers count units of the sums."""
    weight = squat.IntWeight(4, granularity)
    conv = squat.Conv2d(2, 4, 3, padding=1, weight=weight, input_scale=1 / 16, input_max=16)
    neuron = squat.ConvRLIF(4, 3, 0.9, 0.3, weight=weight, state=squat.Anchored(4), **options)
    net = squat.Sequential(conv, neuron).double().eval()
    x = (torch.rand(STEPS, BATCH, 2, *IMAGE[1:], generator=torch.Generator().manual_seed(0)) * 16).round().double()
    mix = torch.linspace(-1, 1, STEPS * BATCH * 120).sin().reshape(STEPS, BATCH, *IMAGE).double()

    def gradients(spikes):
        net.zero_grad()
        (spikes * mix).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])

    whole, (_, last) = net(x)
    expected = gradients(whole)
    for cut in (1, 5):
        first, half = net(x[:cut])
        rest, (_, after) = net(x[cut:], half)
        both = torch.cat([first, rest])
        assert torch.equal(both, whole)
        assert torch.equal(after.codes, last.codes)
        assert largest_error(gradients(both), expected) <= 1e-9
    current = conv(x)
    own, unit, bias, bound = neuron.integer_layer(current)
    assert unit > 1
    assert own.abs().max() <= 7
    scale, bias = (per_element(value, current.z.shape) for value in (current.scale, bias))
    start = neuron._start(None, x[0].shape, x.dtype)
    if start.pop("from_code_of_zero"):
        code = neuron.state_spec.encode(torch.zeros(()), float(neuron.threshold))
        start = {"codes0": code.expand(BATCH, 120), "u0": neuron.levels.double()[int(code)].expand(BATCH, 120)}
    found, _, codes = reference.lif(
        current.z.flatten(2), neuron.decay(), neuron.threshold, neuron.loop_config(True), steps=STEPS, scale=scale,
        bias=bias, rec_scale=scale, sum_bound=bound, **start,
        recur=lambda s: F.conv2d(s.reshape(-1, *IMAGE), own * unit, padding=1).flatten(1),
    )  # fmt: skip
    found = found.reshape(whole.shape)
    assert 0.02 < found.mean() < 0.98
    assert torch.equal(found, whole)
    assert torch.equal(codes.reshape(last.codes.shape), last.codes)
    assert largest_error(gradients(found), expected) <= 1e-9


def test_the_float_rule_of_a_convolution_can_be_chosen():
    net, x = image_network(squat.Anchored(4), arithmetic="float"), spikes_of(2, *IMAGE[1:])
    assert net.layers[1].config()["arithmetic"] == "float"
    current = net.layers[0](x)
    assert torch.equal(net.layers[1](current)[0], net.layers[1](current.dense())[0])
    assert any("was trained with the float rule" in text for text in obstacles(net, (2, 6, 5)))


@pytest.mark.parametrize("shared", [True, False], ids=["shared scale", "two scales"])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "shift"])
def test_one_to_one_weights_are_quantized_as_a_vector(shared, granularity):
    weight = squat.IntWeight(4, granularity)
    layer = squat.RLIF(
        7, NEURONS, 0.9, 0.3, weight=weight, state=squat.Anchored(4), recurrence="one_to_one", shared_scale=shared
    ).eval()  # fmt: skip
    full = squat.RLIF(7, NEURONS, 0.9, 0.3, weight=weight, state=squat.Anchored(4), shared_scale=shared).eval()
    assert layer.weight_rec.shape == (NEURONS, 1)
    with torch.no_grad():
        full.weight_in.copy_(layer.weight_in)
        full.weight_rec.copy_(torch.diag(layer.weight_rec[:, 0]))
        for ours, theirs in zip(full.quantizers, layer.quantizers, strict=True):
            ours.scale.copy_(theirs.scale)
        full.bias.copy_(layer.bias)
        x = spikes_of(7)
        assert torch.equal(layer(x)[0], full(x)[0])
        assert bool(layer(x)[0].any())


@pytest.mark.parametrize("granularity", ["tensor", "shift"])
def test_one_to_one_is_lowered_proved_and_saved(granularity, tmp_path):
    torch.manual_seed(0)
    weight, state = squat.IntWeight(4, granularity), squat.Anchored(4)
    net = squat.Sequential(squat.RLIF(7, 5, 0.9, 0.3, weight=weight, state=state, recurrence="one_to_one")).eval()
    machine, x = squat.lower(net), spikes_of(7)
    assert torch.equal(torch.from_numpy(machine.run(x).output).float(), net(x)[0])
    assert bool(net(x)[0].any())
    prove(net, machine)
    squat.save(net, tmp_path / "net")
    loaded = squat.load(tmp_path / "net")
    assert loaded.layers[0].recurrence == "one_to_one"
    assert torch.equal(loaded(x)[0], net(x)[0])
    state, steps = None, []
    with torch.no_grad():
        for step in x:
            spikes, state = net.step(step, state)
            steps.append(spikes)
    assert torch.equal(torch.stack(steps), net(x)[0])


def test_the_how_to_runs():
    page = Path(__file__).parents[2] / "docs/how-to/circuits-lstm-recurrence.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    exec(compile(code, str(page), "exec"), {})


def test_errors():
    with pytest.raises(ValueError, match=r"recurrence='ring': expected one of 'full', 'one_to_one'"):
        squat.RLIF(3, 3, recurrence="ring")
    for kernel in (2, (3, 4), (3, 3, 3)):
        with pytest.raises(ValueError, match=r"kernel_size=.*expected an odd number or a pair of them, so that images"):
            squat.ConvRLIF(3, kernel)
    with pytest.raises(ValueError, match=r"channels=0: expected an integer >= 1"):
        squat.ConvRLIF(0)
    neuron = squat.ConvRLIF(4, 3, [0.9] * 7)
    with pytest.raises(
        ValueError, match=r"x: shape \(12, 3, 5, 6, 5\), expected \[T, B, channels, H, W\] with channels=4"
    ):
        neuron(currents(5, 6, 5))
    with pytest.raises(ValueError, match=r"beta: 7 values of shape \(7,\) for an input of 120 neurons"):
        neuron(currents(*IMAGE))
    foreign = squat.Current(currents(*IMAGE), torch.ones(()), None, 100)
    with pytest.raises(ValueError, match="currents that are no integer steps; expected the sums that a layer"):
        squat.ConvRLIF(4)(foreign)
    with pytest.raises(ValueError, match=r"state: membrane of shape"):
        squat.ConvRLIF(4)(currents(*IMAGE), squat.LIFState(torch.zeros(2, *IMAGE)))
