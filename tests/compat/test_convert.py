"""`from_snntorch` in detail: parameters, options and gradients that carry over, and everything that is refused."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import squat
from squat.compat import compare, state_quant, to_snntorch
from squat.compat.recognise import state_spec_of, surrogate_of
from tutorial_networks import made, spikes

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")
published = pytest.importorskip("snntorch.functional.quant", reason="snnTorch is converted here (dev extra)")


def leaky(**options):
    return snntorch.Leaky(0.9, init_hidden=True, **options)


def test_parameters_their_training_and_the_mode_carry_over():
    theirs = nn.Sequential(nn.Linear(5, 4), leaky(learn_beta=True, threshold=0.3), nn.Linear(4, 3, bias=False))
    theirs[0].weight.requires_grad_(False)
    ours = squat.from_snntorch(theirs.eval())
    assert not ours.training
    assert torch.equal(ours[0].weight, theirs[0].weight)
    assert torch.equal(ours[0].bias, theirs[0].bias)
    assert not ours[0].weight.requires_grad
    assert ours[2].bias is None
    assert ours[1].learn_beta == "clamp"
    assert float(ours[1].threshold) == 0.3
    assert ours[1].beta.data_ptr() != theirs[1].beta.data_ptr()
    assert ours[0].weight.data_ptr() != theirs[0].weight.data_ptr()


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_resets(reset):
    theirs = nn.Sequential(nn.Linear(5, 4), leaky(threshold=0.3, reset_mechanism=reset))
    ours = squat.from_snntorch(theirs)
    assert ours[1].reset == reset
    assert compare(theirs, ours, spikes(20, 3, 5)).differing == 0.0


def test_gradients_are_those_of_snntorch():
    """Of a loss on spike counts, for every parameter; sums over time are taken in another order."""
    net, x, _ = made("learned_decays")
    ours = squat.from_snntorch(net, x)
    factors = torch.linspace(-1, 1, 6)
    (net(x) * factors).sum().backward()
    (ours(x)[0].sum(0) * factors).sum().backward()
    pairs = [
        (net.fc1.weight, ours[0].weight),
        (net.lif1.beta, ours[1].beta),
        (net.fc2.weight, ours[2].weight),
        (net.lif2.beta, ours[3].beta),
    ]
    gradients = [(theirs.grad, mine.grad) for theirs, mine in pairs]
    gradients.append((net.lif2.threshold.grad * net.lif2.threshold.detach(), ours[3].log_threshold.grad))
    for expected, mine in gradients:
        error = (expected.flatten() - mine.flatten()).abs().max()
        assert float(error) <= 1e-4 * float(expected.abs().max()), (error, expected)


def test_the_same_module_again_needs_no_reset_between():
    """States that an `init_hidden` network keeps neither matter nor change."""
    net, x, _ = made("recurrent_init_hidden")
    net(x[0])
    kept = net[0][1].mem.clone()
    ours = squat.from_snntorch(net)
    assert compare(net, ours, x).differing <= 0.02
    assert torch.equal(net[0][1].mem, kept)
    assert net.training


def test_beta_of_channels_stays_one_for_each():
    theirs = nn.Sequential(nn.Conv2d(1, 2, 3), snntorch.Leaky(torch.rand(2, 1, 1), threshold=0.3, init_hidden=True))
    x = spikes(9, 4, 1, 6, 6)
    for ours in (squat.from_snntorch(theirs, x[0]), squat.from_snntorch(theirs)):
        assert torch.equal(ours[1].beta, theirs[1].beta)
        assert compare(theirs, ours, x).rows[0].given_inputs == 0.0


def test_average_pooling_of_spikes_becomes_sums():
    ours = squat.from_snntorch(made("convolutional_init_hidden")[0])
    kinds = [type(layer).__name__ for layer in ours.layers]
    assert kinds == ["Conv2d", "LIF", "SumPool2d", "Conv2d", "LIF", "SumPool2d", "Flatten", "Linear", "LIF"]
    assert (ours[3].input_scale, ours[3].input_max) == (0.25, 4)
    before_neuron = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), leaky(threshold=0.2))
    ours = squat.from_snntorch(before_neuron)
    assert type(ours[1]).__name__ == "AvgPool2d"
    assert compare(before_neuron, ours, spikes(9, 4, 1, 8, 8)).rows[0].given_inputs == 0.0


QUANTIZERS = [
    ({"num_bits": 4}, 1.0, squat.Uniform(4)),
    ({"num_bits": 8, "threshold": 0.3}, 0.3, squat.Uniform(8)),
    ({"num_bits": 3, "uniform": False, "threshold": 2.473}, 2.473, squat.ThresholdCentered(3)),
    ({"num_bits": 4, "uniform": False, "thr_centered": False}, 1.0, squat.ZeroCentered(4)),
    ({"num_bits": 4, "lower_limit": 0.5, "upper_limit": 1}, 1.0, squat.Uniform(4, 0.5, 1.0)),
    ({"num_bits": 5, "uniform": False, "multiplier": 0.8}, 1.0, squat.ThresholdCentered(5, base=0.8)),
    ({"num_bits": 4, "threshold": 1.0}, 0.5, squat.Uniform(4, 1.0, 1.4)),
]


@pytest.mark.parametrize("make", [published.state_quant, state_quant])
@pytest.mark.parametrize(("arguments", "threshold", "spec"), QUANTIZERS, ids=str)
def test_levels_are_recognised(arguments, threshold, spec, make):
    found = state_spec_of(make(**arguments), threshold)
    assert found == spec or torch.equal(found.levels(threshold), spec.levels(threshold))
    assert state_spec_of(False, threshold) is None


def test_levels_that_are_no_published_set_are_refused():
    with pytest.raises(
        ValueError, match=r"are no published set at threshold 0.3; make the quantizer with threshold=0.3"
    ):
        state_spec_of(published.state_quant(8, uniform=False), 0.3)
    with pytest.raises(ValueError, match="its state_quant is a function of its own"):
        state_spec_of(torch.round, 1.0)


def test_surrogates():
    theirs = snntorch.surrogate
    assert surrogate_of(theirs.fast_sigmoid(slope=7)) == squat.FastSigmoid(7.0)
    assert surrogate_of(theirs.atan()) == squat.ATan(2.0)
    assert surrogate_of(theirs.sigmoid(slope=3)) == squat.Sigmoid(3.0)
    net = nn.Sequential(nn.Linear(3, 2), leaky(spike_grad=theirs.straight_through_estimator()))
    text = r"1 \(snntorch.Leaky\): its surrogate gradient straight_through_estimator has no counterpart.*surrogate="
    with pytest.raises(ValueError, match=text):
        squat.from_snntorch(net)
    assert squat.from_snntorch(net, surrogate=squat.Triangular())[1].surrogate == squat.Triangular()


def test_the_triangular_surrogate_of_snntorch_is_none():
    theirs, x = snntorch.surrogate.triangular(threshold=0.5), torch.tensor([-9.0, -0.1, 0.1, 9.0], requires_grad=True)
    theirs(x).sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, -0.5, -0.5]
    with pytest.raises(
        ValueError, match=r"surrogate gradient triangular has no counterpart: .* squat.Triangular\(\) is"
    ):
        surrogate_of(theirs)


def brevitas_layers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns about torch's own deprecations
        return pytest.importorskip("brevitas.nn", reason="Brevitas, of the dev extra, is not installed")


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.filterwarnings("ignore")  # its tensor wrappers warn about torch's own deprecations
def test_brevitas_weights_become_the_same_integers(bits, per_channel):
    quantized = brevitas_layers()
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat

    quantizer = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat
    options = {"weight_bit_width": bits, "weight_quant": quantizer}
    theirs = nn.Sequential(
        *(quantized.QuantConv2d(1, 3, 3, **options), leaky(threshold=0.4)),
        *(nn.Flatten(), quantized.QuantLinear(3 * 16, 5, bias=True, **options), leaky(threshold=0.3)),
    )
    ours = squat.from_snntorch(theirs).eval()
    for mine, original in ((ours[0], theirs[0]), (ours[3], theirs[3])):
        assert mine.weight_spec == squat.IntWeight(bits, "channel" if per_channel else "tensor", "max")
        w_int, scale = mine.quantizer(mine.weight)
        expected = original.quant_weight()
        assert torch.equal(w_int, (expected.value / expected.scale).round())
        assert torch.equal(scale.flatten(), expected.scale.flatten())
    comparison = compare(theirs, ours, spikes(9, 4, 1, 6, 6))
    assert [row.given_inputs for row in comparison.rows] == [0.0, 0.0]
    assert comparison.differing <= 0.02


@pytest.mark.filterwarnings("ignore")
def test_brevitas_quantizers_that_squat_has_not_are_refused():
    quantized = brevitas_layers()
    from brevitas.quant import Int8ActPerTensorFloat, ShiftedUint8WeightPerTensorFloat

    acts = nn.Sequential(quantized.QuantLinear(3, 2, bias=True, input_quant=Int8ActPerTensorFloat))
    with pytest.raises(ValueError, match="input_quant is on: squat quantizes weights and states"):
        squat.from_snntorch(acts)
    shifted = nn.Sequential(quantized.QuantLinear(3, 2, bias=True, weight_quant=ShiftedUint8WeightPerTensorFloat))
    with pytest.raises(ValueError, match="are no symmetric set from -127 to 127"):
        squat.from_snntorch(shifted)


class Loop(nn.Module):
    """A time loop around `step(t, x, mem1, mem2)`, which tests replace by what cannot be converted."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.fc1, self.lif1 = nn.Linear(6, 6), snntorch.Leaky(0.9, threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(6, 6), snntorch.Leaky(0.9, threshold=0.3)

    def forward(self, x):
        states, out = (torch.zeros(x.shape[1:]), torch.zeros(x.shape[1:])), []
        for t in range(len(x)):
            spikes_out, *states = self.step(self, t, x[t], *states)
            out.append(spikes_out)
        return torch.stack(out) if isinstance(out[0], torch.Tensor) else out


