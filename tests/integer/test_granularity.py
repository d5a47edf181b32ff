"""Decays of channels are tables of channels, from training through lowering, proof, file and C."""

from __future__ import annotations

import pytest
import torch

import squat
from helpers import louder
from squat.export.c99.host import compile_network, find_compiler
from squat.integer.proof import prove

CHANNELS, IMAGE = 3, (1, 6, 5)
BETAS = torch.tensor([0.3, 0.6, 0.95]).reshape(-1, 1, 1)
NEURONS = {
    "LIF": lambda beta, **options: squat.LIF(beta, state=squat.Anchored(4), **options),
    "Lapicque's decay": lambda beta, **options: squat.LIF(beta, state=squat.Uniform(3), reset="zero", **options),
    "ConvRLIF": lambda beta, **options: squat.ConvRLIF(
        CHANNELS, 3, beta, weight=squat.IntWeight(4), state=squat.Uniform(4), **options
    ),
    "CubaLIF": lambda beta, **options: squat.CubaLIF(
        0.5, beta, state=squat.Uniform(3), current_state=squat.Uniform(3, 1.0, 1.0), **options
    ),
    "ALIF": lambda beta, **options: squat.ALIF(
        beta, 0.8, state=squat.Uniform(3), adaptation_state=squat.Uniform(3, upper_limit=3.0), **options
    ),
}


def network(name, beta=BETAS, granularity="tensor", pooled=False):
    torch.manual_seed(0)
    conv = squat.Conv2d(1, CHANNELS, 3, padding=1, weight=squat.IntWeight(4, granularity=granularity))
    pools = [squat.layers.MaxPool2d(2)] if pooled else []
    return louder(squat.Sequential(conv, *pools, NEURONS[name](beta, threshold=0.4)), 3.0)


def tables(machine):
    neurons = machine.layers[0].neurons
    return {name: rows for name, rows in neurons.rows().items() if name.endswith("table")}


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("name", NEURONS)
def test_channels_have_a_row_each_and_are_proved(name, granularity, tmp_path):
    net = network(name, granularity=granularity, pooled=name == "LIF")
    machine = squat.lower(net, IMAGE)
    assert max(tables(machine).values()) == CHANNELS
    assert all(layer.cuts > 0 for layer in prove(net, machine).layers)
    machine.save(tmp_path / "net")
    x = (torch.rand(10, 3, *IMAGE) < 0.4).float()
    expected = net(x)[0]
    for integer in (machine, squat.integer.load(tmp_path / "net")):
        assert torch.equal(torch.from_numpy(integer.run(x).output).reshape(expected.shape), expected)
    assert bool(expected.any())


@pytest.mark.parametrize("flat", [False, True], ids=["signals", "flattened"])
@pytest.mark.parametrize("beta", [BETAS[..., 0], torch.linspace(0.2, 0.9, 24).reshape(3, 8)], ids=["channel", "neuron"])
@pytest.mark.parametrize("name", ["LIF", "CubaLIF"])
def test_signals_have_decays_of_their_own_axes(name, beta, flat):
    torch.manual_seed(0)
    conv = squat.Conv1d(2, CHANNELS, 3, 2, 1, weight=squat.IntWeight(4, "channel"), input_min=-1)
    shaping, own = ([squat.Flatten()], beta.expand(3, 8).flatten()) if flat else ([], beta)
    net = louder(squat.Sequential(conv, *shaping, NEURONS[name](own, threshold=0.4)), 3.0)
    machine = squat.lower(net, (2, 16))
    assert max(tables(machine).values()) == (CHANNELS if beta.shape[1] == 1 and not flat else 24)
    assert all(layer.cuts > 0 for layer in prove(net, machine).layers)
    x = torch.randint(-1, 2, (10, 3, 2, 16)).float()
    expected = net(x)[0]
    assert torch.equal(torch.from_numpy(machine.run(x).output).reshape(expected.shape), expected)
    assert bool(expected.any())


def test_rows_of_channels_are_those_of_their_neurons():
    """What was lowered before, a decay for each neuron, is the same machine with every row repeated."""
    each = squat.lower(network("LIF", BETAS.expand(CHANNELS, 6, 5)), IMAGE).layers[0].neurons
    own = squat.lower(network("LIF"), IMAGE).layers[0].neurons
    assert own.table.shape == (CHANNELS, 16)
    assert each.table.shape == (CHANNELS * 30, 16)
    assert (own.table.repeat(30, axis=0) == each.table).all()


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler: cc, gcc or clang")
def test_channels_in_c():
    for name in ("LIF", "CubaLIF"):
        net = network(name, granularity="channel")
        machine = squat.lower(net, IMAGE)
        assert prove(net, machine, others={"C": compile_network(machine)}).implementations[-1] == "C"


def test_tables_of_many_channels_fit_where_those_of_neurons_do_not():
    conv = squat.Conv2d(1, 8, 1, weight=squat.IntWeight(4))
    beta = torch.rand(8, 1, 1)
    with pytest.raises(ValueError, match=r"512 decays need as many tables of 256 entries.*one per channel"):
        squat.lower(squat.Sequential(conv, squat.LIF(beta.expand(8, 8, 8), state=squat.Uniform(8))), (1, 8, 8))
    assert squat.lower(squat.Sequential(conv, squat.LIF(beta, state=squat.Uniform(8))), (1, 8, 8))
