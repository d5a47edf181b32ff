"""What the converters share: the layers made so far, what lies ahead, and the options of the conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from squat.compat.structure import Link
from squat.layers import Dropout, Flatten
from squat.layers.tap import Tap
from squat.surrogate import Surrogate
from squat.text import brief


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
        dropout: probability that one of them is dropped in training.
    """

    links: list[Link]
    surrogate: Surrogate | None
    arithmetic: str
    layers: list[nn.Module] = field(default_factory=list)
    at: int = 0
    input_scale: float = 1.0
    input_max: int = 1
    dropout: float | None = None

    __repr__ = brief

    def input_arguments(self) -> dict[str, Any]:
        """`input_scale` and `input_max` for a layer with weights; sums end here."""
        arguments = {"input_scale": self.input_scale, "input_max": self.input_max}
        self.input_scale, self.input_max = 1.0, 1
        return arguments

    def follows_spikes(self) -> bool:
        """Whether the next layer gets spikes: behind a neuron that fires, perhaps flattened."""
        behind: list[Any] = [layer for layer in self.layers if not isinstance(layer, Flatten | Dropout | Tap)]
        return bool(behind) and hasattr(behind[-1], "set_state_spec") and behind[-1].spiking

    def precedes(self, *keys: str) -> bool:
        """Whether a link with one of these keys comes next, perhaps flattened before."""
        ahead = [link.key for link in self.links[self.at + 1 :]]
        kept = [key for key in ahead if key.split(".")[1].lower() not in ("flatten", "view", "reshape", "dropout")]
        return bool(kept) and kept[0] in keys


def copy_parameter(target: Tensor, source: Tensor) -> None:
    """Values, and whether they are trained."""
    target.data.copy_(source.detach())
    target.requires_grad_(source.requires_grad)
