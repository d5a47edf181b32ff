"""`compare`: how far the spikes of a converted network agree with those of the network of snnTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_type
from squat.compat.convert import links_of
from squat.compat.replay import Seen, run_beside
from squat.layers.sequential import Sequential
from squat.text import MORE, brief, columns, on_screen


@dataclass(frozen=True)
class LayerComparison:
    """One layer of neurons.

    Attributes:
        layer: its name in the network of snnTorch.
        kind: its class in squat.
        values: outputs compared: steps x samples x neurons.
        rate: share of them that are spikes (snnTorch's).
        given_inputs: share of the outputs that differ where the layer of squat is given what snnTorch's was given. For
            recurrent layers that is the input of the Linear that it took in, so float sums may differ here too.
        free_running: share that differ in the whole networks, each on its own.
    """

    layer: str
    kind: str
    values: int
    rate: float
    given_inputs: float
    free_running: float

    __repr__ = brief


@dataclass(frozen=True, repr=False)
class Comparison:
    """Result of `compare`, one row per layer of neurons; its text is a table."""

    rows: tuple[LayerComparison, ...]

    @property
    def differing(self) -> float:
        """The largest share of outputs that differ when the networks run freely."""
        return max((row.free_running for row in self.rows), default=0.0)

    def __str__(self) -> str:
        head = ("layer", "class", "outputs", "spike rate", "differing, same inputs", "differing, free-running")
        return columns(head, map(_cells, self.rows))

    def __repr__(self) -> str:
        return on_screen(str(self), MORE)


@torch.no_grad()
def compare(net: nn.Module, converted: Sequential, x: Any, by_step: bool | None = None) -> Comparison:
    """Run a network of snnTorch and what `from_snntorch` made of it on the same input, and count what differs.

    Args:
        net: the network of snnTorch, in which no state is left behind.
        converted: its conversion, in float or quantized.
        x: what `net` is called with, or a tuple of its arguments; with `by_step` a sequence `[T, B, ...]`.
        by_step: whether `net` runs one step per call and keeps its states itself (`init_hidden=True`); None for True
            with an `nn.Sequential`, else False.

    Returns:
        A `Comparison`.

    Raises:
        TypeError: if `converted` is no `Sequential`.
        ValueError: if `net` cannot be traced, or the networks have other layers of neurons.

    Example:
        >>> from squat.compat import from_snntorch
        >>> net = nn.Sequential(nn.Linear(3, 2))
        >>> compare(net, from_snntorch(net), torch.ones(5, 1, 3)).differing
        0.0
    """
    check_type("converted", converted, Sequential, "what squat.from_snntorch returned")
    by_step = type(net) is nn.Sequential if by_step is None else by_step
    try:
        links = links_of(_Loop(net) if by_step else net, x)
        alone = run_beside(converted, links, forced=True)[0]
        running = run_beside(converted, links, forced=False)[0]
    except (RuntimeError, ValueError) as error:
        if by_step:
            raise
        raise ValueError(
            f"{error}; if net runs one step per call and keeps its states itself, pass by_step=True with x [T, B, ...]"
        ) from error
    return Comparison(tuple(_row(one, other, by_step) for one, other in zip(alone, running, strict=True)))


def _cells(row: LayerComparison) -> tuple[str, ...]:
    shares = f"{row.given_inputs:.3%}", f"{row.free_running:.3%}"
    return row.layer, row.kind, f"{row.values}", f"{row.rate:.4f}", *shares


class _Loop(nn.Module):
    """One step per call, over a sequence."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> list[Any]:
        return [self.net(step) for step in x]


def _row(alone: Seen, running: Seen, by_step: bool) -> LayerComparison:
    link, expected = alone.link, torch.stack(alone.link.outputs)
    shares = [float((out != expected).double().mean()) for out in (alone.out, running.out)]
    rate = float((expected != 0).double().mean())
    name = link.name.removeprefix("net.") if by_step else link.name
    return LayerComparison(name, type(alone.layer).__name__, expected.numel(), rate, *shares)
