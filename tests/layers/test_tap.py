"""`Tap` and `Membrane`: hidden spikes and membranes as outputs, in files, in training, and where they end."""

from __future__ import annotations

import pytest
import torch

import squat

SPEC = {"weight": squat.IntWeight(4)}
STATE = {"state": squat.Anchored(4), "threshold": 0.25}


def network(*last):
    torch.manual_seed(0)
    return squat.Sequential(
        *(squat.Linear(6, 5, **SPEC), squat.LIF(**STATE), squat.Tap()),
        *(squat.Linear(5, 4, **SPEC), *(last or [squat.LIF(**STATE)])),
    )


X = (torch.rand(8, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def test_a_tap_shows_what_goes_through_and_changes_nothing(tmp_path):
    net = network()
    plain = squat.Sequential(*(layer for layer in net.layers if type(layer) is not squat.Tap))
    spikes, states = net(X)
    (hidden,) = squat.tapped(states)
    assert torch.equal(spikes, plain(X)[0])
    assert torch.equal(hidden, net[1](net[0](X))[0])
    squat.save(net, tmp_path / "net.safetensors")
    again, states = squat.load(tmp_path / "net.safetensors")(X)
    assert torch.equal(again, net.eval()(X)[0])
    assert torch.equal(squat.tapped(states)[0], hidden)


def test_a_penalty_on_tapped_spikes_trains_the_layers_before():
    net = network()
    _, states = net(X)
    squat.tapped(states)[0].mean().backward()
    assert bool(net[0].weight.grad.any())
    assert net[3].weight.grad is None
    assert all(not out.detach().requires_grad for out in squat.tapped(states))


def test_taps_are_passed_over_by_machines_and_calibration():
    net = network().eval()
    machine = squat.lower(net)
    assert torch.equal(torch.tensor(machine.run(X).output).float(), net(X)[0])
    assert len(machine.layers) == 2
    squat.dequantize_(net)
    calibrated = squat.calibrate(net, [X], weights=squat.IntWeight(4), states=squat.Anchored(4))
    assert calibrated is not None


def test_steps_show_one_step():
    net = network().eval()
    with torch.no_grad():
        _, states = net.step(X[0])
        _, states = net.step(X[1], states)
        whole = squat.tapped(net(X)[1])[0]
    assert torch.equal(squat.tapped(states)[0][0], whole[1])


def test_segments_would_lose_what_a_tap_saw():
    with pytest.raises(ValueError, match=r"layers.2 is a Tap, which would show the last segment only; take it out"):
        squat.checkpoint_over_time(network(), X)


@pytest.mark.parametrize(
    "neuron", [squat.LIF(**STATE), squat.LIF(0.5, reset="zero"), squat.CubaLIF(0.5, 0.75), squat.ALIF()]
)
def test_membranes_are_the_states_of_every_step(neuron):
    currents = torch.randn(7, 2, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    membranes, state = squat.Membrane(neuron)(currents)
    own, expected = None, []
    for current in currents:
        _, own = neuron.step(current, own)
        expected.append(own.u)
    assert torch.equal(membranes, torch.stack(expected))
    first, state = squat.Membrane(neuron)(currents[:3])
    last, state = squat.Membrane(neuron).step(currents[3], state)
    assert torch.equal(torch.cat([first, last[None]]), membranes[:4])
    membranes.sum().backward()
    assert bool(currents.grad.any())


def test_membranes_in_networks_and_files(tmp_path):
    net = network(squat.Membrane(squat.LIF(**STATE))).eval()
    spikes = network().eval()(X)[0]
    membranes, _ = net(X)
    assert torch.equal((membranes > 0.25).float(), spikes)
    squat.save(net, tmp_path / "net.safetensors")
    assert torch.equal(squat.load(tmp_path / "net.safetensors")(X)[0], membranes)


def test_what_membranes_refuse():
    net = network(squat.Membrane(squat.LIF(**STATE)))
    text = r"layer 4 \(Membrane\): gives membranes of neurons, whose spikes alone a machine gives; lower them without"
    with pytest.raises(ValueError, match=text):
        squat.lower(net)
    recurrent = squat.Sequential(squat.Membrane(squat.RLIF(3, 2, state=squat.Anchored(4), **SPEC)))
    with pytest.raises(ValueError, match=r"layer 0 \(Membrane\): gives membranes"):
        squat.lower(recurrent)
    with pytest.raises(TypeError, match=r"neuron=Linear.*: expected a layer of neurons such as squat.LIF"):
        squat.Membrane(squat.Linear(2, 2))
