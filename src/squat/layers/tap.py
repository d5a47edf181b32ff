"""`Tap` and `Membrane`: what hidden layers give, and the membranes of neurons, as outputs of a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from squat.checks import check_type
from squat.layers.current import Current
from squat.neurons.stateful import Stateful
from squat.text import brief


class Tapped(NamedTuple):
    """What went through a `Tap` in one call.

    Attributes:
        out: `[T, B, ...]`, with its gradient.
    """

    out: Tensor

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> Tapped:
        """Without its history."""
        return Tapped(self.out.detach())


_register_namedtuple(Tapped, serialized_type_name="squat.Tapped")


class Tap(nn.Module):
    """Hands on what it gets, and shows it: hidden spikes for a penalty, say, beside the output of a `Sequential`.

    What went through stands in its place among the states that the network returns (`Tapped`); `squat.tapped(states)`
    lists what all taps saw. It is of one call, and ignored where states are passed on. A file keeps taps; machines of
    integers have the spikes of every layer at hand, so that `squat.lower` passes over them.

    Example:
        >>> import torch, squat
        >>> net = squat.Sequential(squat.Linear(3, 4), squat.LIF(), squat.Tap(), squat.Linear(4, 2), squat.LIF())
        >>> spikes, states = net(torch.ones(5, 1, 3))
        >>> [hidden.shape for hidden in squat.tapped(states)]
        [torch.Size([5, 1, 4])]
    """

    carries_state = True

    def forward(self, x: Tensor | Current, state: Tapped | None = None) -> tuple[Tensor | Current, Tapped]:
        """`x` itself, and `x` as `Tapped`.

        Args:
            x: `[T, B, ...]`.
            state: ignored.
        """
        return x, Tapped(x.dense() if isinstance(x, Current) else x)

    def config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


def tapped(states: Any) -> list[Tensor]:
    """What the taps of a network saw in a call, in their order, `[T, B, ...]` each.

    Args:
        states: what the network returned beside its output, also nested, as of a `Residual`.

    Example:
        >>> tapped((None, Tapped(torch.ones(1)), (Tapped(torch.zeros(1)),)))
        [tensor([1.]), tensor([0.])]
    """
    if isinstance(states, Tapped):
        return [states.out]
    return [out for state in states for out in tapped(state)] if type(states) is tuple else []


class Membrane(nn.Module):
    """The membranes of neurons at every step, in place of their spikes: `u[t]` of `neuron`, with its resets.

    The neurons run step by step, which takes longer than in one loop. An `LI` gives the membrane of neurons that
    nothing resets at full speed, and is lowered; membranes that are reset stay in Python: `squat.lower` refuses them.

    Args:
        neuron: a layer of neurons.

    Raises:
        TypeError: for anything else.

    Source: membranes as outputs of networks that fire: Eshraghian et al. 2023, "Training spiking neural networks using
    lessons from deep learning", arXiv 2109.12894.

    Example:
        >>> import squat
        >>> membranes, state = Membrane(squat.LIF(beta=0.5))(torch.full((3, 1, 1), 0.75))
        >>> membranes.flatten().tolist()  # a spike at 1.125 takes 1 off the next step
        [0.75, 1.125, 0.3125]
    """

    carries_state = True

    def __init__(self, neuron: Stateful) -> None:
        super().__init__()
        self.neuron = check_type("neuron", neuron, Stateful, "a layer of neurons such as squat.LIF")

    def forward(self, x: Tensor | Current, state: Any = None) -> tuple[Tensor, Any]:
        """Membranes `[T, B, ...]`, and the state of the neurons at the end.

        Args:
            x: what the neurons take, `[T, B, ...]`.
            state: what an earlier call returned, to continue a sequence.
        """
        membranes = []
        values = x.z if isinstance(x, Current) else x
        for step in values.split(1):
            _, state = self.neuron(x._replace(z=step) if isinstance(x, Current) else step, state)
            membranes.append(state.u)
        return torch.stack(membranes), state

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step: `x [B, ...]` and the state of the step before."""
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state
