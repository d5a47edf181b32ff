"""`Sequential`: layers one after the other, their states carried in a tuple."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from squat.checks import check_dense, check_type
from squat.layers.current import Current
from squat.layers.dropout import Dropout, Dropped
from squat.layers.pool import SumPool2d
from squat.layers.shape import Flatten, Unflatten
from squat.layers.stream import Stream
from squat.layers.weighted import WeightedLayer
from squat.neurons.base import check_sequence
from squat.operators import check_finite
from squat.text import OnScreen

States = tuple[Any, ...]
TAKE_FACTORS = (SumPool2d, Flatten, Unflatten)
"""Layers through which a positive factor goes: what a `Dropout` before them keeps stays integer up to a product."""


class Sequential(OnScreen, nn.Module):
    """Layers one after the other over a whole sequence; neurons' states are carried in one tuple.

    Args:
        *layers: layers and neurons of squat, other `Sequential`s, or stateless torch modules that take `[T, B, ...]`.

    Raises:
        TypeError: if a layer is not a module.
        ValueError: without a layer.

    Example:
        >>> from squat import LIF, IntWeight, Linear, Sequential, Uniform
        >>> net = Sequential(Linear(8, 4, weight=IntWeight(4)), LIF(state=Uniform(4)))
        >>> spikes, states = net(torch.ones(6, 2, 8))
        >>> more_spikes, states = net(torch.ones(6, 2, 8), states)
        >>> more_spikes.shape
        torch.Size([6, 2, 4])
    """

    carries_state = True

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            check_type(f"layers[{index}]", layer, nn.Module, "a layer or neuron (an nn.Module)")
        if not layers:
            raise ValueError("layers: none given, expected at least one layer or neuron")
        self.layers = nn.ModuleList(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> nn.Module:
        return self.layers[index]

    def forward(self, x: Tensor | Current, states: States | None = None) -> tuple[Tensor | Current, States]:
        """Run the sequence through all layers.

        Args:
            x: `[T, B, ...]`, float, or uint8 for counts and pixels; finite. Within another network a `Current` too.
            states: the tuple that an earlier call returned, to continue a sequence.

        Returns:
            Output of the last layer (a `Current` if that is a layer with integer weights), and the tuple of states with
            None for layers without one.

        Raises:
            TypeError: for an input of another dtype.
            ValueError: for less than three axes, no step or sample, NaN or infinity, or a wrong number of states.
        """
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.__dict__.pop("_kept_stream", None)
        checked_later = getattr(self.layers[0], "checks_input", False)
        out: Any = x if isinstance(x, Current) else checked_input(x, checked_later)
        if states is None:
            states = (None,) * len(self.layers)
        if len(states) != len(self.layers):
            raise ValueError(f"states: {len(states)} entries, expected {len(self.layers)}, one for each layer")
        carried = []
        for layer, state in zip(self.layers, states, strict=True):
            if getattr(layer, "carries_state", False):
                out, state = layer(_undropped(out, layer), state)
            elif isinstance(out, Dropped) and isinstance(layer, TAKE_FACTORS):
                out = out._replace(kept=layer(out.kept))
            elif isinstance(out, Dropped) and isinstance(layer, Dropout):
                out = out.dropped(layer(out.kept))
            else:
                out = layer(out if isinstance(layer, WeightedLayer) else _undropped(out, layer))
            carried.append(state)
        return out.dense() if isinstance(out, Dropped) else out, tuple(carried)

    def step(self, x: Tensor, states: States | None = None) -> tuple[Tensor | Current, States]:
        """One time step: `x [B, ...]` and the states of the step before. The output is one step, `[B, ...]`.

        In eval mode and under `torch.no_grad()` quantized weights and tables are kept from call to call. They follow
        every change of a parameter or spec but a write through `.data`, which leaves no trace.
        """
        check_dense("x", x)
        if not self.training and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            stepped = self._stream().step(x, states)
            if stepped is not None:
                return stepped
        out, states = self.forward(x.unsqueeze(0), states)
        return (out._replace(z=out.z[0]) if isinstance(out, Current) else out[0]), states

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or to use; forgets prepared steps, since a fused optimizer's steps leave no trace."""
        self.__dict__.pop("_kept_stream", None)
        return super().train(mode)

    def _stream(self) -> Stream:
        """Prepared steps of the layers as they are now."""
        layers = tuple(self.layers)
        kept: Stream | None = self.__dict__.get("_kept_stream")
        if kept is None or kept.layers != layers:
            kept = self.__dict__["_kept_stream"] = Stream(layers)
        return kept

    def config(self) -> dict[str, Any]:
        """Empty: the layers describe themselves."""
        return {}


def checked_input(x: Tensor, checked_later: bool = False) -> Tensor:
    """The input of a network as a float tensor, or an error: NaN and infinity are never quantized silently.

    `checked_later` says that the first layer refuses them by itself.
    """
    check_dense("x", x)
    if isinstance(x, Tensor) and x.dtype in (torch.uint8, torch.bool):
        x = x.float()
    check_sequence(x)
    if not checked_later:
        check_finite(x[:1] if x.stride(0) == 0 else x)
    return x


def _undropped(x: Any, layer: nn.Module) -> Any:
    """What a `Dropout` has kept at what it is worth, for layers that take no factor."""
    if not isinstance(x, Dropped):
        return x
    if any(getattr(part, "weight_spec", None) is not None for part in layer.modules()):
        raise ValueError(
            f"x: a Dropout stands before {type(layer).__name__}, whose integer weights take no value worth "
            f"{x.worth:g}; put it before a Linear, Conv2d or Conv1d, or behind one"
        )
    return x.dense()
