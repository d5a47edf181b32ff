"""How far a network trained with the float rule is from an integer machine: differing cuts, never called equal.

The float rule rounds every membrane in floating point. Where a layer has no recurrence, its next code still rises with
the integer sum, so integer cuts exist and can be compared with those of the integer rule. A recurrent layer rounds
input and recurrent sums one after the other, so its code is no function of one sum.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch

from squat.integer.cuts import engine_step, integer_cuts, probe, starts, sum_ranges
from squat.integer.lower import evaluating, lower
from squat.integer.parts import Shape
from squat.integer.trained import training_steps
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.neurons import RLIF
from squat.neurons.base import Neuron
from squat.neurons.several import SeveralStates


@dataclass(frozen=True)
class DifferingCuts:
    """One layer trained with the float rule.

    Attributes:
        layer: its name.
        differing: cuts that differ from those of the integer rule; None where no cuts exist, or none are counted.
        cuts: all of them; 0 for neurons of several states.
    """

    layer: str
    differing: int | None
    cuts: int

    def __str__(self) -> str:
        if not self.cuts:
            return f"layer {self.layer}: cuts of neurons with several states are not counted"
        if self.differing is None:
            return f"layer {self.layer}: no integer cuts exist, since it adds recurrent sums in floating point"
        return f"layer {self.layer}: {self.differing} of {self.cuts} cuts differ from those of the integer rule"


def differing_cuts(net: Network | Sequential, input_shape: Shape | None = None) -> list[DifferingCuts]:
    """Compare a network trained with the float rule with the same weights under the integer rule.

    Args:
        net: with quantized weights and states.
        input_shape: as for `squat.lower`.

    Raises:
        ValueError: where something else than the float rule stands in the way.

    Example:
        >>> import squat
        >>> neuron = squat.LIF(state=squat.Anchored(2), arithmetic="float")
        >>> found = differing_cuts(squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), neuron))
        >>> found[0].cuts
        30
    """
    twin = deepcopy(net)
    for module in twin.modules():
        if isinstance(module, Neuron):
            module.arithmetic = "integer"
    layers = lower(twin, input_shape).neuron_layers
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    found = []
    with torch.no_grad(), evaluating(net):
        for layer, neuron, box in zip(layers, neurons, training_steps(net, layers), strict=True):
            if isinstance(neuron, SeveralStates):
                found.append(DifferingCuts(layer.name, None, 0))
                continue
            low, high = sum_ranges(layer)
            layer, codes = probe(layer), len(neuron.levels)
            count = layer.size * (codes + 1) * (codes - 1)
            if isinstance(neuron, RLIF) and neuron.arithmetic == "float":
                found.append(DifferingCuts(layer.name, None, count))
                continue
            engine, differing = engine_step(layer, "compiled"), 0
            for rows in starts(codes, layer.size):
                pair = [integer_cuts(step, rows, low, high, codes) for step in (box, engine)]
                differing += int((pair[0] != pair[1]).sum())
            found.append(DifferingCuts(layer.name, differing, count))
    return found
