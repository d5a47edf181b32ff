"""`from_snntorch`: a network of snnTorch as a `Sequential` of squat."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from squat.checks import check_choice, check_type
from squat.compat import layers, neurons, synaptic
from squat.compat.builder import Builder
from squat.compat.chain import trace
from squat.compat.record import undisturbed
from squat.compat.replay import check_equal
from squat.compat.structure import FORK, Link, NotConverted, ends_of, key_of, layers_of, read_sequential, refusal
from squat.layers.heads import Heads
from squat.layers.residual import Residual
from squat.layers.sequential import Sequential
from squat.layers.tap import Membrane, Tap
from squat.surrogate import Surrogate


def from_snntorch(
    net: nn.Module,
    example: Any = None,
    *,
    surrogate: Surrogate | None = None,
    arithmetic: str = "float",
    check: bool = True,
) -> Sequential:
    """A network of snnTorch as a network of squat: same parameters, same spikes.

    Given the same currents, membranes and spikes are equal bit for bit. A whole network differs as far as the float
    sums of its layers do, since torch adds a batch of all steps in another order than one step: at times a membrane
    falls on the other side of a threshold. `squat.compat.compare` says how often.

    Converted are chains: an `nn.Sequential`, or a module that runs its layers one after the other, also in a loop over
    time. Such a module is run once on `example`, with its forward hooks watched. What it does before the first layer
    (encoding) and after the last (a readout, counts) stays with you: the result takes `[T, B, ...]` and gives what the
    last layer gives at each step, spikes, or the membrane where only that is read. Where a network has several heads,
    the result ends in `Heads`, whose `split` cuts its outputs apart.

    Args:
        net: the network; it is not changed.
        example: an input that `net` can be called with, or a tuple of its arguments; not needed for an `nn.Sequential`.
        surrogate: what all neurons get instead of their own surrogate gradients.
        check: run the result on the example too, and compare it with the network, layer by layer.
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
    links = links_of(net, example)
    _warn_of_shared(net)
    _warn_of_detached(links)
    with undisturbed(net), torch.random.fork_rng(devices=[]):  # constructors draw weights that are replaced at once
        converted = Sequential(*_layers(Builder(links, surrogate, arithmetic)))
    device = next((tensor.device for tensor in net.parameters()), torch.device("cpu"))
    converted = converted.to(device).train(net.training)
    if example is not None and check:
        check_equal(converted, links)
    return converted


def _warn_of_shared(net: nn.Module) -> None:
    """Parameters of several layers, which the converted layers do not share."""
    owners: dict[nn.Parameter, list[str]] = {}
    for name, layer in layers_of(net):
        for key, parameter in layer.named_parameters():
            owners.setdefault(parameter, []).append(f"{name}.{key}")
    for names in owners.values():
        if len(names) > 1:
            warnings.warn(
                f"{' and '.join(names)} are one parameter; the converted layers have one each, of equal values, and "
                "training moves them apart",
                UserWarning,
                stacklevel=3,
            )


def _warn_of_detached(links: list[Link]) -> None:
    """Places where training of the network stops the gradient, and training of the converted one does not."""
    waiting, names = list(links), list[str]()
    while waiting:
        link = waiting.pop(0)
        names += [link.name] * link.detached
        waiting += [inner for branch in link.branches for inner in branch]
    if names:
        warnings.warn(
            f"{', '.join(names)}: takes a detached tensor, which stops the gradient there; in the converted network it "
            "flows on: same spikes, other training. To cut it between chunks of time, carry state.detach()",
            UserWarning,
            stacklevel=3,
        )


def links_of(net: nn.Module, example: Any = None) -> list[Link]:
    """The chain of a network: traced where there is an example, else read off an `nn.Sequential`.

    Raises:
        ValueError: where it is no chain, or an example is missing.
    """
    for name, module in net.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
            raise refusal(f"{name or 'it'} is compiled (torch.compile or torch.jit); pass what it was compiled from")
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


