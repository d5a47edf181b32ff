"""The states of a layer of neurons by name, each with its spec: `u`, the membrane, and what else its state tuple has.

A neuron of several states has `equations`, with `states` (names, the membrane last) and `in_thresholds` (whether the
levels of a state are in units of the threshold), `specs` in that order, and `spec_arguments`, the attributes that hold
the specs of all but the membrane: a spec, None for a float state, or `"same"` as the membrane. A `SpikingLSTM` fires
from its hidden state, which counts as its membrane, and has a cell state beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squat.neurons import SpikingLSTM
from squat.quant.spec import StateSpec
from squat.text import brief

MEMBRANE = "u"


@dataclass(frozen=True)
class StateSlot:
    """One state of one layer.

    Attributes:
        name: in the layer's state tuple.
        spec: its present spec, None for a float state.
        unit: what a level of 1 is worth: the threshold, or 1.
        argument: attribute of the layer that holds the spec, None for the membrane.
    """

    name: str
    spec: StateSpec | None
    unit: float
    argument: str | None

    __repr__ = brief

    @property
    def ends(self) -> tuple[float, float] | None:
        """Lowest and highest level, None for a float state."""
        if self.spec is None:
            return None
        levels = self.spec.levels(self.unit)
        return float(levels[0]), float(levels[-1])


def slots_of(layer: Any) -> dict[str, StateSlot]:
    """Every state of a layer, by name."""
    threshold = float(layer.threshold.detach().flatten()[0])  # of several, no levels are in units
    slots = {}
    if hasattr(layer, "equations"):
        names, units = layer.equations.states, layer.equations.in_thresholds
        for name, spec, scaled, argument in zip(names, layer.specs, units, layer.spec_arguments, strict=False):
            slots[name] = StateSlot(name, spec, threshold if scaled else 1.0, argument)
    if isinstance(layer, SpikingLSTM):
        slots["cell"] = StateSlot("cell", layer.cell_spec, threshold, "cell_state")
    slots[MEMBRANE] = StateSlot(MEMBRANE, layer.state_spec, threshold, None)
    return slots


def set_spec(layer: Any, slot: StateSlot, spec: StateSpec) -> None:
    """Give a state its spec, in place."""
    if slot.argument is not None:
        setattr(layer, slot.argument, spec)
    layer.set_state_spec(spec if slot.argument is None else layer.state_spec)  # refreshes what depends on either


def follows_membrane(layer: Any, slot: StateSlot) -> bool:
    """Whether a state has no spec of its own, so that a spec for all states of a layer is its spec too."""
    return slot.argument is None or getattr(layer, slot.argument) == "same"
