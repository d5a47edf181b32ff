"""In which order a network of snnTorch runs its layers: read off an `nn.Sequential`, or traced through a time loop.

A trace (`record.py`) runs the network on an example. Accepted is (`chain.py`) that in each step all layers run once, on
what the layer before it gave, or on the sum of two branches, from states that it gave itself in the step before; the
chain may part into several heads. What comes before the first layer (encoding) and after the last one (a readout) is
not converted, but may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as shared
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_leaves

from squat.text import brief

NOTHING = {
    *("to", "float", "double", "type", "type_as", "cpu", "cuda", "contiguous", "detach", "data", "alias", "clone"),
    *("positive", "view_as", "reshape_as", "expand_as", "__deepcopy__"),
}
"""Functions that leave values alone, unless shape or dtype come out changed."""
FORK = "structure.Heads"
"""The key of the link in which a network ends that has several heads."""
LIBRARIES = ("snntorch", "torch", "brevitas")
"""Packages whose modules are layers, whatever they are made of."""


@dataclass
class Link:
    """One layer of the chain.

    Attributes:
        name: its name in the network; for a function its own name and where it stands.
        key: package and class (`snntorch.Leaky`), or `function` and name (`function.flatten`).
        module: the layer, None for a function.
        arguments: of a function, without the tensor.
        inputs: what it was given at each step, `[B, ...]`; empty if the network was not run.
        outputs: what it gave at each step: spikes of a neuron, or its membrane where only that is read.
        membrane_only: the network uses the membrane of this last layer, not its spikes.
        membranes: of a neuron, its membrane at each step.
        detached: what a layer gave reaches it, or its state, without gradient.
        tapped: the network shows the spikes of this hidden layer.
        branches: of a sum, the two chains whose results are added; of a fork (`FORK`), the chain of each head.
    """

    name: str
    key: str
    module: Any = None
    arguments: tuple[Any, dict[str, Any]] = ((), {})
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    membrane_only: bool = False
    membranes: list[Tensor] = field(default_factory=list)
    detached: bool = False
    tapped: bool = False
    branches: list[list[Link]] = field(default_factory=list)

    __repr__ = brief


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def key_of(module: nn.Module) -> str:
    """Package and class of a module, such as `torch.Linear`, also of one whose weights torch reparametrises.

    snnTorch's BatchNormTT makes a list of norms, which has no class of its own.
    """
    if isinstance(module, nn.ModuleList):
        kinds = {type(norm).__name__ for norm in module}
        if kinds in ({"BatchNorm1d"}, {"BatchNorm2d"}):
            return f"snntorch.BatchNormTT{kinds.pop()[-2:]}"
    kind: Any = type(module).__base__ if is_parametrized(module) else type(module)
    return f"{kind.__module__.split('.')[0]}.{kind.__name__}"


def read_sequential(net: nn.Sequential, prefix: str = "") -> list[Link]:
    """The layers of an `nn.Sequential`, also of nested ones, in their order.

    Raises:
        ValueError: where more than its layers may say what it does.
    """
    hooks: Any = (net._forward_hooks, net._forward_pre_hooks, shared._global_forward_hooks)
    if any((*hooks, shared._global_forward_pre_hooks)) or _has_own_forward(net):
        name = prefix.rstrip(".") or type(net).__name__
        raise refusal(f"{name} has a forward or hooks of its own; pass an example, on which they are seen")
    links = []
    for name, module in net.named_children():
        path = f"{prefix}{name}"
        if isinstance(module, nn.Sequential):
            links += read_sequential(module, f"{path}.")
        else:
            links.append(Link(path, key_of(module), module))
    return links


def _has_own_forward(net: nn.Sequential) -> bool:
    return type(net).forward is not nn.Sequential.forward or "forward" in vars(net)


def layers_of(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What is converted as a whole: modules of the libraries, and others that hold weights themselves.

    Containers, and a user's modules without weights of their own, are looked into.
    """
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        library = key_of(child).split(".")[0] in LIBRARIES
        container = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if not container and (library or any(True for _ in child.parameters(recurse=False))):
            yield path, child
        else:
            yield from layers_of(child, f"{path}.")


def neurons_in(links: list[Link]) -> list[Link]:
    """The layers of neurons of a chain, those of branches too, as they run."""
    found = []
    for link in links:
        found += [inner for branch in link.branches for inner in neurons_in(branch)]
        found += [link] if link.key.startswith("snntorch.") else []
    return found


def ends_of(links: list[Link]) -> list[Link]:
    """The last link of a chain, or of each of its heads."""
    last = links[-1]
    return [end for head in last.branches for end in ends_of(head)] if last.key == FORK else [last]


class NotConverted(ValueError):
    """The error of a network that is no chain, or holds what squat has not."""


def refusal(text: str) -> NotConverted:
    """That a network cannot be converted, and why."""
    return NotConverted(f"this network cannot be converted: {text}")
