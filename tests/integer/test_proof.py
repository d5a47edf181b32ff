"""The proof: equal cuts give a certificate, one wrong table entry a counterexample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import squat
from helpers import spec_id
from squat.integer import IntegerNetwork
from squat.integer.certificate import Certificate
from squat.integer.cuts import dead_codes, engine_step, integer_cuts, probe, reachable_codes, starts, sum_ranges
from squat.integer.proof import NotEqual, prove
from squat.layers import MaxPool2d
from squat.models import NetworkConfig, build_network
from squat.quant.spec import STATE_SPECS

RESETS = [("subtract", {}), ("zero", {"zero_reset": "keep_input"}), ("zero", {"zero_reset": "drop_input"})]


def feedforward(spec, reset="subtract", **options):
    weight = squat.IntWeight(4, options.pop("granularity", "tensor"))
    neuron = {"state": spec, "reset": reset, **options}
    return squat.Sequential(squat.Linear(9, 5, weight=weight), squat.LIF(0.9, **neuron)).eval()


@pytest.mark.parametrize(("reset", "options"), RESETS)
@pytest.mark.parametrize("spec", [cls(b) for cls in STATE_SPECS.values() for b in (1, 2, 4)], ids=spec_id)
def test_feedforward_layers(spec, reset, options):
    for more in ({"granularity": "channel"}, {"initial": "code_of_zero"}):
        net = feedforward(spec, reset, **options, **more)
        machine = squat.lower(net)
        certificate = prove(net, machine)
        (layer,) = certificate.layers
        assert layer.cuts == 5 * (2**spec.bits + 1) * (2**spec.bits - 1)
        assert certificate.fingerprint == machine.fingerprint
        assert Certificate.from_json(certificate.to_json()) == certificate


def test_eight_bits_recurrent_and_readout_layers():
    neuron = {"weight": squat.IntWeight(3), "state": squat.Uniform(8)}
    net = squat.Sequential(
        squat.RLIF(9, 6, torch.linspace(0.5, 1.0, 6), **neuron),
        squat.RLIF(6, 4, input_scale=2.0, reset="zero", **neuron),
        squat.Linear(4, 3, weight=squat.IntWeight(8)), squat.LI(state=squat.Anchored(3)),
    )  # fmt: skip
    names = []
    certificate = prove(net, squat.lower(net), names.append)
    assert names == ["0 RLIF", "1 RLIF", "2 Linear, 3 LI"]
    assert [layer.cuts for layer in certificate.layers] == [6 * 257 * 255, 4 * 257 * 255, 3 * 9 * 7]
    assert certificate.implementations == ("training (cpu)", "engine (compiled)", "engine (numpy)")


def test_sums_of_recurrent_spikes_are_in_the_range():
    """A boundary that is wrong only for sums that inputs alone cannot reach."""
    torch.manual_seed(0)
    rlif = squat.RLIF(1, 20, 0.5, bias=False, weight=squat.IntWeight(4), state=squat.Anchored(2))
    rlif.weight_in.data.mul_(0.2)
    net = squat.Sequential(rlif)
    machine = squat.lower(net)
    (layer,), (proved,) = machine.layers, prove(net, machine).layers
    assert (proved.lowest_sum, proved.highest_sum) == (layer.sum_range.min(), layer.sum_range.max())
    neurons, bound = layer.neurons, layer.neurons.bound.copy()
    inputs = layer.weight.astype(int).clip(0).sum(1).max()
    assert (inputs << neurons.shift) + neurons.table.max() < bound[0, -1]
    bound[0, -1] += 1 << neurons.shift
    wrong = replace(machine, layers=(replace(layer, neurons=replace(neurons, bound=bound)),))
    with pytest.raises(NotEqual) as caught:
        prove(net, wrong)
    assert caught.value.counterexample.z > inputs


def test_convolutions_and_whole_networks():
    config = NetworkConfig(
        "conv", (2, 8, 8), (3, 4), 4, weights=squat.IntWeight(4, "channel"), states=squat.Anchored(4), kernel_size=3,
        input_scale=1 / 255, input_max=255,
    )  # fmt: skip
    net = build_network(config, seed=0)
    certificate = prove(net, squat.lower(net, (2, 8, 8)))
    assert [layer.neurons for layer in certificate.layers] == [3, 4]
    conv = squat.Conv2d(1, 2, 2, weight=squat.IntWeight(4))
    net = squat.Sequential(conv, squat.LIF(torch.linspace(0, 1, 18), state=squat.Anchored(2)))
    assert prove(net, squat.lower(net, (1, 4, 4))).layers[0].neurons == 18


def test_pooled_currents_have_the_cuts_of_their_neurons():
    weight, neuron = squat.IntWeight(4, "channel"), {"state": squat.Anchored(2)}
    for beta, probed in ((0.9, 3), (torch.linspace(0, 1, 3 * 2 * 3), 18)):
        conv, pool = squat.Conv2d(2, 3, 3, padding=1, weight=weight), MaxPool2d((2, 2), (2, 1))
        net = squat.Sequential(conv, pool, squat.LIF(beta, **neuron))
        machine = squat.lower(net, (2, 5, 4))
        assert prove(net, machine).layers[0].neurons == probed
        (layer,) = machine.layers
        for wrong in (replace(layer.pool, kernel_size=(1, 2), stride=(4, 1)), replace(layer.pool, kernel_size=(3, 2))):
            with pytest.raises(NotEqual, match="other weights, tables or another readout"):
                prove(net, IntegerNetwork((replace(layer, pool=wrong),)))


def test_sums_beyond_float32():
    weight = squat.IntWeight(4, scale="max")
    linear = squat.Linear(70000, 2, bias=False, weight=weight, input_scale=1 / 255, input_max=255)
    net = squat.Sequential(linear, squat.LIF(state=squat.Anchored(2)))
    (layer,) = prove(net, squat.lower(net)).layers
    assert layer.highest_sum > 2**24 or layer.lowest_sum < -(2**24)


def test_cuts_and_reachable_codes_against_enumeration():
    machine = squat.lower(feedforward(squat.Anchored(3), granularity="channel"))
    layer = probe(machine.layers[0])
    low, high = sum_ranges(layer)
    step, codes = engine_step(layer, "numpy"), 8
    sums = np.arange(low.min(), high.max() + 1, dtype=np.int32)
    cuts, leads = [], []
    for current in [None, *range(codes)]:
        rows = None if current is None else np.full(len(sums), current, np.uint8)
        after = step(np.repeat(sums[:, None], layer.size, 1), rows)[0]
        possible = (sums[:, None] >= low) & (sums[:, None] <= high)
        beyond = (after[:, None] > np.arange(codes - 1)[:, None]) & possible[:, None]
        cuts.append(np.where(beyond, sums[:, None, None], high + 1).min(0))
        leads.append(((after[:, None] == np.arange(codes)[:, None]) & possible[:, None]).any(0))
    found = [integer_cuts(step, rows, low, high, codes) for rows in starts(codes, layer.size)]
    assert np.array_equal(np.concatenate(found), cuts)
    reached = leads[0].copy()
    for _ in range(codes):
        reached |= (np.array(leads[1:]) & reached[:, None]).any(0)
    assert np.array_equal(reachable_codes(np.stack(cuts), low, high), reached)


def test_dead_zones_are_those_of_the_levels():
    """2-bit uniform levels at beta 0.9 never decay, but for the code nearest to zero."""
    assert dead_codes(squat.lower(feedforward(squat.Uniform(2), reset="none")).layers[0]) == 3
    spec = squat.Anchored(4, decay="at_least_one_code")
    assert dead_codes(squat.lower(feedforward(spec)).layers[0]) == 0


@pytest.mark.parametrize("part", ["table", "bound", "bias", "first", "shift", "start"])
def test_a_wrong_entry_gives_a_counterexample(part):
    net = feedforward(squat.Anchored(4))
    machine = squat.lower(net)
    layer = machine.layers[0]
    neurons = layer.neurons
    if part in ("table", "bound", "bias"):
        values = getattr(neurons, part).copy()
        values[(-1, -1) if values.ndim == 2 else 3] += 1 << neurons.shift
        wrong = replace(neurons, **{part: values})
    else:
        wrong = replace(neurons, **{part: {"first": neurons.first - 1, "shift": neurons.shift - 1, "start": 15}[part]})
    broken = IntegerNetwork((replace(layer, neurons=wrong),))
    with pytest.raises(NotEqual, match=r"not equal: layer '0 Linear, 1 LIF', neuron \d.*training gives code") as caught:
        prove(net, broken)
    example = caught.value.counterexample
    z = np.full((1, 5), example.z, np.int32)
    current = None if example.code is None else np.array([example.code], np.uint8)
    for network, pair in ((machine, example.trained), (broken, example.found)):
        codes, spikes = engine_step(probe(network.layers[0]), "numpy")(z, current)
        assert (codes[0, example.neuron], spikes[0, example.neuron]) == pair
    assert example.trained != example.found


def test_other_weights_are_found():
    net = feedforward(squat.Anchored(4))
    layer = squat.lower(net).layers[0]
    weight = layer.weight.copy()
    weight[0, [0, 1]] = weight[0, [1, 0]]
    assert not np.array_equal(weight, layer.weight)
    with pytest.raises(NotEqual, match="other weights, tables or another readout"):
        prove(net, IntegerNetwork((replace(layer, weight=weight),)))


def test_bad_certificates_are_refused():
    net = feedforward(squat.Anchored(2))
    document = prove(net, squat.lower(net)).to_json()
    with pytest.raises(TypeError, match=r"certificate=.*expected a JSON object"):
        Certificate.from_json([])
    with pytest.raises(ValueError, match=r"certificate: keys \['layers'\], expected"):
        Certificate.from_json({"layers": []})
    document["layers"][0]["shift"] = "4"
    with pytest.raises(TypeError, match="shift='4': expected an integer"):
        Certificate.from_json(document)
