"""Small networks of the shapes of published trained ones convert as they are written, spike alike, and lower."""

from __future__ import annotations

import pytest
import snntorch
import torch
import torch.nn.functional as F
from torch import nn

import squat
from squat.compat import compare, to_snntorch
from squat.layers import AvgPool1d, AvgPool2d, Dropout, Flatten, MaxPool1d, Unflatten

WEIGHTS, STATES = squat.IntWeight(4), squat.Uniform(4)


def spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def leaky(**options):
    return snntorch.Leaky(beta=0.9, threshold=0.1, init_hidden=True, **options)


def gesture():
    """Convolutions with padding="same", average pools before neurons, dropout before a neuron, Flatten(1, 3)."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 5, padding="same"), nn.BatchNorm2d(4), nn.AvgPool2d(2), leaky(),
        nn.Conv2d(4, 6, 3, padding="same"), nn.MaxPool2d(2), leaky(), nn.Dropout2d(0.2),
        nn.Flatten(1, 3), nn.Linear(24, 11), nn.Dropout(0.5), leaky(output=True),
    ), spikes(8, 3, 2, 8, 8)  # fmt: skip


def keywords():
    """A leading Flatten, and an Identity, of signed spikes."""
    layers = nn.Flatten(), nn.Identity(), nn.Linear(40, 20), leaky(), nn.Dropout(0.1), nn.Linear(20, 5), leaky()
    return nn.Sequential(*layers), spikes(8, 3, 4, 10) - spikes(8, 3, 4, 10).flip(0)


def signals():
    """Convolutions over the samples of several sensors."""
    return nn.Sequential(
        nn.Unflatten(1, (3, 16)), nn.Conv1d(3, 4, 5, padding="same"), nn.BatchNorm1d(4), leaky(), nn.MaxPool1d(2),
        nn.Dropout1d(0.1), nn.Conv1d(4, 6, 3, padding="valid"), nn.AvgPool1d(2), leaky(), nn.AvgPool1d(3),
        nn.Flatten(1, 2), nn.Linear(6, 4), leaky(),
    ), spikes(8, 3, 48)  # fmt: skip


NETWORKS = {"gesture": gesture, "keywords": keywords, "signals": signals}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_converts_as_published(name, training):
    torch.manual_seed(0)
    net, x = NETWORKS[name]()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
    net.train(training)
    for ours in (squat.from_snntorch(net, x[0]), squat.from_snntorch(net)):
        found = compare(net, ours, x)
        assert found.differing < 0.01
        assert all(row.given_inputs == 0.0 for row in found.rows)
        assert min(row.rate for row in found.rows) > 0.01
        dropouts = [layer.p for layer in net if isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d)]
        assert [layer.p for layer in ours if isinstance(layer, Dropout)] == dropouts
        assert ours.training == training


@pytest.mark.parametrize("name", NETWORKS)
def test_quantized_it_trains_and_lowers(name):
    torch.manual_seed(0)
    net, x = NETWORKS[name]()
    ours = squat.from_snntorch(net, x[0])  # which shows signed spikes
    squat.quantize_(ours, weights=WEIGHTS, states=STATES)
    ours.train()(x)[0].sum().backward()
    out, _ = ours.eval()(x)
    machine = squat.lower(ours, tuple(x.shape[2:]))
    result = machine.run(x)
    assert torch.equal(torch.from_numpy(result.output).float(), out)
    assert out.any()


class Functional(nn.Module):
    """The same with functions, in a loop over time."""

    def __init__(self, training=None):
        super().__init__()
        self.conv, self.first = nn.Conv1d(2, 4, 3, padding="same"), snntorch.Leaky(beta=0.9, threshold=0.1)
        self.linear, self.last = nn.Linear(20, 3), snntorch.Leaky(beta=0.9, threshold=0.1)
        self.drops = training

    def forward(self, x):
        first, last = self.first.init_leaky(), self.last.init_leaky()
        out = []
        for step in x:
            current = F.dropout1d(F.max_pool1d(self.conv(step), 2), 0.2, self.training)
            spikes, first = self.first(current, first)
            flat = spikes.view(-1, 1, 4, 5).flatten(1)
            drops = self.training if self.drops is None else self.drops
            spikes, last = self.last(self.linear(F.dropout(flat, 0.3, drops)), last)
            out.append(spikes)
        return torch.stack(out)


def test_functions_in_a_loop():
    torch.manual_seed(0)
    net, x = Functional().eval(), spikes(6, 3, 2, 10)
    ours = squat.from_snntorch(net, x)
    kinds = [type(layer).__name__ for layer in ours]
    assert kinds == ["Conv1d", "MaxPool1d", "Dropout", "LIF", "Unflatten", "Flatten", "Dropout", "Linear", "LIF"]
    assert (ours[2].p, ours[2].channels, ours[6].p, ours[6].channels) == (0.2, True, 0.3, False)
    assert compare(net, ours, x).differing == 0.0
    with pytest.raises(ValueError, match=r"dropout\): training=True in use: it drops in evaluation mode too"):
        squat.from_snntorch(Functional(training=True), x, check=False)


@pytest.mark.parametrize(
    ("layers", "shape", "kinds"),
    [
        ([nn.Flatten(2), nn.Conv1d(2, 3, 3)], (2, 4, 5), ["Unflatten", "Conv1d"]),
        ([nn.Flatten(1, 2), nn.Conv1d(8, 3, 3)], (2, 4, 5), ["Unflatten", "Conv1d"]),
        ([nn.Flatten(-2, -1), nn.Conv1d(2, 3, 3)], (2, 4, 5), ["Unflatten", "Conv1d"]),
        ([nn.Flatten(1, 1), nn.Linear(5, 3)], (5,), ["Flatten", "Linear"]),
        ([nn.Flatten(2, 2), nn.Conv1d(4, 3, 3)], (4, 5), ["Conv1d"]),
        ([nn.Flatten(1, 2), nn.Linear(20, 3)], (4, 5), ["Flatten", "Linear"]),
        ([nn.Flatten(-3), nn.Linear(40, 3)], (2, 4, 5), ["Flatten", "Linear"]),
        ([nn.Unflatten(1, (-1, 5)), nn.Conv1d(2, 3, 3)], (10,), ["Unflatten", "Conv1d"]),
        ([nn.Unflatten(2, (1, 5)), nn.Conv2d(2, 3, 1)], (2, 5), ["Unflatten", "Conv2d"]),
    ],
    ids=str,
)
def test_shapes_that_an_example_shows(layers, shape, kinds):
    torch.manual_seed(0)
    net = nn.Sequential(*layers, leaky())
    x = spikes(5, 2, *shape)
    ours = squat.from_snntorch(net, x[0])
    assert [type(layer).__name__ for layer in ours] == [*kinds, "LIF"]
    assert compare(net, ours, x).differing == 0.0


def test_known_without_an_example():
    net = nn.Sequential(nn.Conv1d(2, 3, 3), leaky(), nn.Flatten(2, 2), nn.Flatten(1, 2), nn.Linear(24, 2), leaky())
    assert [type(layer).__name__ for layer in squat.from_snntorch(net)].count("Flatten") == 1
    with pytest.raises(ValueError, match=r"2 \(torch.Flatten\): start_dim=2, end_dim=3: .* pass an example"):
        squat.from_snntorch(nn.Sequential(nn.Conv2d(2, 3, 3), leaky(), nn.Flatten(2, 3)))


def test_dropout_before_a_recurrent_neuron_is_said():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), snntorch.RLeaky(0.9, linear_features=4, init_hidden=True))
    with pytest.warns(UserWarning, match="the Dropout between a Linear and a recurrent neuron is left out"):
        ours = squat.from_snntorch(net)
    assert [type(layer).__name__ for layer in ours] == ["RLIF"]


def test_back_to_snntorch():
    torch.manual_seed(0)
    net, x = signals()
    ours = squat.from_snntorch(net.eval())
    ours = squat.Sequential(*(layer for layer in ours if not getattr(layer, "channels", False)), Dropout(0.3)).eval()
    again = to_snntorch(ours).eval()
    kinds = [type(layer).__name__ for layer in again]
    expected = ["Flatten", "Unflatten", "Conv1d", "Leaky", "MaxPool1d", "Conv1d", "AvgPool1d", "Leaky", "AvgPool1d"]
    assert kinds == [*expected, "Flatten", "Linear", "Leaky", "Dropout"]
    assert again[2].weight.shape == (4, 3, 5)
    assert compare(again, squat.from_snntorch(again), x).differing == 0.0
    with pytest.raises(ValueError, match=r"layer 0 \(Dropout\): channels=True: torch has a class for each shape"):
        to_snntorch(squat.Sequential(Dropout(0.5, channels=True)))
    summed = squat.Sequential(squat.Conv2d(1, 1, 1), squat.layers.SumPool2d(2), squat.LIF())
    with pytest.raises(ValueError, match=r"layer 2 \(LIF\): it gets sums of currents, which torch has no pool for"):
        to_snntorch(summed)
    with pytest.raises(ValueError, match=r"it ends in the sums of a pool, which torch has no pool for"):
        to_snntorch(squat.Sequential(*list(summed)[:2]))


def test_messages_name_the_cause():
    one = nn.Sequential(nn.Conv2d(1, 2, 3), leaky())

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = one

        def forward(self, x):
            return self.layers(x)

    net, x = Step(), spikes(5, 2, 1, 6, 6)
    ours = squat.from_snntorch(net, x[0])
    with pytest.raises(ValueError, match=r"if net runs one step per call .* pass by_step=True"):
        compare(net, ours, x)
    assert compare(net, ours, x, by_step=True).differing == 0.0


@pytest.mark.parametrize("bits", [9, 10])
def test_too_many_bits_of_a_state(bits):
    from snntorch.functional import quant

    state_quant = quant.state_quant(num_bits=bits)
    with pytest.raises(ValueError, match=rf"its state_quant has too many bits, num_bits={bits}: expected 1 to 8"):
        squat.from_snntorch(nn.Sequential(nn.Linear(2, 3), leaky(state_quant=state_quant)))


def test_accumulator_aware_weights():
    brevitas, kinds = pytest.importorskip("brevitas.nn"), pytest.importorskip("brevitas.quant")
    layer = brevitas.QuantLinear(20, 8, bias=True, weight_quant=kinds.Int8AccumulatorAwareWeightQuant)
    with pytest.raises(ValueError, match=r"0 \(brevitas.QuantLinear\): its weight quantizer needs more .* \(A2Q\)"):
        squat.from_snntorch(nn.Sequential(layer, leaky()))
    theirs = brevitas.QuantConv1d(2, 4, 3, padding=1, weight_quant=kinds.Int8WeightPerChannelFloat, weight_bit_width=4)
    net = nn.Sequential(theirs, leaky())
    ours, x = squat.from_snntorch(net), spikes(5, 2, 2, 8)
    assert ours[0].weight_spec.bits == 4
    assert compare(net, ours, x).differing == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda x: squat.Sequential(squat.Linear(3, 2), squat.LIF())(x),
        lambda x: squat.Sequential(squat.Linear(3, 2), squat.LIF()).step(x[0]),
        *(lambda x, kind=kind: kind(x) for kind in (squat.LIF(), squat.Linear(3, 2), squat.RLIF(3, 2), Flatten())),
        *(lambda x, kind=kind: kind(x) for kind in (AvgPool2d(1), AvgPool1d(1), MaxPool1d(1), Unflatten((3, 1)))),
        lambda x: squat.from_snntorch(nn.Sequential(nn.Linear(3, 2)), x),
        lambda x: compare(nn.Sequential(nn.Linear(3, 2)), squat.Sequential(squat.Linear(3, 2)), x),
        lambda x: squat.quantize_state(x, squat.Uniform(4)),
        lambda x: squat.compat.state_quant(4)(x),
        lambda x: machine().run(x),
        lambda x: machine().step(x[0]),
        lambda x: squat.checkpoint_over_time(squat.Sequential(squat.Linear(3, 2), squat.LIF()), x),
    ],
)
def test_sparse_tensors_are_refused(call):
    with pytest.raises(ValueError, match=r"layout torch.sparse_coo, expected a dense one.*to_dense\(\)"):
        call(torch.ones(4, 2, 3).to_sparse())


def machine():
    return squat.lower(squat.Sequential(squat.Linear(3, 2, weight=WEIGHTS), squat.LIF(state=STATES)))
