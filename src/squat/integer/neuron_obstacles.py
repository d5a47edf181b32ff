"""Why a trained neuron cannot be lowered, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from squat.neurons import LI, ConvRLIF
from squat.neurons.options import WithOptions
from squat.neurons.several import SeveralStates


def neuron_obstacles(neuron: Any, last: bool) -> Iterator[str]:
    """One sentence for each reason.

    Args:
        neuron: a layer of neurons.
        last: whether no layer follows.
    """
    if isinstance(neuron, ConvRLIF) and neuron.weight_spec is None:
        yield "its weights are float; train it with weight=IntWeight(bits)"
    if neuron.thresholds > 1:
        yield (
            f"has {neuron.thresholds} thresholds, in units of which no one grid of levels is; divide the weights and "
            "bias of each channel before it by the channel's threshold, give threshold=1, and train it with a state "
            "spec such as state=Anchored(4)"
        )
    elif neuron.state_spec is None:
        yield "its membrane is float; train it with a state spec such as state=Anchored(4)"
    if isinstance(neuron, SeveralStates):
        yield from _of_states(neuron)
    elif isinstance(neuron, WithOptions) and (neuron.refractory or not neuron.reset_delay):
        yield (
            "has a refractory period or no reset delay, which no integer layer has; train it with refractory=0 and "
            "reset_delay=True"
        )
    if neuron.arithmetic != "integer":
        yield (
            "was trained with the float rule, whose rounding no integer machine repeats; train it with "
            "arithmetic='integer'"
        )
    if isinstance(neuron, LI) and not last:
        yield "never fires, so only the last layer can be one; use LIF"


def _of_states(neuron: SeveralStates) -> Iterator[str]:
    for argument, spec in dict(zip(neuron.spec_arguments, neuron.specs, strict=False)).items():
        if spec is None and neuron.state_spec is not None:
            yield f"a state is float; train it with a state spec such as {argument}=Uniform(4)"
    if neuron.as_published:
        yield "reads unquantized states, as published; train it with as_published=False"
    if not neuron.reset_delay:
        yield "resets without delay, which leaves its membrane off the grid; train it with reset_delay=True"
