"""A network of neurons with a synaptic current: snnTorch's `Synaptic` in a Python loop, and squat's of it.

Both states are quantized by the published scheme, as published: the unquantized current enters the membrane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import cases, networks, published

ALPHA, BETA, GRID = 0.8, 0.9, 64.0


class Currents(nn.Module):
    """Linear, Synaptic, Linear, Synaptic, one Python step per time step."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        snntorch, _ = published.load_libraries(brevitas=False)
        states = snntorch.functional.quant.state_quant(num_bits=settings["bits"], uniform=False)
        surrogate = snntorch.surrogate.fast_sigmoid(slope=published.SLOPE)
        options = {"alpha": ALPHA, "beta": BETA, "spike_grad": surrogate, "state_quant": states}
        self.first = nn.Linear(settings["inputs"], settings["hidden"])
        self.hidden = snntorch.Synaptic(**options)
        self.second = nn.Linear(settings["hidden"], settings["classes"])
        self.output = snntorch.Synaptic(**options)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Output spikes `[T, B, classes]`."""
        current, membrane = self.hidden.init_synaptic()
        output_current, output_membrane = self.output.init_synaptic()
        outputs = []
        for step in x:
            spikes, current, membrane = self.hidden(self.first(step), current, membrane)
            spikes, output_current, output_membrane = self.output(self.second(spikes), output_current, output_membrane)
            outputs.append(spikes)
        return torch.stack(outputs), None


def network(settings: dict[str, Any], stack: str, on_grid: bool = False) -> nn.Module:
    """The network of a stack, from the same weights; on a grid all sums of spikes are exact."""
    torch.manual_seed(0)
    net = Currents(settings)
    if on_grid:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_((parameter * 4 * GRID).round() / GRID)
    if stack != cases.SQUAT:
        return net
    import squat

    return squat.from_snntorch(net, networks.data({**settings, "steps": 2, "batch": 1})[0]).train()


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """A training step, or inference."""
    net, (x, labels) = network(settings, stack), networks.data(settings)
    return networks.training_step(net, x, labels) if measure == cases.TRAINING else networks.inference(net, x)


def check(settings: dict[str, Any]) -> dict[str, bool]:
    """Every spike of both stacks must agree, and the gradients nearly."""
    few = {**settings, "batch": min(settings["batch"], 4), "steps": min(settings["steps"], 20)}
    x, labels = networks.data({**few, "density": 0.3})
    outcomes = []
    for stack in (cases.SQUAT, cases.FLOAT):
        net = network(few, stack, on_grid=True)
        spikes = net(x)[0]
        nn.functional.cross_entropy(spikes.sum(0), labels).backward()
        outcomes.append((spikes.detach(), [parameter.grad for parameter in net.parameters()]))
    (ours, our_gradients), (theirs, their_gradients) = outcomes
    pairs = zip(our_gradients, their_gradients, strict=True)
    return {
        "spikes equal": torch.equal(ours, theirs),
        "gradients close": all(
            bool((one - other).abs().max() <= 1e-4 * other.abs().max())
            for one, other in pairs
            if one is not None and other is not None
        ),
        "some neurons fire, some do not": 0 < float(ours.mean()) < 1,
    }
