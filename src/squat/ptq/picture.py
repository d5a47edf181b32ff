"""The picture of a comparison: histograms with their levels, states over time, and spike distances by layer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from squat.atomic import atomic_write
from squat.figure import new_figure
from squat.ptq.comparison import Comparison, LayerComparison, StateComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg", "pdf")
_SILENT, _FIRING, _SEEN, _LOW, _HIGH = "#0072b2", "#d55e00", "#9a9a9a", "#56b4e9", "#e69f00"


def checked_path(path: Path) -> Path:
    """`path` if a picture can be written there.

    Raises:
        ValueError: for a missing folder or an unknown ending.
    """
    if path.suffix.lstrip(".") not in ENDINGS:
        raise ValueError(f"{path}: ends in {path.suffix!r}, expected one of .{', .'.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: folder {path.parent} does not exist; make it first")
    return path


def save_picture(comparison: Comparison, path: Path) -> None:
    """Draw and write the picture; see `Comparison.save_picture`."""
    checked_path(path)
    buffer = io.BytesIO()
    draw(comparison).savefig(buffer, format=path.suffix.lstrip("."), dpi=120)
    atomic_write(path, buffer.getvalue())


def draw(comparison: Comparison) -> Figure:
    """The figure: a row per state, histogram beside the course over time, and the distances of spiking layers below."""
    rows = [(layer, state) for layer in comparison.layers for state in layer.states]
    spiking = [layer for layer in comparison.layers if layer.spikes is not None]
    figure, axes = new_figure(11.0, 3.0 * len(rows) + (2.6 if spiking else 0.0), len(rows) + bool(spiking), 2)
    for (layer, state), (left, right) in zip(rows, axes, strict=False):
        _histogram(left, layer, state)
        _over_time(right, state)
    if spiking:
        _distances(axes[-1][0], axes[-1][1], spiking)
    return figure


def _histogram(axis: Axes, layer: LayerComparison, state: StateComparison) -> None:
    counts = state.histogram
    width = (state.histogram_high - state.histogram_low) / len(counts)
    lefts = [state.histogram_low + width * number for number in range(len(counts))]
    axis.bar(lefts, counts, width, align="edge", color=_SEEN)
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.5)
    if state.spec is not None:
        levels, first = state.spec.levels(state.unit).tolist(), state.spec.first_firing_code(state.unit)
        first = first if state.state == "u" else len(levels)
        for code, level in enumerate(levels):
            axis.axvline(level, color=_FIRING if code >= first else _SILENT, linewidth=0.5 if len(levels) > 32 else 1.0)
    if state.state == "u":
        axis.axvline(layer.threshold, color="black", linewidth=1.2, linestyle="--")
    spec = "float" if state.spec is None else f"{type(state.spec).__name__}, {state.spec.bits} bit"
    shares = f"{state.saturated_low:.1%} below, {state.saturated_high:.1%} above the levels"
    axis.set_title(f"layer {layer.layer} {layer.kind}.{state.state} on {spec}: {shares}", loc="left", fontsize=9)
    axis.set(xlabel="float state (blue: silent levels, red: firing, dashed: threshold)", ylabel="count")


def _over_time(axis: Axes, state: StateComparison) -> None:
    steps = range(len(state.mean))
    bands = [[m - s, m + s] for m, s in zip(state.mean, state.spread, strict=True)]
    axis.fill_between(steps, [low for low, _ in bands], [high for _, high in bands], color=_SEEN, alpha=0.4, lw=0)
    axis.plot(steps, state.mean, color="black", linewidth=1.2, label="mean ± spread")
    axis.set(xlabel="step", ylabel="float state")
    shares = axis.twinx()
    shares.plot(steps, [100 * share for share in state.below], color=_LOW, label="below the levels")
    shares.plot(steps, [100 * share for share in state.above], color=_HIGH, label="above the levels")
    shares.set_ylabel("saturated (%)")
    shares.set_ylim(0, max(5.0, 105 * max(*state.below, *state.above)))
    handles = [*axis.get_lines(), *shares.get_lines()]
    axis.legend(
        handles,
        [str(line.get_label()) for line in handles],
        frameon=False,
        fontsize=8,
        ncols=3,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )


def _distances(left: Axes, right: Axes, layers: list[LayerComparison]) -> None:
    names = [f"{layer.layer} {layer.kind}" for layer in layers]
    found = [layer.spikes for layer in layers if layer.spikes is not None]
    places = range(len(names))
    left.bar(
        [p - 0.2 for p in places], [s.van_rossum for s in found], 0.38, color=_FIRING, label="to the float network"
    )
    left.bar([p + 0.2 for p in places], [s.van_rossum_to_silence for s in found], 0.38, color=_SEEN, label="of silence")
    left.set(ylabel="van Rossum distance")
    left.legend(frameon=False, fontsize=8)
    right.bar([p - 0.2 for p in places], [s.count_difference for s in found], 0.38, color=_FIRING, label="absolute")
    right.bar([p + 0.2 for p in places], [s.count_change for s in found], 0.38, color=_LOW, label="signed")
    right.axhline(0.0, color="black", linewidth=0.8)
    right.set(ylabel="difference in spikes per train")
    right.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        axis.set_xticks(list(places), names)
        axis.set_xlim(-0.7, len(names) - 0.3)
