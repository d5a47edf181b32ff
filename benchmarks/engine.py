"""Evaluation of a batch by the integer engine, and by the network's exported C, against the float and published stacks.

All networks have the same weights, under which some neurons fire and some do not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import cases, networks, published


def trained(settings: dict[str, Any]) -> nn.Module:
    """A squat network under the integer rule, in evaluation mode."""
    ours = networks.squat_network(settings, bias=False, scale="max")
    networks.put_on_one_grid(ours, published.Stack({**settings, "bits": None}, bias=False).weights(), settings["bits"])
    return ours.eval()


def spikes(settings: dict[str, Any]) -> np.ndarray:
    """Input `[T, B, inputs]` as bytes."""
    return networks.data(settings)[0].numpy().astype(np.uint8)


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """Spikes (or codes) of a whole batch, as a function; lowering and compiling are not measured."""
    del measure
    if stack in (cases.SQUAT, cases.EXPORTED_C):
        import squat

        machine, x = squat.lower(trained(settings)), spikes(settings)
        run = machine.run if stack == cases.SQUAT else _program(machine).run
        return lambda: run(x)
    bits = None if stack == cases.FLOAT else settings["bits"]
    theirs = published.Stack({**settings, "bits": bits}, bias=False)
    networks.put_on_one_grid(trained(settings), theirs.weights(), settings["bits"])
    return networks.inference(theirs, networks.data(settings)[0])


def _program(machine: Any) -> Any:
    from squat.export.c99.host import compile_network, find_compiler

    if find_compiler() is None:
        raise cases.Unavailable("no C compiler found")
    return compile_network(machine, flags=("-O3", "-march=native"))


@torch.no_grad()
def check(settings: dict[str, Any]) -> dict[str, bool]:
    """Engine, its specification and the exported C give the spikes of the trained network, and neurons fire."""
    import squat

    few = {**settings, "batch": min(settings["batch"], 8)}
    net, x = trained(few), spikes(few)
    machine = squat.lower(net)
    expected = net(torch.from_numpy(x).float())[0].numpy()
    result = machine.run(x)
    fired = [float(neurons.spikes(codes).mean()) for _, neurons, codes in machine.by_layer(result.codes)]
    found = {
        "engine equals training": np.array_equal(result.output, expected),
        "engine equals its specification": np.array_equal(machine.run(x, implementation="numpy").output, expected),
        "in every layer some neurons fire, some do not": all(0 < rate < 1 for rate in fired),
    }
    with contextlib.suppress(cases.Unavailable):
        found["exported C equals training"] = np.array_equal(_program(machine).run(x).output, expected)
    return found
