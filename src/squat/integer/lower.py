"""`lower`: from a trained network to an `IntegerNetwork`, by copying the integers that training computes with.

Weights come from the quantizers in evaluation mode, tables and bounds from `code_tables`, which every training forward
calls with the same arguments. Nothing is derived a second time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_type
from squat.integer.copies import copy_recurrent, copy_weighted, pool_of
from squat.integer.joins import Join
from squat.integer.network import IntegerNetwork, Part
from squat.integer.neuron_obstacles import neuron_obstacles
from squat.integer.parts import Layer, Readout, Shape
from squat.integer.pools import POOLS, Pool
from squat.integer.readouts import lower_readout, wanted_layer
from squat.layers import Conv2d, Dropout, Flatten, Linear, SumPool2d, Unflatten
from squat.layers.heads import Heads
from squat.layers.residual import Residual
from squat.layers.sequential import Sequential
from squat.layers.tap import Membrane, Tap
from squat.models.network import Network
from squat.neurons import RLIF, SpikingLSTM
from squat.neurons.base import Neuron

MEMBRANE = "gives membranes of neurons, whose spikes alone a machine gives; lower them without the Membrane, or use LI"
HEADS = (
    "ends in several heads, where a machine has one end; lower a network for each, for the first "
    "squat.Sequential(*net.layers[:-1], *net[-1].heads[0].layers)"
)
USE_KNOWN = (
    "lowered are Linear, Conv2d, Conv1d, pools, Flatten, Unflatten, Dropout, Residual, and all neurons but SpikingLSTM"
)


def lower(net: Network | Sequential, input_shape: Shape | None = None) -> IntegerNetwork:
    """The integer machine that a network with quantized weights and states was trained as.

    Args:
        net: a trained `Network`, or a `Sequential` of layers. It is read in evaluation mode and left as it was.
        input_shape: `(C, H, W)` or `(C, L)` of one step, needed if the first layer with weights is a convolution.

    Returns:
        An `IntegerNetwork` whose codes and spikes equal those of `net` on every input.

    Raises:
        TypeError: for something else than a network.
        ValueError: where something cannot be lowered; the message lists all obstacles, and what to change.

    Example:
        >>> import torch, squat
        >>> net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
        >>> x = torch.ones(5, 1, 3)
        >>> bool((torch.from_numpy(squat.lower(net).run(x).output) == net.eval()(x)[0]).all())
        True
    """
    layers, readout, found = _walk(net, input_shape)
    if found:
        raise ValueError("this network cannot be lowered: " + "; ".join(found))
    return IntegerNetwork(tuple(layers), readout)


def obstacles(net: Network | Sequential, input_shape: Shape | None = None) -> list[str]:
    """Why a network cannot be lowered, one sentence for each reason that says what to change; empty if it can.

    Raises:
        TypeError: for something else than a network.

    Example:
        >>> import squat
        >>> obstacles(squat.Sequential(squat.Linear(3, 2), squat.LIF(state=squat.Anchored(4))))
        ['layer 0 (Linear): its weights are float; train it with weight=IntWeight(bits)']
    """
    return _walk(net, input_shape)[2]


def _walk(net: Network | Sequential, input_shape: Shape | None) -> tuple[list[Part], Readout | None, list[str]]:
    check_type("net", net, (Network, Sequential), "a squat.Network or squat.Sequential")
    stack = net.layers if isinstance(net, Network) else net
    walk = _Walk(list(stack.layers), input_shape)
    with torch.no_grad(), evaluating(net):
        walk.network()
        readout = walk.readout_of_network(net.readout) if isinstance(net, Network) else None
    return walk.layers, readout, walk.found


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, where weight scales stay as they are; the modes are put back."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@dataclass
class _Walk:
    """Goes through the modules, collecting integer layers and obstacles; a layer behind an obstacle is still looked at.

    `shape` is of the next input, None where an obstacle hides it; `largest` is the largest value it holds, None for the
    network's own input; `prefix` says in which branch the modules are.
    """

    modules: list[nn.Module]
    shape: Shape | None

    def __post_init__(self) -> None:
        self.layers: list[Part] = []
        self.prefix = ""
        self.found: list[str] = []
        self.largest: int | None = None
        self.at = 0
        self.scale: Tensor = torch.ones(())
        self.bias: Tensor | None = None

    def network(self) -> None:
        self._stack()
        if not self.found and not (self.layers and isinstance(self.layers[-1], Layer)):
            self._object("is last; the last layer needs weights", len(self.modules) - 1)

    def _stack(self) -> None:
        while self.at < len(self.modules):
            module = self.modules[self.at]
            if isinstance(module, Linear | Conv2d):
                self._weighted(module)
            elif isinstance(module, RLIF):
                self._recurrent(module)
            elif isinstance(module, Neuron):
                self._object("gets no integer sums; put a Linear or Conv2d with weight=IntWeight(bits) before it")
            elif isinstance(module, SpikingLSTM):
                self._object("has float gates (sigmoid and tanh), which no integer machine repeats; use RLIF")
                self.shape = None
            elif isinstance(module, SumPool2d):
                self._pool(module)
            elif isinstance(module, Residual):
                self._residual(module)
            elif isinstance(module, Dropout | nn.Identity | Tap):
                pass  # which do nothing in use
            elif isinstance(module, Membrane):
                self._object(MEMBRANE)
                self.shape = None
            elif isinstance(module, Heads):
                self._object(HEADS)
                self.shape = None
            elif isinstance(module, Flatten):
                self.shape = self.shape and (math.prod(self.shape),)
            elif isinstance(module, Unflatten):
                self._unflatten(module)
            else:
                self._object(f"is not an integer layer; {USE_KNOWN}")
                self.shape = None
            self.at += 1

    def _object(self, text: str, at: int | None = None) -> None:
        at = self.at if at is None else at
        self.found.append(f"layer {self.prefix}{at} ({type(self.modules[at]).__name__}): {text}")

    def _weighted(self, module: Linear | Conv2d) -> None:
        name, count = self._name(), len(self.found)
        self._check_input(module)
        if module.weight_spec is None:
            self._object("its weights are float; train it with weight=IntWeight(bits)")
        if isinstance(module, Conv2d) and self.shape is None and not self.layers and not self.found:
            self._object("needs the size of its images; pass input_shape=(C, H, W)")
        start = self.at
        pool: Any = self._taken(SumPool2d) if isinstance(module, Conv2d) else None
        name += "" if pool is None else f", {self._name()}"
        neuron: Any = self._taken(Neuron)
        if neuron is not None:
            name += f", {self._name()}"
            self._check_neuron(neuron)
        elif self._taken(Membrane) is not None:
            self._object(MEMBRANE)
        elif self._next() < len(self.modules):
            self._object("is followed by no neuron; put an LIF or LI behind it")
        if len(self.found) > count or (isinstance(module, Conv2d) and self.shape is None):
            self.shape = None
        else:
            self._guarded(lambda: self._add_weighted(module, pool, neuron, name))
        if any(isinstance(passed, Flatten) for passed in self.modules[start : self.at]):
            self.shape = self.shape and (math.prod(self.shape),)
        self.largest = 1

    def _next(self) -> int:
        """Where the next module stands that does something to sums."""
        at = self.at + 1
        while at < len(self.modules) and isinstance(self.modules[at], Dropout | Flatten | nn.Identity):
            at += 1
        return at

    def _taken(self, kind: type) -> Any:
        """The next module, which is gone to, if it is of this kind and owns no weights of inputs; else None."""
        module = self.modules[self._next()] if self._next() < len(self.modules) else None
        if not isinstance(module, kind) or isinstance(module, RLIF):
            return None
        self.at = self._next()
        return module

    def _name(self) -> str:
        return f"{self.prefix}{self.at} {type(self.modules[self.at]).__name__}"

    def _add_weighted(self, module: Linear | Conv2d, pool: SumPool2d | None, neuron: Any, name: str) -> None:
        shape: Shape = (module.weight.shape[1],)
        if isinstance(module, Conv2d) and self.shape:
            shape = _images(self.shape)
        self._check_shape(shape)
        layer, self.scale, self.bias = copy_weighted(module, pool, neuron, name, shape)
        self._add(layer)

    def _recurrent(self, module: RLIF) -> None:
        count = len(self.found)
        self._check_input(module)
        if module.weight_spec is None:
            self._object("its weights are float; train it with weight=IntWeight(bits)")
        if not module.shared_scale:
            self._object("input and recurrent weights have a scale each; train it with shared_scale=True")
        self._check_neuron(module)
        if len(self.found) > count:
            self.shape = None
        else:
            self._guarded(lambda: self._add_recurrent(module))
        self.largest = 1

    def _add_recurrent(self, module: RLIF) -> None:
        self._check_shape((module.in_features,))
        self._add(copy_recurrent(module, self._name()))

    def _pool(self, module: SumPool2d) -> None:
        if module.kind == "average":
            self._object("averages spikes, which gives fractions; use a sum pool, and input_scale in the next layer")
            self.shape = None
        elif self.shape is None:
            if not self.layers and not self.found:
                self._object("needs the size of its images; pass input_shape=(C, H, W)")
        elif self.largest is None:
            self._object("pools the network's input; pool the data instead")
            self.shape = None
        else:
            shape = _images(self.shape)
            self._guarded(lambda: self._add_pool(pool_of(module, shape), self.largest or 1))

    def _add_pool(self, pool: Pool, largest: int) -> None:
        if largest * pool.growth > 255:
            raise ValueError(f"its sums reach {largest * pool.growth}, more than a byte; use smaller windows")
        self.largest = largest * pool.growth
        self._add(pool)

    def _unflatten(self, module: Unflatten) -> None:
        if self.shape is not None and math.prod(self.shape) != math.prod(module.shape):
            self._object(f"gets {math.prod(self.shape)} values, expected {math.prod(module.shape)}")
        self.shape = None if self.found else module.shape

    def _residual(self, module: Residual) -> None:
        source, shape, largest, count = len(self.layers) - 1, self.shape, self.largest, len(self.found)
        if largest is None:
            self._object("adds to the network's input; put a layer with neurons before it")
        if module.shortcut is not None and getattr(module.shortcut, "kind", None) not in POOLS:
            kind = type(module.shortcut).__name__
            self._object(f"its shortcut ({kind}) gives no integers, so floats are added; use SumPool2d or MaxPool2d")
        outer = self.modules, self.at, self.prefix
        self.modules, self.at, self.prefix = list(module.body.layers), 0, f"{self.prefix}{self.at}."
        self._stack()
        self.modules, self.at, self.prefix = outer
        if len(self.found) > count or shape is None or largest is None:
            self.shape = None
        else:
            self._guarded(lambda: self._add_join(module.shortcut, source, shape, largest))

    def _add_join(self, shortcut: Any, source: int, shape: Shape, largest: int) -> None:
        last = self.layers[-1]
        if isinstance(last, Layer) and not last.fires:
            raise ValueError("its branch does not end in spikes, so floats are added; put an LIF at its end")
        pool = None if shortcut is None else pool_of(shortcut, _images(shape))
        kept = shape if pool is None else pool.output_shape
        if kept != self.shape:
            raise ValueError(f"its branch gives {self.shape}, its shortcut {kept}; expected equal shapes")
        self.largest = (self.largest or 1) + largest * (1 if pool is None else pool.growth)
        if self.largest > 255:
            raise ValueError(f"its sums reach {self.largest}, more than a byte; put a layer with neurons between")
        self._add(Join(kept, source, pool))

    def _check_neuron(self, neuron: Any) -> None:
        for text in neuron_obstacles(neuron, self.at + 1 == len(self.modules)):
            self._object(text)

    def _check_input(self, module: Linear | Conv2d | RLIF) -> None:
        input_max, input_min = module.input_max, module.input_min
        if input_max > 255:
            self._object(f"input_max={input_max}: inputs are bytes; scale them to 0..255")
        elif input_min < -128 or (input_min < 0 and input_max > 127):
            self._object(f"inputs from {input_min} to {input_max}: they are bytes; scale signed ones to -128..127")
        if self.largest is not None and self.largest > input_max:
            self._object(f"gets inputs of up to {self.largest}; train it with input_max={self.largest}")

    def _check_shape(self, shape: Shape) -> None:
        if self.shape is not None and math.prod(self.shape) != math.prod(shape):
            raise ValueError(f"takes {math.prod(shape)} inputs, but gets {math.prod(self.shape)} {self.shape}")

    def _guarded(self, build: Any) -> None:
        """Whatever a layer's own numbers forbid becomes an obstacle."""
        try:
            build()
        except ValueError as error:
            self._object(str(error))
            self.shape = None

    def _add(self, layer: Part) -> None:
        self.layers.append(layer)
        self.shape = layer.output_shape

    def readout_of_network(self, readout: Any) -> Readout | None:
        """The readout, or an obstacle where it does not read the last layer."""
        last: Any = self.modules[-1]
        wanted = wanted_layer(readout, last)
        if wanted:
            self._object(f"is read by {type(readout).__name__}; put {wanted} last", len(self.modules) - 1)
        if self.found:
            return None
        try:
            return lower_readout(readout, last, self.scale, self.bias)
        except ValueError as error:
            self._object(str(error), len(self.modules) - 1)
            return None


def _images(shape: Shape) -> Shape:
    """A shape of images; signals `(C, L)` are images of one row."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape
