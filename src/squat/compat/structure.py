"""In which order a network of snnTorch runs its layers: read off an `nn.Sequential`, or traced through a time loop.

A trace runs the network on an example and records every call of a layer, and every torch function between them. What
it accepts is a chain: in each step every layer runs once, on what the layer before it gave, from states that it gave
itself in the step before. What comes before the first layer (encoding) and after the last one (a readout) is not
converted, but may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

NOTHING = ("to", "float", "contiguous", "detach", "clone", "detach_", "requires_grad_")
"""Functions that leave values and shapes alone."""
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
    """

    name: str
    key: str
    module: Any = None
    arguments: tuple[Any, dict[str, Any]] = ((), {})
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    membrane_only: bool = False


@dataclass
class Call:
    """One call of a layer or function while the network ran."""

    link: Link
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    @property
    def given(self) -> list[Tensor]:
        """Tensors that went in: what it computes with first, then the states of a neuron."""
        return tensors_in((self.args, self.kwargs))

    @property
    def results(self) -> list[Tensor]:
        """Tensors that came out: spikes first, then the states of a neuron."""
        return tensors_in(self.result)


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def key_of(module: nn.Module) -> str:
    """Package and class of a module, such as `torch.Linear`."""
    return f"{type(module).__module__.split('.')[0]}.{type(module).__name__}"


def read_sequential(net: nn.Sequential, prefix: str = "") -> list[Link]:
    """The layers of an `nn.Sequential`, also of nested ones, in their order."""
    links = []
    for name, module in net.named_children():
        path = f"{prefix}{name}"
        if isinstance(module, nn.Sequential):
            links += read_sequential(module, f"{path}.")
        else:
            links.append(Link(path, key_of(module), module))
    return links


def record(net: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[Call], Any]:
    """Every call of a layer, and of a torch function between layers, while `net` runs on `inputs`; and its result."""
    recorder = _Recorder()
    with torch.no_grad(), undisturbed(net), recorder.watching(net), recorder:
        output = net(*inputs)
    return recorder.calls, output


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, from zero states; modes, states and other buffers are put back."""
    before = [(module, module.training, dict(module._buffers)) for module in net.modules()]
    net.eval()
    neurons: list[Any] = [module for module in net.modules() if key_of(module).startswith("snntorch.")]
    for neuron in neurons:
        if hasattr(neuron, "_init_mem"):
            neuron._init_mem()
    try:
        yield
    finally:
        for module, training, buffers in before:
            module.training = training
            module._buffers.update(buffers)


class _Recorder(TorchFunctionMode):
    """Every call of a layer, and of a torch function outside of layers, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if not self.depth and tensors_in(result):
            self.calls.append(Call(Link(name, f"function.{name}"), args, kwargs or {}, result))
        return result

    @contextmanager
    def watching(self, net: nn.Module) -> Iterator[None]:
        handles = []
        for name, layer in _layers(net):
            handles.append(layer.register_forward_pre_hook(self._enter))
            leave = self._leaver(Link(name, key_of(layer), layer))
            handles.append(layer.register_forward_hook(leave, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.depth += 1

    def _leaver(self, link: Link) -> Any:
        def leave(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            self.depth -= 1
            self.calls.append(Call(link, args, kwargs, result))

        return leave


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
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
            yield from _layers(child, f"{path}.")


def refusal(text: str) -> ValueError:
    """The error of a network that is no chain, or holds what squat has not."""
    return ValueError(f"this network cannot be converted: {text}")
