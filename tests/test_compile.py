"""Compiled and exported networks: the same spikes and states, close gradients, and the same refusals."""

from __future__ import annotations

import copy
import io
import shutil

import pytest
import torch
from torch import nn

import squat
from plain_neuron import largest_error
from squat.models import NetworkConfig, build_network

INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.slow,
        pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),  # torch's own
        pytest.mark.skipif(not shutil.which("g++"), reason="needs the C++ compiler g++, which inductor calls"),
    ],
)
EAGER = pytest.param("eager", marks=pytest.mark.slow)  # what it shows, aot_eager shows too
ARCHITECTURES = {"feedforward": 20, "recurrent": 20, "conv": (2, 8, 8)}
SPECS = [
    pytest.param(None, None, id="float"),
    pytest.param(squat.IntWeight(4), None, id="weights", marks=pytest.mark.slow),
    pytest.param(None, squat.Anchored(4), id="states", marks=pytest.mark.slow),
    pytest.param(squat.IntWeight(4), squat.ThresholdCentered(4), id="both"),
]
VARIANTS = {
    "max scale by channel": {"weights": squat.IntWeight(4, "channel", "max")},
    "learned scale": {"weights": squat.IntWeight(3, scale="learned")},
    "learned decay and threshold": {"learn_beta": "clamp", "learn_threshold": True},
    "float rule": {"arithmetic": "float"},
    "clipped, zero reset": {"ste": "clipped", "reset": "zero", "zero_reset": "drop_input"},
    "from the code of zero": {"initial": "code_of_zero"},
    "another surrogate": {"surrogate": squat.Triangular(0.7), "states": squat.Anchored(3, decay="at_least_one_code")},
}


@pytest.fixture(autouse=True)
def _plain_memory(_nan_memory, monkeypatch):
    """The compilers know torch's own `empty` only."""
    monkeypatch.undo()
    torch._dynamo.reset()


def network(architecture="feedforward", weights=None, states=None, **options):
    options = {"readout": "spike_count", "weights": weights, "states": states, **options}
    inputs, hidden = ARCHITECTURES[architecture], (6, 5) if architecture == "conv" else (24, 16)
    config = NetworkConfig(
        architecture, inputs=inputs, hidden=hidden, classes=4, threshold=0.2, kernel_size=3, **options
    )
    net = build_network(config, seed=0).layers
    with torch.no_grad():  # so that float sums of spikes are exact: compilers may add in any order
        for parameter in net.parameters():
            parameter.copy_((parameter * 2**12).round() / 2**12)
    return net


