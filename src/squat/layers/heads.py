"""`Heads`: several chains of layers on one input, their outputs side by side, states carried."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_type
from squat.layers.current import Current
from squat.layers.sequential import Sequential
from squat.text import OnScreen


class Heads(OnScreen, nn.Module):
    """Gives every head the same input, and what they give side by side: `out = [head0(x), head1(x), ...]`.

    Outputs are joined along the axis of features (channels), `[T, B, N0 + N1 + ...]`, in which `split` cuts them apart
    again. A head that ends in a layer with integer weights gives its currents as floats. A machine of integers has one
    end: `squat.lower` takes a network for each head, `Sequential(*net.layers[:-1], *net[-1].heads[0].layers)`.

    Args:
        *heads: a `Sequential` each, two or more; the states of their neurons are carried.

    Attributes:
        sizes: how many features (channels) each head gave in the last call; empty before the first.

    Raises:
        TypeError: for other types.
        ValueError: for less than two heads; in forward, where the outputs do not fit side by side.

    Source: heads on shared layers: Caruana 1997, "Multitask learning", Machine Learning 28,
    doi 10.1023/A:1007379606734.

    Example:
        >>> from squat import LIF, Linear
        >>> net = Sequential(Linear(8, 6), LIF(), Heads(Sequential(Linear(6, 4), LIF()), Sequential(Linear(6, 2))))
        >>> out, states = net(torch.ones(5, 1, 8))
        >>> [tuple(part.shape) for part in (out, *net[2].split(out))]
        [(5, 1, 6), (5, 1, 4), (5, 1, 2)]
    """

    carries_state = True

    def __init__(self, *heads: Sequential) -> None:
        super().__init__()
        for index, head in enumerate(heads):
            check_type(f"heads[{index}]", head, Sequential, "a squat.Sequential", "wrap the layers of each head in one")
        if len(heads) < 2:
            raise ValueError(
                f"heads: {len(heads)} given, expected at least two; layers of one follow in the Sequential"
            )
        self.heads = nn.ModuleList(heads)
        self.sizes: tuple[int, ...] = ()
        self._axis = -1  # from the end, so that it is the same in a sequence, one step, and counts

    def forward(self, x: Tensor | Current, states: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """The outputs side by side `[T, B, N0 + N1 + ...]`, and the states of all heads.

        Args:
            x: `[T, B, ...]`.
            states: what an earlier call returned, to continue a sequence.
        """
        states = (None,) * len(self.heads) if states is None else states
        if len(states) != len(self.heads):
            raise ValueError(f"states: {len(states)} entries, expected {len(self.heads)}, one for each head")
        ran = [head(x, state) for head, state in zip(self.heads, states, strict=True)]
        outs = [out.dense() if isinstance(out, Current) else out for out, _ in ran]
        if len({(*out.shape[:2], *out.shape[3:]) for out in outs}) > 1:
            shapes = ", ".join(str(tuple(out.shape)) for out in outs)
            raise ValueError(
                f"x: the heads give {shapes}; expected equal shapes but for axis 2: put a Flatten behind them"
            )
        self.sizes, self._axis = tuple(out.shape[2] for out in outs), 2 - outs[0].dim()
        return torch.cat(outs, 2), tuple(state for _, state in ran)

    def step(self, x: Tensor, states: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """One time step: `x [B, ...]` and the states of the step before."""
        out, states = self.forward(x.unsqueeze(0), states)
        return out[0], states

    def split(self, out: Tensor) -> tuple[Tensor, ...]:
        """What each head gave, of an output of the last call's sizes.

        Args:
            out: what the network gave: a sequence `[T, B, ...]`, one step, or sums over steps `[B, ...]`.

        Raises:
            ValueError: before the first call, and for another number of features.
        """
        if not self.sizes:
            raise ValueError("sizes: unknown before the first call; run the network first")
        if out.dim() < -self._axis or out.shape[self._axis] != sum(self.sizes):
            raise ValueError(
                f"out: shape {tuple(out.shape)}, expected {sum(self.sizes)} features on axis {self._axis}, which are "
                f"{' + '.join(map(str, self.sizes))} of the heads"
            )
        return out.split(self.sizes, self._axis)
