"""A converted network run beside what was recorded of the network of snnTorch, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squat.compat.structure import Link, ends_of, neurons_in, refusal
from squat.layers.current import Current
from squat.layers.sequential import Sequential
from squat.layers.tap import Membrane
from squat.neurons import RLIF, ConvRLIF, SpikingLSTM

ROUNDING = 1e-3
"""Currents may differ by this share of the largest; float sums do by far less."""


@dataclass
class Seen:
    """A layer of neurons in a run.

    Attributes:
        layer: of squat.
        link: of the network of snnTorch.
        given: what it was given.
        out: what it gave.
    """

    layer: nn.Module
    link: Link
    given: Tensor
    out: Tensor


def has_state(layer: nn.Module) -> bool:
    """Whether it is a layer of neurons."""
    return hasattr(layer, "set_state_spec")


def neurons_of(net: nn.Module) -> list[nn.Module]:
    """The layers of neurons of a conversion as they run, with what shows their membranes."""
    if has_state(net) or isinstance(net, Membrane):
        return [net]
    return [layer for child in net.children() for layer in neurons_of(child)]


@torch.no_grad()
def run_beside(converted: Sequential, links: list[Link], forced: bool) -> tuple[list[Seen], Tensor]:
    """Run a conversion on the inputs of the first layer: what every layer of neurons saw, and the result.

    Args:
        converted: what `from_snntorch` made.
        links: the chain it was made of, recorded.
        forced: every layer of neurons gets what snnTorch's was given, and what follows what that gave, so that no
            difference is carried on. Recurrent layers own the weights before them and so get the input of those.

    Raises:
        ValueError: where the networks have other layers of neurons.
    """
    theirs, ours = neurons_in(links), neurons_of(converted)
    if len(theirs) != len(ours):
        raise ValueError(
            f"converted: {len(ours)} layers of neurons, but net has {len(theirs)}; expected a conversion of net"
        )
    seen: list[Seen] = []
    mode = converted.training
    with ExitStack() as hooks:
        for layer, link in zip(ours, theirs, strict=True):
            hooks.enter_context(_watched(layer, link, forced, seen))
        try:
            out = converted.eval()(torch.stack(first_of(links).inputs))[0]
        finally:
            converted.train(mode)
    return seen, _dense(out)


def first_of(links: list[Link]) -> Link:
    """The layer that takes the network's input."""
    link = links[0]
    return link if not link.branches else first_of(max(link.branches, key=len))


@contextmanager
def _watched(layer: Any, link: Link, forced: bool, seen: list[Seen]) -> Iterator[None]:
    given: list[Tensor] = []
    neuron = layer.neuron if isinstance(layer, Membrane) else layer
    owns_weights = isinstance(neuron, RLIF | SpikingLSTM) and not isinstance(neuron, ConvRLIF)

    def enter(_: Any, args: Any) -> Any:
        given.append(_dense(args[0]))
        return (torch.stack(link.inputs), *args[1:]) if forced and not owns_weights else None

    def leave(_: Any, args: Any, result: Any) -> Any:
        seen.append(Seen(layer, link, given.pop(), result[0]))
        return (torch.stack(link.outputs), *result[1:]) if forced else None

    handles = layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_equal(converted: Sequential, links: list[Link]) -> None:
    """Every layer, given what snnTorch's was given, gives what that gave.

    Spikes of neurons without weights of their own must be equal bit for bit; currents up to rounding. Layers with
    recurrent weights add floats in another order, and learned thresholds are kept as logarithms: there a first
    difference must be a membrane close to its threshold.

    Raises:
        ValueError: for the first difference, with its step and layer.
    """
    seen, out = run_beside(converted, links, forced=True)
    for each in seen:
        expected = torch.stack(each.link.outputs)
        neuron = each.layer.neuron if isinstance(each.layer, Membrane) else each.layer
        if isinstance(neuron, RLIF | ConvRLIF | SpikingLSTM) or neuron.learn_threshold:
            _check_sums(each, neuron, expected)
            continue
        _check_close(each.given, torch.stack(each.link.inputs), f"the input of {each.link.name}")
        if not torch.equal(each.out, expected):
            _differ(each.out != expected, each.link.name)
    ends = ends_of(links)
    parts = out.split([last.outputs[0].shape[1] for last in ends], 2) if len(ends) > 1 else [out]
    for last, part in zip(ends, parts, strict=True):
        if not last.key.startswith("snntorch."):
            _check_close(part, torch.stack(last.outputs), f"the output of {last.name}")


def _check_close(found: Tensor, expected: Tensor, name: str) -> None:
    if found.shape != expected.shape:
        raise refusal(f"{name} is {tuple(found.shape)} after conversion, {tuple(expected.shape)} before")
    error = (found - expected).abs() > ROUNDING * expected.abs().max()
    if bool(error.any()):
        _differ(error, name)


def _check_sums(seen: Seen, neuron: Any, expected: Tensor) -> None:
    link, rounding = seen.link, ROUNDING * expected.abs().max() if isinstance(seen.layer, Membrane) else 0.0
    differ = (seen.out - expected).abs() > rounding
    lost = isinstance(neuron, SpikingLSTM) and link.inputs[0].shape != link.outputs[0].shape
    if lost or not bool(differ.any()):  # snnTorch loses those states, of which the conversion has warned
        return
    coarse = neuron is not seen.layer or neuron.state_spec is not None
    if coarse:  # a spike or a code that rounding moved stays moved
        if float(differ.double().mean()) > 0.1:
            _differ(differ, link.name)
        return
    samples = differ.flatten(2).any(2)
    first = samples.int().argmax(0)
    for sample in samples.any(0).nonzero().flatten().tolist():
        step = int(first[sample])
        membrane, where = link.membranes[step][sample], differ[step, sample]
        near = (membrane - link.module.threshold).abs()
        if not getattr(link.module, "reset_delay", True):  # it is reset already
            near = torch.minimum(near, membrane.abs())
        if bool((near[where] > ROUNDING * membrane.abs().max()).any()):
            _differ(differ, link.name)


def _differ(differ: Tensor, name: str) -> None:
    step = int(differ.flatten(1).any(1).int().argmax())
    raise refusal(
        f"run on the example, {name} differs from snnTorch's in step {step} ({int(differ[step].sum())} of "
        f"{differ[step].numel()} values), though all before it was equal; check=False converts it all the same"
    )


def _dense(out: Any) -> Tensor:
    return out.dense() if isinstance(out, Current) else out