def spikes(net, steps=7, batch=3, seed=0):
    first = net[0]
    shape = (2, 8, 8) if isinstance(first, squat.Conv2d) else (20,)
    return (torch.rand(steps, batch, *shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def results(run, net, *inputs):
    """Output, final states and gradients of a loss that reads them all."""
    out, states = run(*inputs)
    carried = [state.u for state in states if state is not None]
    (out.square().sum() + sum(u.square().sum() for u in carried)).backward()
    return out, states, [parameter.grad for parameter in net.parameters()]


def assert_same_run(net, backend, tolerance):
    twin = copy.deepcopy(net)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    states = states_there = None
    for seed in (0, 1):  # the second call continues the first
        x = spikes(net, seed=seed)
        out, states, gradients = results(net, net, x, states)
        out_there, states_there, gradients_there = results(compiled, twin, x, states_there)
        assert torch.equal(out_there, out)
        assert 0.02 < float(out.detach().mean()) < 0.98
        for ours, theirs in zip(states_there, states, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert torch.equal(ours.u, theirs.u)
                assert theirs.codes is None or torch.equal(ours.codes, theirs.codes)
        for ours, theirs in zip(gradients_there, gradients, strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or largest_error(ours, theirs) <= tolerance
        for ours, theirs in zip(twin.buffers(), net.buffers(), strict=True):
            assert torch.equal(ours, theirs)
        states, states_there = (
            tuple(None if state is None else state.detach() for state in both) for both in (states, states_there)
        )
        net.zero_grad()
        twin.zero_grad()


@pytest.mark.parametrize("backend", [EAGER, "aot_eager", INDUCTOR])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("weights", "states"), SPECS)
def test_a_whole_network(architecture, weights, states, backend):
    assert_same_run(network(architecture, weights, states), backend, 1e-5)


@pytest.mark.parametrize("architecture", ["feedforward", pytest.param("recurrent", marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_option(options, architecture):
    options = {"weights": squat.IntWeight(4), "states": squat.Anchored(4), **options}
    assert_same_run(network(architecture, **options), "aot_eager", 1e-5)


@pytest.mark.parametrize("architecture", ["feedforward", "conv"])
def test_batch_normalisation(architecture):
    net = network(architecture, squat.IntWeight(4), squat.Anchored(4), batch_norm=True)
    net(spikes(net))  # the first batch sets the weight scale anew, which graphs leave out
    assert_same_run(net, "aot_eager", 1e-5)


def test_a_constant_input_and_one_step():
    net = network("recurrent", squat.IntWeight(4), squat.Anchored(4)).eval()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x = spikes(net, steps=1)
    with torch.no_grad():
        for inputs in (x.expand(7, -1, -1), x, spikes(net, steps=1, batch=1)):
            assert torch.equal(compiled(inputs)[0], net(inputs)[0])


def test_an_exported_network():
    for architecture in ARCHITECTURES:
        net = network(architecture, squat.IntWeight(4), squat.Anchored(4)).eval()
        x = spikes(net)
        file = io.BytesIO()
        torch.export.save(torch.export.export(net, (x,)), file)
        file.seek(0)
        exported = torch.export.load(file).module()
        out, states = exported(x)
        expected, expected_states = net(x)
        assert torch.equal(out, expected)
        assert torch.equal(states[-1].codes, expected_states[-1].codes)
        with pytest.raises(ValueError, match="NaN or infinity"):
            exported(torch.full_like(x, float("inf")))


def bad(kind):
    """A network with an input that it must refuse, and the text of the refusal."""
    weights = None if kind in ("NaN", "swallowed") else squat.IntWeight(4)
    net = network("recurrent" if kind == "recurrent fractions" else "feedforward", weights, squat.Anchored(4))
    x, states, text = spikes(net), None, "NaN or infinity"
    if kind == "NaN":
        x[3, 1, 4] = float("nan")
    elif kind == "swallowed":
        net, x[3, 1, 4] = squat.Sequential(nn.ReLU(), *net), -float("inf")
    elif kind == "NaN weights":
        net[0].weight.data[0, 0], text = float("nan"), "weight: got NaN or infinity"
    elif kind == "threshold":
        net[1].threshold.fill_(-1.0)
        text = r"threshold=-1 after training: expected a number > 0"
    elif kind == "codes":
        states = tuple(state and state.detach() for state in net(x)[1])
        states[1].codes[0, 0], text = 16, r"state: code 16, expected codes below 16"
    elif "fractions" in kind:
        x, text = x * 0.5, "fractions|not integers"
    elif kind == "too large":
        x, text = x * 9, "raise input_max to 9"
        net[0].weight.data.copy_(torch.ones_like(net[0].weight))
    return net, x, states, text


@pytest.mark.parametrize("backend", [EAGER, "aot_eager", INDUCTOR])
@pytest.mark.parametrize(
    "kind", ["NaN", "swallowed", "NaN weights", "threshold", "codes", "fractions", "recurrent fractions", "too large"]
)
def test_bad_input_is_refused(kind, backend):
    net, x, states, text = bad(kind)
    with pytest.raises(ValueError, match=text):
        net(x, states)
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    with pytest.raises(ValueError, match=text):
        compiled(x, states)


def test_a_changed_spec_is_followed():
    net = network("feedforward", squat.IntWeight(4), squat.Anchored(4)).eval()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    x = spikes(net)
    for change in (
        lambda: net[1].set_state_spec(squat.Uniform(2)),
        lambda: net[0].set_weight_spec(squat.IntWeight(2)),
        lambda: setattr(net[1], "surrogate", squat.Boxcar(0.5)),
    ):
        compiled(x)
        change()
        _, _, expected = results(net, net, x)
        expected = [gradient.clone() for gradient in expected]
        net.zero_grad()
        _, _, gradients = results(compiled, net, x)
        assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
        net.zero_grad()


def test_the_specification_has_no_operator():
    net = network("feedforward", squat.IntWeight(4), squat.Anchored(4))
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    compiled(spikes(net))
    with squat.ops.backend("reference"), pytest.raises(ValueError, match="backend 'reference' inside a compiled graph"):
        compiled(spikes(net))


def text_of(state, integer):
    layer = squat.LIF(state=state)
    flags = f'"drop_input": false, "clipped": true, "spiking": true, "integer": {str(integer).lower()}'
    return f'{{"state": {layer.state_spec_text}, "surrogate": {layer.surrogate_text}, "reset": "subtract", {flags}}}'


def loop_arguments(integer):
    """Arguments of the operators of the loop: recurrent, carried, every gradient wanted."""
    text = text_of(squat.Anchored(4), integer)
    x = torch.randint(-4, 5, (6, 2, 9)).float().requires_grad_()
    codes = torch.randint(0, 16, (2, 9), dtype=torch.uint8)
    w_rec = torch.randint(-3, 4, (9, 9)).float().requires_grad_()
    leaf = [torch.tensor(value, requires_grad=True) for value in (0.9, 1.0, 0.2, 0.3)]
    bias = torch.full((9,), 0.1, requires_grad=True) if integer else None
    u0 = torch.zeros(2, 9, requires_grad=True)
    bound = torch.tensor(60)
    scale = leaf[2] if integer else None
    return x, *leaf[:2], scale, bias, w_rec, leaf[3], u0, codes, bound, False, text, 6, False, True


def operator_calls():
    """Every registered operator with arguments; those of the gradients are reached through autograd."""
    x, *others = loop_arguments(False)
    beta, threshold, _, _, w_rec, rec_scale, u0, *_ = others
    w_int = torch.randint(-3, 4, (4, 3, 3, 3)).float().requires_grad_()
    image = torch.randint(0, 2, (2, 3, 6, 5)).float().requires_grad_()
    return {
        "lif_codes float": (torch.ops.squat.lif_codes, loop_arguments(False)),
        "lif_codes integer": (torch.ops.squat.lif_codes, loop_arguments(True)),
        "lif_membrane": (
            torch.ops.squat.lif_membrane, (x, beta, threshold, w_rec, rec_scale, u0, text_of(None, False), 6)
        ),
        "integer_linear": (torch.ops.squat.integer_linear, (x, w_rec, torch.tensor(2**20), -4, 4)),
        "integer_conv2d": (torch.ops.squat.integer_conv2d, (image, w_int, [2, 1], [1, 0], torch.tensor(99), 0, 1)),
        "quantize_weight": (torch.ops.squat.quantize_weight, (w_int, torch.ones(4), 4, "channel", "mse", True)),
        "row_bound": (torch.ops.squat.row_bound, (w_int, 3, None)),
        "check_sums": (torch.ops.squat.check_sums, (image, torch.tensor(1))),
        "check_finite": (torch.ops.squat.check_finite, (image,)),
    }  # fmt: skip


@pytest.mark.parametrize("name", operator_calls())
def test_registered_operators(name):
    operator, arguments = operator_calls()[name]
    torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (squat.SpikingLSTM(5, 6, 0.2, state=squat.Uniform(4), weight=squat.IntWeight(4)), (5,)),
        (squat.ConvRLIF(2, state=squat.Uniform(4), weight=squat.IntWeight(4)), (2, 5, 4)),
    ],
    ids=["SpikingLSTM", "ConvRLIF"],
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_loops_without_an_operator_stay_outside_of_graphs(layer, shape):
    x = torch.randn(4, 3, *shape, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(layer.eval(), backend="eager")
    assert torch.equal(compiled(x)[0], layer(x)[0])
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="disable"):
        torch.compile(layer, backend="eager", fullgraph=True)(x)
