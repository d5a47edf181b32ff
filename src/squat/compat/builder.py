"""What the converters share: the layers made so far, what lies ahead, and the options of the conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from squat.compat.structure import Link
from squat.layers import Dropout, Flatten, SumPool2d, Unflatten
from squat.layers.tap import Tap
from squat.layers.weighted import WeightedLayer
from squat.surrogate import Surrogate
from squat.text import brief

PASSED = (Dropout, Flatten, Unflatten, Tap)
PASSED_NAMES = ("dropout", "flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "identity")
"""Layers, and what becomes of such, that leave spikes spikes."""


@dataclass
class Builder:
    """The network under construction.

    Attributes:
        links: the chain that is converted.
        surrogate: what every neuron gets in place of its own surrogate; None to keep that.
        arithmetic: rule of the neurons whose states are quantized already.
        layers: what was made of the links so far.
        at: position of the link that is converted now.
        input_scale: what the inputs of the next layer with weights are worth, where a pool hands on sums.
        input_max: the largest of them.
    """

    links: list[Link]
    surrogate: Surrogate | None
    arithmetic: str
    layers: list[nn.Module] = field(default_factory=list)
    at: int = 0
    input_scale: float = 1.0
    input_max: int = 1

    __repr__ = brief

    def input_arguments(self, link: Link) -> dict[str, Any]:
        """Arguments of the inputs of a layer with weights; sums end here. An example may show that they are signed."""
        arguments = {"input_scale": self.input_scale, "input_max": self.input_max}
        lowest = min((float(x.min()) for x in link.inputs if bool((x == x.round()).all())), default=0.0)
        arguments |= {"input_min": int(lowest)} if lowest < 0 else {}
        self.input_scale, self.input_max = 1.0, 1
        return arguments

    def follows_spikes(self) -> bool:
        """Whether the next layer gets spikes: behind a neuron that fires, perhaps flattened."""
        behind: list[Any] = [layer for layer in self.layers if not isinstance(layer, PASSED)]
        return bool(behind) and hasattr(behind[-1], "set_state_spec") and behind[-1].spiking

    def precedes(self, *keys: str) -> bool:
        """Whether a link with one of these keys comes next, perhaps flattened before."""
        ahead = [link.key for link in self.links[self.at + 1 :]]
        kept = [key for key in ahead if not key.split(".")[1].lower().startswith(PASSED_NAMES)]
        return bool(kept) and kept[0] in keys

    def axes(self, link: Link) -> int | None:
        """Axes of one step that a link is given, the batch's included; None where nothing tells."""
        if link.inputs:
            return link.inputs[0].dim()
        for layer in reversed(self.layers):
            if isinstance(layer, Flatten):
                return 2
            if isinstance(layer, Unflatten):
                return 1 + len(layer.shape)
            if isinstance(layer, WeightedLayer | SumPool2d):
                return len(layer.axes) - 1
        return None


def copy_parameter(target: Tensor, source: Tensor) -> None:
    """Values, and whether they are trained."""
    target.data.copy_(source.detach().reshape(target.shape))  # kernels of signals have one row
    target.requires_grad_(source.requires_grad)
