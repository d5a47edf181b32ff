"""What the layers of a network do on data: spikes, silent neurons and float membranes; one pass, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from squat.layers.current import Current
from squat.layers.tap import Tap
from squat.ptq.over_time import StateObservation
from squat.text import brief


@dataclass
class LayerObservation:
    """One layer of neurons on some data.

    Attributes:
        spikes: spikes of each neuron, summed over steps and samples; None until something was seen, or not spiking.
        opportunities: steps times samples.
        states: what each float state did, by its name in the layer's state tuple; empty unless they were asked for.
    """

    spikes: Tensor | None = None
    opportunities: int = 0
    states: dict[str, StateObservation] = field(default_factory=dict)

    __repr__ = brief

    @property
    def rate(self) -> float | None:
        """Spikes per neuron and step, None for a layer that does not spike."""
        return None if self.spikes is None else float(self.spikes.mean()) / max(self.opportunities, 1)

    @property
    def silent(self) -> float | None:
        """Share of neurons without a spike, None for a layer that does not spike."""
        return None if self.spikes is None else float((self.spikes == 0).double().mean())

    def add_spikes(self, spikes: Tensor) -> None:
        """Count the spikes `[T, B, ...]` of one batch."""
        total = spikes.sum((0, 1), dtype=torch.float64).cpu()
        self.spikes = total if self.spikes is None else self.spikes + total

    def add_states(self, states: dict[str, Tensor]) -> None:
        """Watch states `[T, B, ...]` of one batch, by name."""
        for name, values in states.items():
            self.states.setdefault(name, StateObservation()).add(values)


def layers_of(net: Any) -> dict[str, Any]:
    """The layers of a `Network` or a `Sequential`, by position.

    Raises:
        ValueError: a layer holds neurons of its own inside.
    """
    stack = net.layers if hasattr(net, "readout") else net
    layers = {str(position): layer for position, layer in enumerate(stack) if not isinstance(layer, Tap)}
    for name, layer in layers.items():
        if getattr(layer, "carries_state", False) and not hasattr(layer, "set_state_spec"):
            raise ValueError(
                f"layer {name} ({type(layer).__name__}): its neurons cannot be calibrated; expected layers and neurons "
                "in one Sequential, without branches"
            )
    return layers


def neurons_of(net: Any) -> dict[str, Any]:
    """The layers with a neuron state, by position."""
    return {name: layer for name, layer in layers_of(net).items() if hasattr(layer, "set_state_spec")}


@torch.no_grad()
def observe(net: nn.Module, batches: Iterable[Tensor], *, membranes: bool) -> tuple[dict[str, LayerObservation], int]:
    """Run `net` layer by layer over the batches.

    Args:
        net: a `Network` or `Sequential`.
        batches: inputs `[T, B, ...]`.
        membranes: whether to watch the states; neurons then run step by step, to show every membrane.

    Returns:
        An observation for each layer of neurons, by position, and the number of samples.
    """
    seen = {name: LayerObservation() for name in neurons_of(net)}
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    samples = 0
    for x in batches:
        samples += x.shape[1]
        current: Any = x.to(device)
        for name, layer in layers_of(net).items():
            current = _through_neurons(layer, current, seen[name], membranes) if name in seen else layer(current)
    return seen, samples


def _through_neurons(layer: Any, x: Tensor | Current, seen: LayerObservation, membranes: bool) -> Tensor:
    if membranes:
        out, states = by_steps(layer, x)
        seen.add_states(states)
    else:
        out = layer(x)[0]
    seen.opportunities += out.shape[0] * out.shape[1]
    if layer.spiking:
        seen.add_spikes(out)
    return out


def by_steps(layer: Any, x: Tensor | Current) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and every float state `[T, B, ...]`, by its name in the layer's state tuple.

    The carried state is the one place where any neuron shows its membrane.
    """
    state, outputs, seen = None, [], []
    steps = x.z.shape[0] if isinstance(x, Current) else x.shape[0]
    for t in range(steps):
        now = x._replace(z=x.z[t : t + 1]) if isinstance(x, Current) else x[t : t + 1]
        out, state = layer(now, state)
        outputs.append(out)
        seen.append(_float_parts(state))
    return torch.cat(outputs), {name: torch.stack([parts[name] for parts in seen]) for name in seen[0]}


def _float_parts(state: Any) -> dict[str, Tensor]:
    fields = state._asdict().items()
    return {name: value for name, value in fields if isinstance(value, Tensor) and value.is_floating_point()}
