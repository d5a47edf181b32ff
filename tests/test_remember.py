"""Networks in use do not quantize again, and follow every change of a parameter, spec or mode at once."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import squat
from squat.models import NetworkConfig, build_network
from squat.quant.weight import WeightQuantizer
from squat.remember import Remembered

CHANGES = {
    "weights in place": lambda net: (
        net[0].weight_in.mul_(1.5) if hasattr(net[0], "weight_in") else net[0].weight.mul_(1.5)
    ),
    "bias in place": lambda net: net[0].bias.add_(0.3),
    "new memory": lambda net: setattr(net[-2].weight, "data", net[-2].weight.flip(0).clone()),
    "an optimizer's step": lambda net: optimizer_step(net),
    "load_state_dict": lambda net: net.load_state_dict({k: v * 0.7 for k, v in net.state_dict().items()}),
    "a step of training": lambda net: (net.train(), net[0](spikes(net)), net.eval()),
    "weight spec": lambda net: net[0].set_weight_spec(squat.IntWeight(3, "channel")),
    "float weights": lambda net: net[0].set_weight_spec(None),
    "state spec": lambda net: net[-1].set_state_spec(squat.Uniform(3)),
    "threshold": lambda net: [halve(n) for n in net.layers if hasattr(n, "threshold")],
    "decay": lambda net: [p.sub_(0.4) for name, p in net.named_parameters() if "beta" in name],
    "scale": lambda net: [b.mul_(1.3) for name, b in net.named_buffers() if name.endswith("scale")],
    "float64": lambda net: net.double(),
}


def network(architecture, learned):
    config = NetworkConfig(
        architecture, inputs=(2, 6, 6) if architecture == "conv" else 12, hidden=(9,), classes=3, threshold=0.2,
        weights=squat.IntWeight(4, scale="learned" if learned else "mse"), states=squat.Anchored(4), kernel_size=3,
        readout="spike_count", learn_beta="clamp" if learned else False, learn_threshold=learned,
    )  # fmt: skip
    return build_network(config, seed=0).layers.eval()


def spikes(net):
    shape = (2, 6, 6) if isinstance(net[0], squat.Conv2d) else (12,)
    return (torch.rand(6, 2, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def halve(neuron):
    if neuron.learn_threshold:
        neuron.threshold = neuron.threshold / 2
    else:
        neuron.threshold.mul_(0.5)


def optimizer_step(net):
    with torch.enable_grad():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        out, states = net(spikes(net).to(net[-2].weight.dtype))
        (out.sum() + states[-1].u.sum()).backward()
    optimizer.step()


def outcome(net):
    out, states = net(spikes(net))
    return [out, *(value for state in states if state is not None for value in state[:2])]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("architecture", ["feedforward", "recurrent", "conv"])
def test_every_change_is_followed(architecture, learned, change, mode):
    net = network(architecture, learned)
    with mode():
        before = outcome(net)
        assert all(torch.equal(a, b) for a, b in zip(outcome(net), before, strict=True))
    with torch.no_grad():
        change(net)
    with mode():
        after = outcome(net)
    expected = outcome(copy.deepcopy(net))  # with gradients: nothing is remembered
    assert all(torch.equal(a, b) for a, b in zip(after, expected, strict=True))


def test_weights_are_quantized_once(monkeypatch):
    calls = []
    forward = WeightQuantizer.forward
    monkeypatch.setattr(WeightQuantizer, "forward", lambda self, weight: calls.append(1) or forward(self, weight))
    net = network("recurrent", learned=False)
    for expected, recording in ((2, False), (0, False), (2, True), (2, False), (0, False)):
        calls.clear()
        with torch.set_grad_enabled(recording):
            net(spikes(net))
        assert len(calls) == expected
    net.train()
    with torch.no_grad():
        net(spikes(net))
    assert len(calls) == 2


def test_gradients_flow_after_use_without():
    net = network("recurrent", learned=True)
    with torch.no_grad():
        net(spikes(net))
    net(spikes(net))[0].sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())


def test_a_memory_is_not_copied():
    weight, remembered = torch.ones(2), Remembered()
    with torch.no_grad():
        value = remembered((weight,), (1,), lambda: weight + 1)
        assert remembered((weight,), (1,), lambda: 0) is value
        assert remembered((weight,), (2,), lambda: 3) == 3
        for copied in (copy.deepcopy(remembered), pickle.loads(pickle.dumps(remembered))):
            assert copied((weight,), (2,), lambda: 4) == 4
