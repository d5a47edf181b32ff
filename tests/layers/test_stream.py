"""Prepared steps of networks in use equal the sequence, and leave to the layers what is theirs to decide."""

import pytest
import torch

import squat
from squat.layers.stream import Stream
from squat.ops.lif import cpu_step

SPECS = [squat.Uniform(2), squat.ThresholdCentered(4), squat.Anchored(5), squat.ThresholdCentered(8)]
KINDS = ["linear", "recurrent", "readout"]


def network(kind, spec=SPECS[1], weight=None, inputs=37, **options):
    weight = squat.IntWeight(4) if weight is None else weight
    torch.manual_seed(1)
    if kind == "recurrent":
        first = [squat.RLIF(inputs, 19, 0.9, 0.3, weight=weight, state=spec, **options)]
    else:
        first = [squat.Linear(inputs, 19, weight=weight), squat.LIF(0.9, 0.3, state=spec, **options)]
    last = squat.LI(0.8, state=spec) if kind == "readout" else squat.LIF(0.8, 0.1, state=spec)
    return squat.Sequential(*first, squat.Linear(19, 16, weight=weight), last).eval()


def spikes(steps=30, samples=3, inputs=37):
    return (torch.rand(steps, samples, inputs) < 0.3).float()


@pytest.fixture
def calls(monkeypatch):
    """How many layers took the prepared step."""
    made, plain = [], cpu_step.step_integer

    def counted(*arguments):
        made.append(plain(*arguments))
        return made[-1]

    monkeypatch.setattr(cpu_step, "step_integer", counted)
    return made


@torch.no_grad()
def walk(net, x, states=None):
    outputs = []
    for step in x:
        out, states = net.step(step, states)
        outputs.append(out)
    return torch.stack(outputs), states


def assert_same(net, x):
    stepped, states = walk(net, x)
    with torch.no_grad():
        whole, last = net(x)
    assert torch.equal(stepped, whole)
    assert stepped.abs().sum() > 0
    for state, expected in zip(states, last, strict=True):
        if expected is not None:
            assert torch.equal(state.codes, expected.codes)
            assert torch.equal(state.u, expected.u)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_steps_equal_the_sequence(calls, kind, spec):
    x = spikes()
    assert_same(network(kind, spec), x)
    assert calls == [True] * 2 * len(x)


@pytest.mark.parametrize("kind", ["linear", "recurrent"])
@pytest.mark.parametrize(
    "options",
    [
        {"reset": "zero", "zero_reset": "keep_input"},
        {"reset": "zero", "zero_reset": "drop_input"},
        {"reset": "none"},
        {"initial": "code_of_zero"},
    ],
    ids=str,
)
def test_resets_and_starts(calls, kind, options):
    spec = squat.Anchored(4)
    assert_same(network(kind, spec, **options), spikes())
    assert all(calls)


def test_layers_without_bias_and_one_that_comes_later(calls):
    torch.manual_seed(1)
    weight = squat.IntWeight(4)
    layers = [squat.RLIF(37, 19, 0.9, 0.3, weight=weight, bias=False, state=SPECS[1])]
    layers += [squat.Linear(19, 16, bias=False, weight=weight), squat.LIF(0.8, 0.1, state=SPECS[1])]
    net, x = squat.Sequential(*layers).eval(), spikes()
    assert_same(net, x)
    net.layers[0].bias = torch.nn.Parameter(torch.full((19,), 0.2))
    assert_same(net, x)
    assert all(calls)


@pytest.mark.parametrize("bits", [2, 8])
def test_weights_of_other_widths(calls, bits):
    assert_same(network("recurrent", weight=squat.IntWeight(bits), inputs=300), spikes(inputs=300))
    assert all(calls)


@torch.no_grad()
def test_a_fresh_state_starts_fresh_whatever_the_layer_starts_from():
    net, x = network("recurrent", squat.Anchored(4), initial="code_of_zero"), spikes()
    states = (squat.neurons.LIFState(torch.zeros(3, 19), fresh=True), None, None)
    whole, _ = net(x[:1], states)
    stepped, _ = net.step(x[0], states)
    assert torch.equal(stepped, whole[0])


@torch.inference_mode()
def test_networks_made_in_inference_mode():
    net, x = network("recurrent"), spikes()
    assert torch.equal(walk(net, x)[0], net(x)[0])
    net.layers[0].weight_in.mul_(-1)
    assert torch.equal(walk(net, x)[0], net(x)[0])