def _layers(build: Builder) -> list[nn.Module]:
    """The layers of a chain."""
    for build.at, link in enumerate(build.links):  # noqa: B020 - the builder knows where it is
        resets = link.membrane_only and not _is_readout(link)
        _convert(build, replace(link, membrane_only=False) if resets else link)
        if resets and not getattr(link.module, "reset_delay", True):
            raise refusal(
                f"its result reads the membrane of {link.name} after a reset without delay (reset_delay=False); read "
                "its spikes, or train it with reset_delay=True"
            )
        if resets:
            build.layers.append(Membrane(build.layers.pop()))  # type: ignore[arg-type]
        if link.tapped:
            build.layers.append(Tap())
    return build.layers


def _is_readout(link: Link) -> bool:
    """Whether nothing resets it, so that an `LI` shows its membrane."""
    return link.key == "snntorch.Leaky" and neurons.RESETS[link.module.state_function.__name__] == "none"


def _refresh(link: Link) -> None:
    """Weights that hooks of torch compute before a forward (pruning, weight norm) as the next forward has them.

    Raises:
        ValueError: for other hooks, which nothing has seen where the network was not run.
    """
    module = link.module
    if module is None:
        return
    effective = [
        hook for hook in module._forward_pre_hooks.values() if type(hook).__module__.startswith("torch.nn.utils")
    ]
    hooked = module._forward_hooks or len(module._forward_pre_hooks) > len(effective)
    if not link.inputs and (hooked or "forward" in vars(module)):
        raise ValueError("it has hooks or a forward of its own; pass an example, on which they are seen")
    for hook in effective:
        hook(module, ())


def _residual(build: Builder, link: Link) -> None:
    """Two branches that are added: one may hold anything, the other at most one layer without a state."""
    body, shortcut = sorted(link.branches, key=len, reverse=True)
    if build.input_scale != 1.0:
        raise ValueError("it stands behind an average pool whose division goes into the next layer; pool behind it")
    inner, outer = (
        Builder(links, build.surrogate, build.arithmetic, input_max=build.input_max) for links in (body, shortcut)
    )
    kept = _layers(outer)
    if len(kept) > 1 or any(getattr(layer, "carries_state", False) for layer in kept):
        listed = ", ".join(each.name for each in shortcut)
        raise ValueError(f"both branches hold several layers or neurons ({listed}); one may hold one layer at most")
    build.layers.append(Residual(Sequential(*_layers(inner)), *kept))
    build.input_max += inner.follows_spikes()


def _heads(build: Builder, link: Link) -> None:
    """A chain for each head, all behind the same layers."""
    shapes = {end.outputs[0].shape[2:] for end in ends_of(build.links[-1:])}
    if len(shapes) > 1:
        listed = ", ".join(f"{end.name} {list(end.outputs[0].shape[1:])}" for end in ends_of(build.links[-1:]))
        raise ValueError(f"they give steps that do not fit side by side ({listed}); flatten them in the network")
    heads = [_layers(replace(build, links=head, layers=[])) for head in link.branches]
    if not all(heads):
        raise ValueError("one of them holds nothing but nn.Identity; return what that is given")
    build.layers.append(Heads(*(Sequential(*head) for head in heads)))


def _convert(build: Builder, link: Link) -> None:
    if link.key not in CONVERTERS:
        known = ", ".join(key for key in CONVERTERS if not key.startswith("structure."))
        raise refusal(f"{link.name} ({link.key}) has no counterpart in squat; converted are {known}")
    try:
        _refresh(link)
        CONVERTERS[link.key](build, link)
    except NotConverted:
        raise
    except ValueError as error:
        raise refusal(f"{link.name} ({link.key}): {error}") from error


CONVERTERS = {
    **layers.CONVERTERS, **neurons.CONVERTERS, **synaptic.CONVERTERS, "structure.Residual": _residual, FORK: _heads
}  # fmt: skip
