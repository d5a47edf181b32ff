"""`Residual`: a branch of layers whose output is added to its input, states carried."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from squat.checks import check_type
from squat.layers.current import Current
from squat.layers.sequential import Sequential
from squat.text import OnScreen


class Residual(OnScreen, nn.Module):
    """Adds what a branch gives to what it was given: `out = body(x) + shortcut(x)`, at every time step.

    What is added depends on how the body ends, and the shortcut must end alike:

    - in a neuron: *spikes* are added. Their sums are integers 0, 1, 2 (one more for every residual in a row), so the
      next layer takes `input_max=2`, and stays exact with integer weights.
    - in a layer with weights: *currents* are added, for the neuron behind. Sums of two layers with integer weights have
      two scales, so they are added as floats, and the neuron then follows the float rule.

    `squat.lower` takes the first, behind a layer of neurons, and no shortcut but a `SumPool2d` or `MaxPool2d`.

    Args:
        body: a `Sequential`; its neurons' states are carried.
        shortcut: a stateless layer such as `Conv2d(..., 1, stride=2)`, or None to add `x` itself.

    Raises:
        TypeError: for other types.
        ValueError: in forward, where the shapes of the two differ.

    Source: spikes added: Fang et al. 2021, "Deep residual learning in spiking neural networks", arXiv 2102.04159 (SEW,
    g = ADD); currents added: He et al. 2015, arXiv 1512.03385.

    Example:
        >>> import torch
        >>> from squat import LIF, Conv2d
        >>> block = Residual(Sequential(Conv2d(2, 2, 3, padding=1), LIF()))
        >>> spikes, state = block(torch.ones(5, 1, 2, 4, 4))
        >>> spikes.detach().max() <= 2, len(state)
        (tensor(True), 2)
    """

    carries_state = True

    def __init__(self, body: Sequential, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = check_type("body", body, Sequential, "a squat.Sequential", "wrap the layers in one")
        stateless = shortcut is None or (isinstance(shortcut, nn.Module) and not _carries_state(shortcut))
        if not stateless:
            raise TypeError(
                f"shortcut={type(shortcut).__name__}: expected a layer without a state such as Conv2d or SumPool2d, or "
                "None; put what has a state into the body"
            )
        self.shortcut = shortcut

    def forward(self, x: Tensor | Current, state: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """The sum `[T, B, ...]`, and the states of the body.

        Args:
            x: `[T, B, ...]`.
            state: what an earlier call returned, to continue a sequence.
        """
        grown, state = self.body(x, state)
        grown, kept = _dense(grown), _dense(x if self.shortcut is None else self.shortcut(x))
        if grown.shape != kept.shape:
            raise ValueError(
                f"x: the body gives {tuple(grown.shape)}, the shortcut {tuple(kept.shape)}; expected equal shapes: "
                "give a shortcut such as Conv2d(..., 1, stride) that makes them so"
            )
        return grown + kept.to(grown.dtype), state

    def step(self, x: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """One time step: `x [B, ...]` and the states of the step before."""
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state


def _dense(out: Tensor | Current) -> Tensor:
    return out.dense() if isinstance(out, Current) else out


def _carries_state(module: nn.Module) -> bool:
    return any(getattr(part, "carries_state", False) for part in module.modules())