def test_a_sequence_may_be_continued_by_steps_and_back():
    net, x = network("recurrent"), spikes()
    with torch.no_grad():
        whole, _ = net(x)
        first, states = net(x[:10])
        middle, states = walk(net, x[10:20], states)
        last, _ = net(x[20:], states)
    assert torch.equal(torch.cat((first, middle, last)), whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.layers[0].weight_in.mul_(-1),
        lambda net: setattr(net.layers[0], "bias", torch.nn.Parameter(torch.ones(19))),
        lambda net: net.layers[0].set_weight_spec(squat.IntWeight(2)),
        lambda net: net.layers[0].set_state_spec(squat.Uniform(3)),
        lambda net: net.layers[0].beta.fill_(0.1),
        lambda net: setattr(net.layers[0], "reset", "none"),
        lambda net: net.layers[0].threshold.fill_(0.7),
        lambda net: net.load_state_dict({k: v * 0.5 for k, v in net.state_dict().items()}),
        lambda net: net.layers.__setitem__(1, squat.Linear(19, 16, weight=squat.IntWeight(3))),
    ],
)
def test_every_change_is_followed(change):
    net, x = network("recurrent"), spikes()
    before, _ = walk(net, x)
    with torch.no_grad():
        change(net)
    assert_same(net, x)
    assert not torch.equal(walk(net, x)[0], before)


@pytest.mark.parametrize("switch", [True, False], ids=["train-and-eval", "in-eval-mode"])
def test_steps_of_a_fused_optimizer_are_followed(switch):
    net, x = network("recurrent"), spikes()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03, fused=True)
    before, _ = walk(net, x)
    with torch.no_grad():
        net(x)
    for _ in range(2):
        net.train(switch)
        (-net(x)[0].sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        net.eval() if switch else None
        assert_same(net, x)
        with torch.no_grad():
            fresh = network("recurrent")
            fresh.load_state_dict(net.state_dict())
            assert torch.equal(fresh.eval()(x)[0], net(x)[0])
    assert not torch.equal(walk(net, x)[0], before)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.layers[0].set_weight_spec(None),
        lambda net: net.layers[0].set_weight_spec(squat.IntWeight(4, granularity="channel")),
        lambda net: setattr(net.layers[0], "arithmetic", "float"),
        lambda net: net.double(),
        lambda net: net.layers[0].register_forward_hook(lambda *_: None),
        lambda net: setattr(net.layers[0], "forward", net.layers[0].forward),
    ],
)
def test_what_has_no_prepared_step_takes_the_layers_own(calls, change):
    net = network("recurrent")
    change(net)
    x = spikes().to(net.layers[0].weight_in.dtype)
    with torch.no_grad():
        whole, _ = net(x)
    assert torch.equal(walk(net, x)[0], whole)
    assert not any(calls)


def test_training_gradients_and_the_specification_take_the_layers_own_step(calls):
    net, x = network("linear"), spikes()
    net.step(x[0])
    with torch.no_grad(), squat.ops.backend("reference"):
        net.step(x[0])
        net.train().step(x[0])
    assert not calls
    assert Stream([torch.nn.Identity()]).step(x[0], None) is None


@torch.no_grad()
def test_bad_input_is_refused_as_in_sequences():
    net, x = network("linear"), spikes()
    _, states = net.step(x[0])
    for wrong, text in ((float("nan"), "NaN or infinity"), (0.5, "x: got fractions"), (9e4, "raise input_max")):
        bad = x[0].clone()
        bad[1, 36] = wrong
        with pytest.raises(ValueError, match=text):
            net.step(bad, states)
    foreign = (None, states[1]._replace(codes=torch.full_like(states[1].codes, 16)), *states[2:])
    with pytest.raises(ValueError, match="state: code 16"):
        net.step(x[0], foreign)
    other = (None, states[1]._replace(u=torch.zeros(1, 1)), *states[2:])
    with pytest.raises(ValueError, match="state: membrane of shape"):
        net.step(x[0], other)
    with pytest.raises(ValueError, match="states: 1 entries"):
        net.step(x[0], states[:1])
    with pytest.raises(ValueError, match="expected"):
        net.step(x[0][:, :5], states)
