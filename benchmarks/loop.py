"""The neuron loop alone, forward and backward by themselves, against a copy of what it must read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import cases, copies
from benchmarks.published import BETA, SLOPE

LARGEST = 20
"""Largest synaptic sum of the integer rule's inputs."""


def loop(settings: dict[str, Any], bits: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Input currents `[T, B, N]` that make some neurons fire, and the loop as a function of them."""
    import squat
    from squat.ops.lif import LoopConfig, lif
    from squat.quant.spec import STATE_SPECS

    integer = settings["arithmetic"] == "integer"
    surrogate = squat.FastSigmoid(SLOPE)
    config = LoopConfig(state=STATE_SPECS[settings["spec"]](bits), surrogate=surrogate, integer=integer)
    steps = settings["steps"]
    x = 0.3 * torch.randn(steps, settings["batch"], settings["neurons"], generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"steps": steps}
    if integer:
        x = (x * 20).round().clamp(-LARGEST, LARGEST)
        bias = torch.full((settings["neurons"],), 0.01)
        # Currents of a network come from an exact product, and are not checked again.
        options |= {"scale": torch.tensor(0.05), "bias": bias, "sum_bound": LARGEST, "exact": True}
    beta, threshold = torch.tensor(BETA), torch.tensor(1.0)
    return x, lambda current: lif(current, beta, threshold, config, **options)[0]


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """The measure is `"BITS bits, forward"` or `"BITS bits, backward"`."""
    bits, way = int(measure.split()[0]), measure.split()[-1]
    if stack == cases.COPY:
        return copies.memory_copy(settings["steps"] * settings["batch"] * settings["neurons"], way)
    x, run = loop(settings, bits)
    x.requires_grad_()
    if way == "forward":
        return lambda: run(x)
    out = run(x)
    gradient = torch.rand_like(out)
    return lambda: torch.autograd.grad(out, x, gradient, retain_graph=True)


def check(settings: dict[str, Any]) -> dict[str, bool]:
    """Spikes must equal the reference's, gradients nearly, at every bit width."""
    import squat.ops

    equal = close = fires = True
    short = {**settings, "steps": min(settings["steps"], 20), "batch": min(settings["batch"], 4)}
    for bits in range(2, 9):
        x, run = loop(short, bits)
        gradient = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
        outcomes = []
        for backend in ("cpu", "reference"):
            with squat.ops.backend(backend):
                leaf = x.clone().requires_grad_()
                out = run(leaf)
                outcomes.append((out.detach(), torch.autograd.grad(out, leaf, gradient)[0]))
        (spikes, ours), (expected, theirs) = outcomes
        equal &= torch.equal(spikes, expected)
        close &= bool((ours - theirs).abs().max() <= 1e-4 * theirs.abs().max())
        fires &= 0 < float(spikes.mean()) < 1
    return {
        "spikes equal the reference's": equal,
        "gradients are close to the reference's": close,
        "some neurons fire, some do not": fires,
    }
