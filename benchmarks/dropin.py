"""An unchanged snnTorch network, once with `squat.compat.state_quant` and once with snnTorch's own; and the quantizer
alone. Everything else is the same code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import cases, networks, published, quantizer


def state_quantizer(bits: int, stack: str) -> Callable[[Tensor], Tensor]:
    if stack == cases.SQUAT:
        from squat.compat import state_quant

        return state_quant(num_bits=bits, uniform=False)
    return quantizer.quantizer(bits, stack)


def network(settings: dict[str, Any], stack: str) -> nn.Module:
    """The float network of `published`, its neurons with the quantizer of the stack."""
    torch.manual_seed(0)
    net = published.Stack({**settings, "bits": None})
    for layer in net.layers:
        if hasattr(layer, "state_quant"):
            layer.state_quant = state_quantizer(settings["bits"], stack)
    return net


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """A training step, or forward and backward of the quantizer on one tensor."""
    if measure == cases.TRAINING:
        return networks.training_step(network(settings, stack), *networks.data(settings))
    return quantizer.forward_and_backward(state_quantizer(settings["bits"], stack), quantizer.values(settings))


def check(settings: dict[str, Any]) -> dict[str, bool]:
    """Spikes of every step, and the gradients of every parameter, must be those with snnTorch's own quantizer."""
    few = {**settings, "batch": min(settings["batch"], 4), "steps": min(settings["steps"], 20)}
    x, labels = networks.data({**few, "density": 0.5})  # so that fresh weights make neurons fire
    outcomes = []
    for stack in (cases.SQUAT, cases.FLOAT):
        net = network(few, stack)
        spikes = net(x)[0]
        nn.functional.cross_entropy(spikes.sum(0), labels).backward()
        outcomes.append((spikes.detach(), [parameter.grad for parameter in net.parameters()]))
    (ours, our_gradients), (theirs, their_gradients) = outcomes
    return {
        "spikes equal": torch.equal(ours, theirs),
        "gradients equal": all(map(torch.equal, our_gradients, their_gradients)),
        "some neurons fire, some do not": 0 < float(ours.mean()) < 1,
    }
