"""The membrane of one hidden neuron of a saved network, on one sample: what the trace figure shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from squat.ablation.grid import Coordinates
from squat.ablation.plots import draw_trace, new_figure, readable
from squat.ablation.results import Results
from squat.text import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS_TO_SHOW = ("qat+squat", "squat", "ptq", "qat+state-ptq", "state-ptq")


@dataclass(frozen=True)
class Trace:
    """One neuron's membrane over time.

    Args:
        label: which network.
        neuron: index in the first layer of neurons.
        membrane: one value per step.
        levels: the levels of its state; None for float.
        threshold: firing threshold.
    """

    label: str
    neuron: int
    membrane: tuple[float, ...]
    levels: tuple[float, ...] | None
    threshold: float

    __repr__ = brief


def membrane_trace(network: Any, x: Any, label: str) -> Trace:
    """Follows the first layer of neurons through one sample and picks a neuron of middling activity.

    Args:
        network: a `Network`.
        x: inputs [T, 1, ...].
        label: for the figure.

    Raises:
        ValueError: if the network has no neurons.
    """
    import torch

    with torch.no_grad():
        for layer in network.layers:
            if hasattr(layer, "set_state_spec"):
                membranes = _membranes(layer, x).flatten(1)
                break
            x = layer(x)
        else:
            raise ValueError(f"{label}: the network has no layer of neurons")
    threshold = float(torch.as_tensor(layer.threshold).flatten()[0])
    spikes = (membranes > threshold).sum(0)
    changing = (spikes > 0) & (spikes < len(membranes))  # one that fires at every step shows nothing
    firing = spikes[changing if bool(changing.any()) else spikes > 0]
    wanted = max(1.0, float(firing.float().median())) if len(firing) else 0.0
    neuron = int((spikes - wanted).abs().argmin())
    levels = None if layer.state_spec is None else tuple(layer.state_spec.levels(threshold).tolist())
    return Trace(label, neuron, tuple(membranes[:, neuron].tolist()), levels, threshold)


def _membranes(layer: Any, x: Any) -> Any:
    """Membranes [T, ...] of the one sample, step by step with the state carried over."""
    import torch

    from squat.layers.current import Current

    steps = x.z.shape[0] if isinstance(x, Current) else x.shape[0]
    state, membranes = None, []
    for step in range(steps):
        part = x._replace(z=x.z[step : step + 1]) if isinstance(x, Current) else x[step : step + 1]
        _, state = layer(part, state)
        membranes.append(state.u[0])
    return torch.stack(membranes)


def traces(results: Results, sample: Any, load: Any) -> list[Trace]:
    """Traces for the figure: one per scheme, from the first cell that has quantized states, and one of `float`.

    Args:
        results: a results folder, read.
        sample: inputs [T, 1, ...] of one validation sample.
        load: `squat.load`.

    Returns:
        the traces of networks that are in the folder; empty if there is none.
    """
    found = []
    weight_bits, state_bits = results.config.pairs[0]
    wanted = [(cell, scheme) for scheme in results.config.schemes for cell in CELLS_TO_SHOW if cell in results.cells]
    seen: set[str | None] = set()
    for cell, scheme in [*wanted, *([("float", None)] if "float" in results.cells else [])]:
        record = next(iter(results.runs(cell, _at(cell, scheme, weight_bits, state_bits)).values()), None)
        if scheme in seen or record is None or not results.folder.network(record["id"]).exists():
            continue
        seen.add(scheme)
        label = cell if scheme is None else f"{cell}, {readable(scheme)}, {state_bits}-bit states"
        found.append(membrane_trace(load(results.folder.network(record["id"])), sample, label))
    return found


def _at(cell: str, scheme: str | None, weight_bits: int, state_bits: int) -> Coordinates:
    from squat.ablation.cells import get_cell

    return Coordinates(scheme, weight_bits, state_bits).within(get_cell(cell))


def trace_figure(found: list[Trace]) -> Figure:
    """The traces under each other, thin lines for levels, dots for spikes.

    Args:
        found: at least one trace.
    """
    figure, axes = new_figure(7.5, 1.9 * len(found) + 0.5, len(found), sharex=True)
    for axis, trace in zip(axes[:, 0], found, strict=True):
        draw_trace(axis, trace.membrane, trace.levels, trace.threshold)
        axis.set_title(f"{trace.label}: hidden neuron {trace.neuron}", fontsize=9)
        axis.set_ylabel("membrane")
    axes[-1, 0].set_xlabel("time step   (thin lines: levels, black: threshold, dots: spikes)")
    return figure
