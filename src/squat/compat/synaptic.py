"""Neurons of several states: snnTorch's Synaptic, RSynaptic and Alpha, one converter for each."""

from __future__ import annotations

from typing import Any

from squat.compat.builder import Builder
from squat.compat.layers import Converter
from squat.compat.neurons import (
    check_delayed,
    copy_learned,
    decay_of,
    learned,
    neuron_arguments,
    recurrent_layer,
)
from squat.compat.structure import Link
from squat.neurons import AlphaLIF, CubaLIF, RCubaLIF


def _arguments(build: Builder, link: Link) -> dict[str, Any]:
    """Both decays.

    States that come quantized are so as published: the unquantized current enters the membrane.
    """
    theirs, arguments = link.module, neuron_arguments(build, link)
    for name in ("alpha", "beta"):
        arguments |= {name: decay_of(link, name), f"learn_{name}": learned(getattr(theirs, name))}
    return arguments | {"as_published": arguments["state"] is not None}


def _add(build: Builder, layer: Any, theirs: Any) -> None:
    copy_learned(layer, theirs, "alpha", "beta")
    build.layers.append(layer)


def _synaptic(build: Builder, link: Link) -> None:
    _add(build, CubaLIF(**_arguments(build, link), reset_delay=link.module.reset_delay), link.module)


def _rsynaptic(build: Builder, link: Link) -> None:
    if not link.module.all_to_all:
        raise ValueError("its recurrence is one to one: expected linear_features, all to all")
    check_delayed(link.module)
    _add(build, recurrent_layer(build, link.module, RCubaLIF, **_arguments(build, link)), link.module)


def _alpha(build: Builder, link: Link) -> None:
    """As published with a reset by subtraction too, since snnTorch's differs from squat's."""
    arguments = _arguments(build, link)
    arguments["as_published"] |= arguments["reset"] == "subtract"
    _add(build, AlphaLIF(**arguments), link.module)


CONVERTERS: dict[str, Converter] = {
    "snntorch.Synaptic": _synaptic,
    "snntorch.RSynaptic": _rsynaptic,
    "snntorch.Alpha": _alpha,
}
"""By package and class. A new neuron is one entry."""
