"""Networks as trees of JSON values, class names with constructor arguments, and back from known classes only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from squat.layers import MODULES
from squat.layers.heads import Heads
from squat.layers.residual import Residual
from squat.layers.sequential import Sequential
from squat.layers.tap import Membrane, Tap
from squat.models.network import Network
from squat.models.readout import readout_from_json
from squat.neurons import NEURONS, RLIF
from squat.neurons.base import decode_config

MAX_DEPTH = 8
KNOWN: dict[str, type[nn.Module]] = {**MODULES, "Tap": Tap, **NEURONS}
"""What a file may name, beside `CONTAINERS`, by class name."""
LISTS: dict[Any, tuple[type[nn.Module], str]] = {"Sequential": (Sequential, "layers"), "Heads": (Heads, "heads")}
"""Containers of modules in a row, and where they hold them."""
CONTAINERS = ("Network", "Sequential", "Residual", "Heads", "Membrane")


def describe(net: nn.Module) -> dict[str, Any]:
    """The tree of a network; `rebuild` is the inverse.

    Raises:
        TypeError: for a module that is not one of squat's.

    Example:
        >>> from squat.layers import Flatten
        >>> describe(Sequential(Flatten()))
        {'class': 'Sequential', 'layers': [{'class': 'Flatten', 'config': {}}]}
    """
    name = type(net).__name__
    if isinstance(net, Network):
        return {"class": "Network", "readout": net.readout.to_json(), "layers": describe(net.layers)}
    for container, (kind, part) in LISTS.items():
        if isinstance(net, kind):
            return {"class": container, part: [describe(child) for child in getattr(net, part)]}
    if isinstance(net, Residual):
        shortcut = None if net.shortcut is None else describe(net.shortcut)
        return {"class": "Residual", "body": describe(net.body), "shortcut": shortcut}
    if isinstance(net, Membrane):
        return {"class": "Membrane", "neuron": describe(net.neuron)}
    if KNOWN.get(name) is not type(net):
        known = ", ".join([*CONTAINERS, *KNOWN])
        raise TypeError(f"{name}: expected modules of squat only ({known}); a file can hold no other class")
    return {"class": name, "config": net.config()}  # type: ignore[operator]


def rebuild(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The network of a tree, its parameters not yet loaded.

    Args:
        tree: from `describe`.
        tensors: what the file holds, by name; no layer may be larger than its weights there.

    Raises:
        ValueError: for unknown classes, other shapes than in `tensors`, and whatever the constructors refuse.
    """
    return _build(tree, tensors, "", MAX_DEPTH)


def _build(tree: Any, tensors: Mapping[str, Tensor], prefix: str, depth: int) -> nn.Module:
    if not isinstance(tree, dict) or depth == 0:
        raise ValueError("the description of the modules has another shape than expected")
    name = tree.get("class")
    if name == "Network":
        layers = _build(tree.get("layers"), tensors, prefix + "layers.", depth - 1)
        return Network(layers, readout_from_json(tree.get("readout") or {}))  # type: ignore[arg-type]
    if name in LISTS:
        kind, part = LISTS[name]
        children = tree.get(part)
        if not isinstance(children, list):
            raise ValueError(f"the description of a {name} has no {part}")
        return kind(*(_build(child, tensors, f"{prefix}{part}.{i}.", depth - 1) for i, child in enumerate(children)))
    if name == "Residual":
        body, shortcut = tree.get("body"), tree.get("shortcut")
        return Residual(
            _build(body, tensors, prefix + "body.", depth - 1),  # type: ignore[arg-type]
            None if shortcut is None else _build(shortcut, tensors, prefix + "shortcut.", depth - 1),
        )
    if name == "Membrane":
        return Membrane(_build(tree.get("neuron"), tensors, prefix + "neuron.", depth - 1))  # type: ignore[arg-type]
    if not isinstance(name, str) or name not in KNOWN:
        raise ValueError(f"class {name!r} is unknown; known are {', '.join([*CONTAINERS, *KNOWN])}")
    config = tree.get("config")
    if not isinstance(config, dict):
        raise ValueError(f"class {name!r} has no arguments")
    _check_sizes(name, config, tensors, prefix)
    return KNOWN[name](**decode_config(config))


# Shapes of the weights by constructor arguments. They are compared with the file before anything is allocated, so that
# a small file cannot ask for a large network.
_SHAPES: dict[str, Callable[[Mapping[str, Any]], dict[str, list[Any]]]] = {
    "Linear": lambda c: {"weight": [c.get("out_features"), c.get("in_features")]},
    "Conv2d": lambda c: {"weight": [c.get("out_channels"), c.get("in_channels"), *_pair(c.get("kernel_size"))]},
    "Conv1d": lambda c: {"weight": [c.get("out_channels"), c.get("in_channels"), 1, c.get("kernel_size")]},
    **{
        name: lambda c: {
            "weight_in": [c.get("features"), c.get("in_features")],
            "weight_rec": [c.get("features"), 1 if c.get("recurrence") == "one_to_one" else c.get("features")],
        }
        for name, neuron in NEURONS.items()
        if issubclass(neuron, RLIF)
    },
    "ConvRLIF": lambda c: {"weight_rec": [c.get("channels"), c.get("channels"), *_pair(c.get("kernel_size"))]},
    "SpikingLSTM": lambda c: {
        "weight_in": [_times(4, c.get("features")), c.get("in_features")],
        "weight_rec": [_times(4, c.get("features")), c.get("features")],
    },
}


def _pair(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value, value]


def _times(factor: int, value: Any) -> Any:
    return factor * value if isinstance(value, int) else value


def _check_sizes(name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> None:
    shapes = _SHAPES[name](config) if name in _SHAPES else {}
    for weight, shape in shapes.items():
        found = tensors.get(prefix + weight)
        if found is None or list(found.shape) != shape:
            came = "none" if found is None else list(found.shape)
            raise ValueError(f"tensor {prefix + weight!r}: expected shape {shape} as in the description, found {came}")
