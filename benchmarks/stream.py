"""One sample, one time step per call, no gradient, state carried: how a network runs on a live input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from benchmarks import networks


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """One step; the inputs come round again, the state goes on."""
    del measure
    torch.manual_seed(0)
    net = networks.network(settings, stack).eval()
    inputs, states = cycle(networks.data(settings)[0]), None

    @torch.no_grad()
    def step() -> torch.Tensor:
        nonlocal states
        spikes, states = net.step(next(inputs), states)
        return spikes

    return step


@torch.no_grad()
def check(settings: dict[str, Any]) -> dict[str, bool]:
    """All that holds for the network; and step by step squat gives the spikes of the whole sequence."""
    torch.manual_seed(0)
    net = networks.squat_network(settings).eval()
    x, states, spikes = networks.data(settings)[0], None, []
    for step in x:
        out, states = net.step(step, states)
        spikes.append(out)
    with torch.enable_grad():
        of_network = networks.check({**settings, "batch": 4})
    return {**of_network, "steps equal the sequence": torch.equal(torch.stack(spikes), net(x)[0])}
