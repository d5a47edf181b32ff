"""`Network`: a stack of layers and a readout; what is trained, calibrated, saved and lowered."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from squat.checks import check_type
from squat.layers.current import Current
from squat.layers.sequential import Sequential
from squat.models.readout import Readout
from squat.text import OnScreen


class Network(OnScreen, nn.Module):
    """Layers and a readout: `scores = readout(layers(x))`.

    Args:
        layers: the stack; its last layer is the one the readout needs.
        readout: from its output over time to one score per class.

    Raises:
        TypeError: for other types.

    Example:
        >>> import torch
        >>> from squat.models import AccumulatedCurrent
        >>> from squat.layers import Linear
        >>> net = Network(Sequential(Linear(3, 2)), AccumulatedCurrent())
        >>> net(torch.zeros(5, 4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, layers: Sequential, readout: Readout) -> None:
        super().__init__()
        self.layers = check_type("layers", layers, Sequential, "a squat.Sequential", "wrap the layers in one")
        self.readout = check_type("readout", readout, Readout, "a readout such as AccumulatedCurrent()")

    def forward(self, x: Tensor) -> Tensor:
        """Scores `[B, classes]` of inputs `[T, B, ...]`, each sequence from the initial state."""
        return self.readout(self.layers(x)[0])

    def forward_trace(self, x: Tensor) -> list[Tensor | Current]:
        """Output of every layer, in order, `[T, B, ...]` each: spikes, membranes or currents."""
        outputs: list[Any] = []
        handles = [layer.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for layer in self.layers.layers]
        try:
            self.layers(x)
        finally:
            for handle in handles:
                handle.remove()
        return [output if isinstance(output, Tensor | Current) else output[0] for output in outputs]

    def extra_repr(self) -> str:
        """The readout, which is no module."""
        return f"readout={self.readout}"
