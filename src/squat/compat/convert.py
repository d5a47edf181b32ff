"""`from_snntorch`: a network of snnTorch as a `Sequential` of squat."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from squat.checks import check_choice, check_type
from squat.compat import layers, neurons, synaptic
from squat.compat.builder import Builder
from squat.compat.chain import trace
from squat.compat.structure import Link, key_of, read_sequential, refusal
from squat.layers.sequential import Sequential
from squat.surrogate import Surrogate

CONVERTERS = {**layers.CONVERTERS, **neurons.CONVERTERS, **synaptic.CONVERTERS}


def from_snntorch(
    net: nn.Module, example: Any = None, *, surrogate: Surrogate | None = None, arithmetic: str = "float"
) -> Sequential:
    """A network of snnTorch as a network of squat: same parameters, same spikes.

    Given the same currents, membranes and spikes are equal bit for bit. A whole network differs as far as the float
    sums of its layers do, since torch adds a batch of all steps in another order than one step: at times a membrane
    falls on the other side of a threshold. `squat.compat.compare` says how often.

    Converted are chains: an `nn.Sequential`, or a module that runs its layers one after the other, also in a loop over
    time. Such a module is run once on `example`, with its forward hooks watched. What it does before the first layer
    (encoding) and after the last (a readout, counts) stays with you: the result takes `[T, B, ...]` and gives what the
    last layer gives at each step, spikes, or the membrane where only that is read and nothing resets it.

    Args:
        net: the network; it is not changed.
        example: an input that `net` can be called with, or a tuple of its arguments; not needed for an `nn.Sequential`.
        surrogate: what all neurons get instead of their own surrogate gradients.
        arithmetic: rule of neurons that come with a `state_quant`, `"float"` as published, or `"integer"`: then, with
            quantized weights, they run on the integers that would be deployed.

    Returns:
        A `Sequential`, in the mode (training or evaluation) of `net`. Parameters that were frozen stay so.

    Raises:
        TypeError: if `net` is no module, or `surrogate` none.
        ValueError: for what cannot be converted, naming the layer and the way out.

    Example:
        >>> net = from_snntorch(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()))
        >>> [type(layer).__name__ for layer in net.layers]
        ['Conv2d', 'Flatten']
    """
    check_type("net", net, nn.Module, "a network of snnTorch (an nn.Module)")
    check_type("surrogate", surrogate, (Surrogate, type(None)), "a surrogate such as FastSigmoid(25.0), or None")
    check_choice("arithmetic", arithmetic, ("float", "integer"))
    build = Builder(links_of(net, example), surrogate, arithmetic)
    for build.at, link in enumerate(build.links):  # noqa: B020 - the builder knows where it is
        _convert(build, link)
    converted = Sequential(*build.layers)
    device = next((tensor.device for tensor in net.parameters()), torch.device("cpu"))
    return converted.to(device).train(net.training)


def links_of(net: nn.Module, example: Any = None) -> list[Link]:
    """The chain of a network: traced where there is an example, else read off an `nn.Sequential`.

    Raises:
        ValueError: where it is no chain, or an example is missing.
    """
    if key_of(net) in CONVERTERS:
        net = nn.Sequential(net)
    for name, parameter in net.named_parameters():
        if parameter.dtype != torch.float32:
            raise refusal(f"{name} is {parameter.dtype}; convert it with net.float() first")
    if example is not None:
        return trace(net, example)
    if type(net) is nn.Sequential:
        return read_sequential(net)
    raise ValueError(
        f"example=None: expected an input of {type(net).__name__}, which is run once to see the order of its layers; "
        "only an nn.Sequential shows it without"
    )


def _convert(build: Builder, link: Link) -> None:
    if link.key not in CONVERTERS:
        known = ", ".join(CONVERTERS)
        raise refusal(f"{link.name} ({link.key}) has no counterpart in squat; converted are {known}")
    try:
        CONVERTERS[link.key](build, link)
    except ValueError as error:
        raise refusal(f"{link.name} ({link.key}): {error}") from error
