"""`quantize_` and `dequantize_`: what they change, what they leave alone, what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import squat
from helpers import NEURONS
from squat.models import AccumulatedCurrent, Network
from squat.models.quantize import named_layers


def network():
    return squat.Sequential(
        squat.RLIF(12, 8, threshold=0.3), squat.Linear(8, 6), squat.LIF(threshold=0.3), squat.Linear(6, 3)
    )


def spikes(seed=0):
    return (torch.rand(9, 4, 12, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


def specs_of(net):
    return [(getattr(layer, "weight_spec", None), getattr(layer, "state_spec", None)) for layer in net.layers]


def test_one_spec_for_all():
    net = network()
    weight, state = squat.IntWeight(4), squat.Anchored(4)
    built = squat.Sequential(
        squat.RLIF(12, 8, threshold=0.3, weight=weight, state=state),
        squat.Linear(8, 6, weight=weight),
        squat.LIF(threshold=0.3, state=state),
        squat.Linear(6, 3, weight=weight),
    )
    squat.quantize_(net, weights=weight, states=state)
    built.load_state_dict(net.state_dict())
    assert specs_of(net) == specs_of(built)
    out, expected = net(spikes())[0], built(spikes())[0]
    assert torch.equal(out.z, expected.z)
    assert torch.equal(out.scale, expected.scale)


def test_mixed_precision_by_name():
    net = network()
    report = squat.quantize_(
        net,
        weights={"0": squat.IntWeight(8), "3": None, "*": squat.IntWeight(2)},
        states={"2": squat.Uniform(3)},
    )
    assert [None if w is None else w.bits for w, _ in specs_of(net)] == [8, 2, None, None]
    assert [s for _, s in specs_of(net)] == [None, None, squat.Uniform(3), None]
    assert [(row.layer, row.part, row.changed) for row in report.rows] == [
        ("0", "weights", True),
        ("0", "states", False),
        ("1", "weights", True),
        ("2", "states", True),
        ("3", "weights", False),
    ]
    text = str(report)
    assert text == repr(report)
    assert text.splitlines()[0].split() == ["layer", "class", "part", "before", "after"]
    assert "0      RLIF    weights  float   IntWeight(bits=8, granularity='tensor', scale='mse')" in text
    assert "3      Linear  weights  float   unchanged" in text


def test_a_filter_chooses_layers():
    net = network()
    squat.quantize_(
        net,
        weights=squat.IntWeight(4),
        states=squat.Anchored(4),
        filter_fn=lambda name, layer: name != "3" and not isinstance(layer, squat.LIF),
    )
    assert [w is not None for w, _ in specs_of(net)] == [True, True, False, False]
    assert [s is not None for _, s in specs_of(net)] == [True, False, False, False]


def test_a_second_call_changes_nothing():
    net = network()
    weight = squat.IntWeight(4, scale="learned")
    squat.quantize_(net, weights=weight, states=squat.Anchored(4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)  # scales no longer are what a fresh search would find
    before = copy.deepcopy(net.state_dict())
    report = squat.quantize_(net, weights=weight, states=squat.Anchored(4))
    assert not any(row.changed for row in report.rows)
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_back_to_float_keeps_the_masters():
    net = network()
    expected = net(spikes())[0]
    squat.quantize_(net, weights=squat.IntWeight(2), states=squat.Uniform(2))
    assert not isinstance(net(spikes())[0], torch.Tensor)
    report = squat.dequantize_(net)
    assert torch.equal(net(spikes())[0], expected)
    assert {row.after for row in report.rows} == {None}
    assert not any(row.changed for row in squat.dequantize_(net).rows)


def test_names_in_networks_and_in_modules_of_ones_own():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = squat.Sequential(squat.Linear(4, 3), squat.LIF())
            self.head = squat.Linear(3, 2)
            self.other = nn.Linear(2, 2)

    names = ["encoder.0", "encoder.1", "head"]
    assert [name for name, _ in named_layers(Mine())] == names
    assert [name for name, _ in named_layers(Network(network(), AccumulatedCurrent()))] == ["0", "1", "2", "3"]
    mine = Mine()
    squat.quantize_(mine, weights={"encoder.*": squat.IntWeight(4)})
    assert mine.encoder[0].weight_spec == squat.IntWeight(4)
    assert mine.head.weight_spec is None


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_takes_part(name):
    net = squat.Sequential(NEURONS[name](5))
    squat.quantize_(net, states=squat.Anchored(4))
    assert net[0].state_spec == squat.Anchored(4)
    squat.dequantize_(net)
    assert net[0].state_spec is None


def test_it_trains_and_lowers():
    net = network()
    squat.quantize_(net, weights=squat.IntWeight(4), states=squat.Anchored(4))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for step in range(3):
        loss = nn.functional.cross_entropy(net(spikes(step))[0].dense().mean(0), torch.arange(4) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool(loss.isfinite())
    assert not any(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))
    x = spikes(7)
    assert torch.equal(torch.tensor(squat.lower(net).run(x).output), net.eval()(x)[0].z.int())


W, S = squat.IntWeight(4), squat.Anchored(4)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "weights=None, states=None: expected a spec; to go back to float use squat.dequantize_"),
        ({"weights": S}, TypeError, r"weights=Anchored.*: expected an IntWeight, or a mapping"),
        ({"states": 4}, TypeError, r"states=4: expected a state spec such as Anchored\(4\), or a mapping"),
        ({"weights": {"0": 4}}, TypeError, r"weights\['0'\]=4: expected an IntWeight, or None for float"),
        ({"weights": {"2": W}}, ValueError, r"weights\['2'\]: decides for no layer with weights.*names are 0, 1, 3"),
        ({"weights": {"*": W, "0": W}}, ValueError, r"weights\['0'\]: decides for no layer.*first pattern that fits"),
        ({"states": {"9": S}}, ValueError, r"states\['9'\]: decides for no layer with states.*names are 0, 2"),
        (
            {"weights": W, "filter_fn": lambda name, layer: False},
            ValueError,
            "filter_fn: true for no layer; there are 0",
        ),
        (
            {"weights": W, "filter_fn": lambda name, layer: name == "2"},
            ValueError,
            r"weights: no layer has weights to quantize; there are 2 \(LIF\)",
        ),
        ({"weights": {"*": W}, "filter_fn": lambda name, layer: True}, ValueError, "filter_fn beside a mapping"),
    ],
)
def test_contradictions_are_refused_and_change_nothing(arguments, error, text):
    net = network()
    before = specs_of(net)
    with pytest.raises(error, match=text):
        squat.quantize_(net, **arguments)
    assert specs_of(net) == before


def test_a_float_state_for_a_neuron_that_starts_at_the_code_of_zero_is_refused():
    net = squat.Sequential(squat.Linear(3, 2), squat.LIF(state=S, initial="code_of_zero"))
    with pytest.raises(
        ValueError, match=r"layer 1 \(LIF\): initial='code_of_zero' with state=None: expected a state spec"
    ):
        squat.quantize_(net, weights=W, states={"1": None})
    assert net[0].weight_spec is None
    with pytest.raises(ValueError, match="a float state starts at zero"):
        squat.dequantize_(net)
    assert net[1].state_spec == S


def test_a_further_state_has_a_name_of_its_own():
    wide, cells = squat.Uniform(4, 1.0, 1.0), squat.SpikingLSTM(3, 2)
    net = squat.Sequential(squat.LIF(), cells)
    squat.quantize_(net, states={"*": S})
    assert (cells.state_spec, cells.cell_state) == (S, "same")
    report = squat.quantize_(net, states={"*.cell": wide, "1": squat.Uniform(4)})
    assert (cells.state_spec, cells.cell_state) == (squat.Uniform(4), wide)
    assert torch.equal(cells.cell_levels, wide.levels(0.5))
    rows = [(row.layer, row.before) for row in report.rows if row.changed]
    assert rows == [("1", S), ("1.cell", "same")]
    squat.quantize_(net, states=S)
    assert (cells.state_spec, cells.cell_state) == (S, wide)
    squat.dequantize_(net)
    assert (cells.state_spec, cells.cell_state) == (None, None)
    with pytest.raises(ValueError, match=r"states\['0.cell'\]: decides for no layer.*names are 0, 1, 1.cell"):
        squat.quantize_(net, states={"0.cell": S})


def test_what_a_layer_refuses_leaves_the_others_as_they_were():
    net = squat.Sequential(squat.LIF(state=squat.Uniform(2)), squat.LIF(state=S, initial="code_of_zero"))
    with pytest.raises(ValueError, match=r"layer 1 \(LIF\): initial='code_of_zero'"):
        squat.quantize_(net, states={"*": None})
    assert [layer.state_spec for layer in net.layers] == [squat.Uniform(2), S]


def test_damaged_weights_are_refused_before_anything_changes():
    net = network()
    with torch.no_grad():
        net[3].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer 3 \(Linear\): NaN or infinity in its weights"):
        squat.quantize_(net, weights=W, states=S)
    assert specs_of(net) == specs_of(network())


def test_a_network_without_layers_of_squat_is_refused():
    with pytest.raises(ValueError, match="net has no layer of squat: Linear has nothing to quantize"):
        squat.quantize_(nn.Linear(2, 2), weights=W)
    with pytest.raises(TypeError, match="net=3: expected a network of squat"):
        squat.dequantize_(3)