def dyadic(net):
    """Weights whose sums are exact."""
    for parameter in net.parameters():
        parameter.data.mul_(64).round_().div_(64)
    return net


def plain(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2, mem1, mem2


def residual(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1) + spk1, mem2)
    return spk2, mem1, mem2


def multiplied(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1) * spk1, mem2)
    return spk2, mem1, mem2


def shared(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc1(spk1), mem2)
    return spk2, mem1, mem2


def feedback(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x + (mem2 > 1)), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2, mem1, mem2


def membrane_on(net, t, x, mem1, mem2):
    _, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(mem1), mem2)
    return spk2, mem1, mem2


def scaled_state(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1 * 0.5)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2, mem1, mem2


def several_outputs(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return (spk2, spk1), mem1, mem2


def detached_output(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return (spk2, spk1.detach()), mem1, mem2


def side_branch(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2 + 0 * spk1.sum(), mem1, mem2


def hidden_membrane(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return (spk2, mem1), mem1, mem2


def hidden_current(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    current = net.fc2(spk1)
    spk2, mem2 = net.lif2(current, mem2)
    return (spk2, current.mean()), mem1, mem2


def data_dependent(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    current = net.fc2(spk1) if bool(x.sum() > 0) else net.fc2(spk1).flatten(1)
    spk2, mem2 = net.lif2(current, mem2)
    return spk2, mem1, mem2


def other_function(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(F.relu(net.fc1(x)), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2, mem1, mem2


def parallel(net, t, x, mem1, mem2):
    _, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(x), mem2)
    return spk2, mem1, mem2


def order_changes(net, t, x, mem1, mem2):
    if t % 2:
        spk2, mem2 = net.lif2(net.fc2(x), mem2)
        spk1, mem1 = net.lif1(net.fc1(spk2), mem1)
        return spk1, mem1, mem2
    return plain(net, t, x, mem1, mem2)


def starts_charged(net, t, x, mem1, mem2):
    return plain(net, t, x, mem1 if t else mem1 + 0.5, mem2)


REFUSED = [
    (multiplied, r"mul joins several tensors between layers before lif2; converted is the sum of two branches"),
    (shared, r"run a different number of times \(fc1 14, lif1 7, lif2 7\)"),
    (feedback, "lif2 feeds back into the first layer, fc1"),
    (membrane_on, "fc2 takes a state of lif1, expected the output of lif1"),
    (scaled_state, "lif1 gets a state in step 1 that is not what it returned in the step before"),
    (side_branch, r"add\(...\) makes another output of what lif2 gives at each step"),
    (hidden_membrane, "its result reads lif1, but only the last layer, lif2, and spikes of hidden layers can be"),
    (hidden_current, r"mean\(...\) reads fc2, but only the last layer, lif2, and spikes of hidden layers"),
    (data_dependent, "depends on the values of its input: branches on data cannot be converted"),
    (other_function, r"relu \(function.relu\) has no counterpart in squat; converted are torch.Linear"),
    (parallel, "fc2 takes no output of lif1, the layer that runs before it"),
    (order_changes, "its layers run in another order in a later step"),
    (starts_charged, "lif1 gets a state in step 0 that is not zero at first"),
]


@pytest.mark.parametrize(("step", "text"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_chain_is_refused(step, text):
    with pytest.raises(ValueError, match=f"this network cannot be converted: .*{text}"):
        squat.from_snntorch(Loop(step), spikes(7, 3, 6) + 0.1)


def test_the_loop_of_these_tests_is_converted_as_it_stands():
    net, x = Loop(plain), spikes(7, 3, 6)
    assert compare(net, squat.from_snntorch(net, x), x).differing <= 0.02


def added_to(target):
    """Sums in place, too."""

    def step(net, t, x, mem1, mem2):
        spk1, mem1 = net.lif1(net.fc1(x), mem1)
        current = net.fc2(spk1)
        current += {"spikes": spk1, "input": x}[target]
        spk2, mem2 = net.lif2(current, mem2)
        return spk2, mem1, mem2

    return step


def skipped(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk1 + spk2, mem1, mem2


RESIDUAL = [residual, added_to("spikes"), added_to("input"), skipped]


@pytest.mark.parametrize("step", RESIDUAL, ids=["current", "spikes", "input", "output"])
def test_skip_connections_become_residuals(step, tmp_path):
    net, x = dyadic(Loop(step)), spikes(7, 3, 6)
    ours = squat.from_snntorch(net, x)
    assert [type(layer).__name__ for layer in ours.modules()].count("Residual") == 1
    for other in (x, spikes(7, 3, 6, rate=0.8)):
        assert torch.equal(ours(other)[0], net(other))
    assert max(row.free_running for row in compare(net, ours, x).rows) == 0.0
    squat.save(ours, tmp_path / "net.safetensors")
    assert torch.equal(squat.load(tmp_path / "net.safetensors")(x)[0], net(x))


def test_a_skip_connection_of_spikes_is_lowered():
    net, x = Loop(skipped), spikes(7, 3, 6)
    net.fc3, net.lif3 = nn.Linear(6, 4), snntorch.Leaky(0.9, threshold=0.3)

    def forward(x):
        mem1, mem2, mem3, out = torch.zeros(3, 6), torch.zeros(3, 6), torch.zeros(3, 4), []
        for step in x:
            both, mem1, mem2 = net.step(net, 0, step, mem1, mem2)
            spk3, mem3 = net.lif3(net.fc3(both), mem3)
            out.append(spk3)
        return torch.stack(out)

    net.forward = forward
    ours = squat.from_snntorch(net, x)
    assert ours[3].input_max == 2
    squat.quantize_(ours, weights=squat.IntWeight(4), states=squat.Anchored(4))
    assert torch.equal(torch.tensor(squat.lower(ours).run(x).output).float(), ours.eval()(x)[0])


@pytest.mark.parametrize("step", [several_outputs, detached_output], ids=["spikes", "detached"])
def test_hidden_spikes_beside_the_output_are_tapped(step):
    net, x = dyadic(Loop(step)), spikes(7, 3, 6)
    ours = squat.from_snntorch(net, x)
    assert [type(layer).__name__ for layer in ours.layers] == ["Linear", "LIF", "Tap", "Linear", "LIF"]
    out, states = ours(x)
    for found, expected in zip((out, *squat.tapped(states)), zip(*net(x), strict=True), strict=True):
        assert torch.equal(found, torch.stack(expected))
    assert compare(net, ours, x).differing == 0.0


def test_hidden_spikes_inside_a_skip_connection():
    def step(net, t, x, mem1, mem2):
        spk1, mem1 = net.lif1(net.fc1(x), mem1)
        spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
        return (spk1 + spk2, spk1, spk2), mem1, mem2

    net, x = dyadic(Loop(step)), spikes(7, 3, 6)
    out, states = squat.from_snntorch(net, x)(x)
    for found, expected in zip((out, *squat.tapped(states)), zip(*net(x), strict=True), strict=True):
        assert torch.equal(found, torch.stack(expected))


class Tactile(nn.Module):
    """A recurrent classifier of touch: synaptic currents, hidden spikes for a penalty, sums of a membrane's maximum."""

    def __init__(self, readout="spikes"):
        super().__init__()
        self.readout = readout
        self.fc1 = nn.Linear(12, 8, bias=False)
        self.hidden = snntorch.RSynaptic(alpha=0.5, beta=0.75, linear_features=8, threshold=0.5)
        self.fc2 = nn.Linear(8, 5)
        self.out = snntorch.Leaky(beta=0.5, threshold=0.5)

    def forward(self, x):  # [B, T, channels]
        spk1, syn1, mem1 = self.hidden.init_rsynaptic()
        mem2, record = self.out.init_leaky(), {"hidden": [], "out": []}
        for t in range(x.shape[1]):
            spk1, syn1, mem1 = self.hidden(self.fc1(x[:, t, :]), spk1, syn1, mem1)
            spk2, mem2 = self.out(self.fc2(spk1), mem2)
            record["hidden"].append(spk1)
            record["out"].append(mem2 if self.readout == "membrane" else spk2)
        return torch.stack(record["out"], dim=1), torch.stack(record["hidden"], dim=1)


@pytest.mark.parametrize("readout", ["spikes", "membrane"])
def test_a_recurrent_tactile_network(readout, tmp_path):
    torch.manual_seed(0)
    net, x = dyadic(Tactile(readout)), spikes(3, 9, 12, rate=0.6)
    ours, (out, hidden) = squat.from_snntorch(net, x), net(x)
    kinds = ["RCubaLIF", "Tap", "Linear", "Membrane" if readout == "membrane" else "LIF"]
    assert [type(layer).__name__ for layer in ours.layers] == kinds
    squat.save(ours, tmp_path / "net.safetensors")
    for each in (ours, squat.load(tmp_path / "net.safetensors")):
        found, states = each(x.transpose(0, 1))
        assert torch.equal(found, out.transpose(0, 1))
        assert torch.equal(squat.tapped(states)[0], hidden.transpose(0, 1))
    assert bool(hidden.any())


class Read(nn.Module):
    """A layer whose membrane alone is read."""

    def __init__(self, neuron):
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 4), neuron

    def forward(self, x):
        carried, out = None, []
        for step in x:
            carried = list(self.lif(self.fc(step), *(carried or [])))
            carried = carried if isinstance(self.lif, snntorch.RLeaky) else carried[1:]
            out.append(carried[-1])
        return torch.stack(out)


READ = {
    "subtract": lambda: snntorch.Leaky(0.5, threshold=0.25),
    "zero": lambda: snntorch.Leaky(0.5, threshold=0.25, reset_mechanism="zero"),
    "quantized": lambda: snntorch.Leaky(0.5, threshold=0.25, state_quant=published.state_quant(4, threshold=0.25)),
    "synaptic": lambda: snntorch.Synaptic(0.5, 0.75, threshold=0.25),
    "recurrent": lambda: snntorch.RLeaky(0.5, linear_features=4, threshold=0.25),
    "lapicque": lambda: snntorch.Lapicque(R=1.0, C=0.5, time_step=0.25, threshold=0.25),
}


@pytest.mark.parametrize("kind", READ)
def test_a_membrane_that_is_reset_can_be_read(kind):
    torch.manual_seed(0)
    net, x = dyadic(Read(READ[kind]())), spikes(9, 3, 6)
    ours = squat.from_snntorch(net, x)
    assert type(ours[-1]).__name__ == "Membrane"
    for other in (x, spikes(9, 3, 6, rate=0.8)):
        net.lif._init_mem()
        assert torch.equal(ours(other)[0], net(other))
    assert compare(net, ours, x).differing == 0.0


def test_a_membrane_after_a_reset_without_delay_is_refused():
    net = Read(snntorch.Leaky(0.5, threshold=0.25, reset_delay=False))
    with pytest.raises(
        ValueError, match=r"reads the membrane of lif after a reset without delay \(reset_delay=False\)"
    ):
        squat.from_snntorch(net, spikes(9, 3, 6))


def offset_output(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2 + torch.ones(3, 6), mem1, mem2


def steered_output(net, t, x, mem1, mem2):
    spk1, mem1 = net.lif1(net.fc1(x), mem1)
    spk2, mem2 = net.lif2(net.fc2(spk1), mem2)
    return spk2 + 0.5 * spk1, mem1, mem2


SUMS = [
    (offset_output, r"add\(...\) makes another output of what lif2 gives"),
    (steered_output, "mul .* no counterpart"),
]


@pytest.mark.parametrize(("step", "text"), SUMS)
def test_sums_that_are_no_counts_are_refused(step, text):
    with pytest.raises(ValueError, match=text):
        squat.from_snntorch(Loop(step), spikes(7, 3, 6))


OPTIONS = [
    ({"graded_spikes_factor": 2.0}, "graded_spikes_factor other than 1: spikes are 0 or 1"),
    ({"learn_graded_spikes_factor": True}, "graded_spikes_factor other than 1"),
    (
        {"threshold": torch.tensor([1.0, 2.0]), "state_quant": squat.compat.state_quant(4)},
        "2 thresholds with a state_quant: expected one threshold",
    ),
    ({"surrogate_disable": True}, "its surrogate gradient SpikingNeuron has no counterpart"),
]


@pytest.mark.parametrize(("options", "text"), OPTIONS, ids=str)
def test_options_that_squat_has_not_are_refused(options, text):
    with pytest.raises(ValueError, match=rf"cannot be converted: 1 \(snntorch.Leaky\): {text}"):
        squat.from_snntorch(nn.Sequential(nn.Linear(3, 2), leaky(**options)))


def test_winner_take_all_is_refused():
    with pytest.warns(UserWarning, match="Inhibition"):
        net = nn.Sequential(leaky(inhibition=True))
    with pytest.raises(ValueError, match="inhibition=True: expected False"):
        squat.from_snntorch(net)


LAYERS = [
    (nn.Sequential(nn.GRU(3, 3)), r"0 \(torch.GRU\) has no counterpart in squat; converted are"),
    (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), "groups=2, dilation=.*: expected 1"),
    (
        nn.Sequential(nn.Conv2d(1, 2, (3, 4), padding="same")),
        r"padding='same' with kernel_size=\(3, 4\).*: use odd",
    ),
    (
        nn.Sequential(nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular")),
        "padding_mode='circular': expected",
    ),
    (nn.Sequential(nn.Flatten(1, 2)), "start_dim=1, end_dim=2: expected 1 and -1, everything .* pass an example input"),
    (nn.Sequential(nn.Unflatten(1, (-1, 2))), r"unflattened_size=\(-1, 2\): expected sizes of features, or an example"),
    (
        nn.Sequential(nn.Linear(3, 3), snntorch.BatchNormTT1d(3, 6)),
        r"1 \(snntorch.BatchNormTT1d\): a norm for each",
    ),
    (nn.Sequential(nn.Linear(3, 2), nn.AvgPool2d(2, padding=1)), "padding=1: expected plain windows without padding"),
    (nn.Sequential(nn.Linear(3, 2), nn.MaxPool2d(2, ceil_mode=True)), "ceil_mode=True: expected plain windows"),
    (nn.Sequential(nn.BatchNorm1d(3)), "it stands behind no Linear, Conv1d or Conv2d"),
    (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)), "track_running_stats=False"),
    (nn.Sequential(nn.Flatten(0)), "start_dim=0, end_dim=-1: expected 1 and -1"),
    (nn.Sequential(nn.Linear(3, 3)).double(), "0.weight is torch.float64; convert it with net.float"),
    (nn.Sequential(snntorch.RLeaky(0.9, linear_features=3)), "it stands behind no float Linear"),
    (nn.Sequential(nn.Conv2d(1, 2, 3), snntorch.RLeaky(0.9, all_to_all=False)), "it stands behind no float Linear"),
    (
        nn.Sequential(snntorch.Lapicque(torch.tensor(0.9), learn_beta=True)),
        "learn_beta=True: snnTorch computes R and C",
    ),
    (nn.Sequential(snntorch.Lapicque(0.1)), "the membrane would decay by"),
]


@pytest.mark.parametrize(("net", "text"), LAYERS, ids=lambda value: str(value)[:20])
def test_layers_that_squat_has_not_are_refused(net, text):
    with pytest.raises(ValueError, match=f"cannot be converted: .*{text}"):
        squat.from_snntorch(net)


class Scaled(nn.Module):
    """A layer of a user's own, with a weight."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.factor


def test_a_layer_of_ones_own_is_refused_by_name():
    net = nn.Sequential(nn.Linear(3, 3), Scaled(), leaky())
    for example in (None, torch.zeros(1, 3)):
        with pytest.raises(ValueError, match=r"cannot be converted: 1 \(.*Scaled\) has no counterpart in squat"):
            squat.from_snntorch(net, example)


def test_cells_whose_states_snntorch_loses_are_warned_of():
    theirs = nn.Sequential(snntorch.SLSTM(3, 4, init_hidden=True))
    with pytest.warns(UserWarning, match="0: snnTorch 1.0.0 sets the states of an SLSTM to zero at every step"):
        ours = squat.from_snntorch(theirs)
    assert torch.equal(ours[0].weight_rec, theirs[0].lstm_cell.weight_hh)


def test_bad_arguments():
    net, _, _ = made("recurrent")
    with pytest.raises(ValueError, match="example=None: expected an input of Recurrent"):
        squat.from_snntorch(net)
    with pytest.raises(TypeError, match="net=3: expected a network of snnTorch"):
        squat.from_snntorch(3)
    with pytest.raises(TypeError, match="surrogate='atan': expected a surrogate such as"):
        squat.from_snntorch(net, surrogate="atan")
    with pytest.raises(ValueError, match="arithmetic='int': expected one of 'float', 'integer'"):
        squat.from_snntorch(net, arithmetic="int")
    with pytest.raises(ValueError, match="it ran no layer"):
        squat.from_snntorch(Empty(), torch.zeros(1))
    with pytest.raises(ValueError, match="converted: 1 layers of neurons, but net has 2"):
        compare(Loop(plain), squat.Sequential(squat.LIF()), spikes(7, 3, 6))


class Empty(nn.Module):
    def forward(self, x):
        return x + 1


def test_the_comparison_is_a_table():
    net, x, _ = made("recurrent")
    comparison = compare(net, squat.from_snntorch(net, x), x)
    lines = str(comparison).splitlines()
    assert str(comparison) == repr(comparison)
    assert lines[0].startswith("layer  class  outputs  spike rate  differing, same inputs")
    assert [line.split()[:2] for line in lines[1:]] == [["rlif1", "RLIF"], ["lif2", "LIF"]]


BACK_AND_FORTH = ["convolutional_init_hidden", "recurrent_init_hidden", "quantized_states"]


@pytest.mark.parametrize("name", BACK_AND_FORTH)
def test_back_to_snntorch(name):
    net, x, _ = made(name, dyadic=True)
    ours = squat.from_snntorch(net)
    again = to_snntorch(ours)
    assert compare(again, ours, x).differing == 0.0
    second = squat.from_snntorch(again)
    assert [type(layer) for layer in second.layers] == [type(layer) for layer in ours.layers]
    for mine, theirs in zip(second.parameters(), ours.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_one_to_one_recurrence_back_to_snntorch():
    torch.manual_seed(0)
    ours = squat.Sequential(squat.RLIF(6, 4, recurrence="one_to_one", threshold=0.25))
    with torch.no_grad():
        for parameter in ours.parameters():  # sums of these are exact
            parameter.copy_((parameter * 16).round() / 8)
    again, x = to_snntorch(ours), spikes(9, 3, 6)
    assert compare(again, ours, x).differing == 0.0
    assert bool(ours(x)[0].any())
    second = squat.from_snntorch(again)[0]
    assert second.recurrence == "one_to_one"
    assert torch.equal(second.weight_rec, ours[0].weight_rec)


G = {"state": squat.ThresholdCentered(3)}
SEVERAL_BACK = {
    "Synaptic": squat.CubaLIF(0.5, 0.75, 0.5, learn_alpha="clamp"),
    "Synaptic, quantized": squat.CubaLIF(0.5, 0.75, 0.5, as_published=True, **G),
    "Synaptic, no delay": squat.CubaLIF(0.5, 0.75, 0.5, reset="zero", reset_delay=False),
    "RSynaptic": squat.RCubaLIF(6, 6, 0.5, 0.75, 0.5),
    "RSynaptic, one to one": squat.RCubaLIF(6, 6, 0.5, 0.75, 0.5, recurrence="one_to_one", as_published=True, **G),
    "Alpha": squat.AlphaLIF(0.75, 0.5, 0.25, reset="zero"),
    "Alpha, subtract": squat.AlphaLIF(0.75, 0.5, 0.25, as_published=True),
    "SLSTM": squat.SpikingLSTM(6, 6, threshold=0.1, state=squat.Uniform(4)),
}


@pytest.mark.parametrize("name", SEVERAL_BACK)
def test_several_states_back_to_snntorch(name):
    torch.manual_seed(0)
    neuron = copy.deepcopy(SEVERAL_BACK[name])
    recurrent = hasattr(neuron, "weight_in")
    ours = squat.Sequential(*[] if recurrent else [squat.Linear(6, 6)], neuron, squat.Linear(6, 2), squat.LIF(0.5))
    with torch.no_grad():
        for part, parameter in ours.named_parameters():
            if "weight" in part or "bias" in part:  # sums of these are exact
                parameter.copy_((parameter * 32).round() / 8)
    again, x = to_snntorch(ours), spikes(9, 3, 6)
    found = compare(again, ours, x)
    assert found.differing == 0.0, str(found)
    assert bool(ours.layers[0 if recurrent else 1](x if recurrent else ours[0](x))[0].any())
    if name != "RSynaptic, one to one":
        second = squat.from_snntorch(again)
        assert [type(layer) for layer in second.layers] == [type(layer) for layer in ours.layers]
        for mine, theirs in zip(second.parameters(), ours.parameters(), strict=True):
            assert torch.equal(mine, theirs)


W = squat.IntWeight(4)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (squat.Linear(3, 2, weight=W), r"layer 0 \(Linear\): its weights are quantized, IntWeight.*dequantize_"),
        (squat.LIF(state=squat.Anchored(4)), "state spec Anchored.* is no published one"),
        (squat.LIF(surrogate=squat.Triangular()), "surrogate Triangular.* has no counterpart"),
        (squat.LIF(refractory=2), "refractory=2: snnTorch's neurons have no refractory period"),
        (
            squat.Lapicque(0.9, reset_delay=False),
            "reset_delay=False: this neuron of snnTorch learns no beta and resets",
        ),
        (squat.LIF(ste="clipped"), "ste='clipped'.*: snnTorch has only 'identity'"),
        (squat.LIF(reset="zero", zero_reset="drop_input"), "zero_reset='drop_input': this neuron of snnTorch has only"),
        (squat.CubaLIF(state=squat.Uniform(4)), "as_published=False: expected True, as which snnTorch's neuron"),
        (squat.CubaLIF(current_state=squat.Uniform(4)), "states .*: snnTorch has one quantizer for all states"),
        (squat.CubaLIF(learn_alpha="sigmoid"), "learn_alpha='sigmoid': snnTorch has only decays that are clamped"),
        (squat.AlphaLIF(), "as_published=False: expected True"),
        (squat.AlphaLIF(as_published=True, learn_alpha="clamp"), "learn_alpha='clamp': snnTorch 1.0.0 fails to make"),
        (squat.SpikingLSTM(3, 2), "in_features=3, features=2: snnTorch 1.0.0 loses the states"),
        (squat.SpikingLSTM(2, 2, cell_state=squat.Uniform(4)), "state=None, cell_state=Uniform.*one quantizer"),
        (squat.ALIF(), r"layer 0 \(ALIF\) has no counterpart in snnTorch"),
        (nn.Linear(2, 2), r"layer 0 \(Linear\) has no counterpart in snnTorch"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_go_back(layer, text):
    with pytest.raises(ValueError, match=text):
        to_snntorch(squat.Sequential(layer))
