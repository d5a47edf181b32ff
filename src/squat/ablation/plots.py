"""Figures of an ablation. Each function returns a matplotlib figure; nothing here trains or decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from squat.ablation.cells import CELLS
from squat.ablation.schemes import get_scheme
from squat.ablation.tables import Row
from squat.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
NO_SCHEME = "#404040"
NEAR_CHANCE = 15.0
"""Points above chance below which an axis reaches down to it."""
SAME_SIZE = 1.1
"""Ratio of byte counts that a figure draws at one place."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")


def scheme_colors(schemes: Sequence[str]) -> dict[str | None, str]:
    """One colour per scheme, grey for runs that have none."""
    return {None: NO_SCHEME, **{name: COLORS[i % len(COLORS)] for i, name in enumerate(schemes)}}


def readable(scheme: str | None) -> str:
    """A scheme's name for a legend.

    Example:
        >>> readable("threshold_centered")
        'threshold-centred'
    """
    if scheme is None:
        return "float states"
    return scheme.replace("_", "-").replace("centered", "centred")


def accuracy_by_cell(rows: Sequence[Row], schemes: Sequence[str], chance: float) -> Figure:
    """Test accuracy of every cell, one panel per pair of bit widths; small dots are seeds, bars means.

    Args:
        rows: from `summarise`.
        schemes: in the order of their colours.
        chance: accuracy of guessing, percent.
    """
    pairs = _bit_pairs(rows)
    cells = [name for name in CELLS if any(row.cell == name for row in rows)]
    figure, axes = new_figure(max(6.5, 0.9 * len(cells) + 1.5), 3.4 * len(pairs), len(pairs), sharex=True)
    colors = scheme_colors(schemes)
    for axis, (weight_bits, state_bits) in zip(axes[:, 0], pairs, strict=True):
        for position, cell in enumerate(cells):
            shown = [row for row in rows if row.cell == cell and row.test and _fits(row, weight_bits, state_bits)]
            for number, row in enumerate(shown):
                x = position + (number - (len(shown) - 1) / 2) * 0.22
                color = colors[row.at.scheme]
                axis.plot([x] * len(row.test), row.test, "o", color=color, markersize=4, alpha=0.55, mec="none")
                axis.plot([x - 0.09, x + 0.09], [row.mean, row.mean], color=color, linewidth=2.5)
        if chance > axis.get_ylim()[0] - NEAR_CHANCE:
            axis.axhline(chance, color="grey", linewidth=0.8, linestyle=":")
            axis.annotate("chance", (len(cells) - 0.55, chance), color="grey", fontsize=8, ha="right", va="bottom")
        axis.set(title=f"{weight_bits}-bit weights, {state_bits}-bit states", ylabel="test accuracy (%)")
        axis.grid(axis="y", alpha=0.3)
    axes[-1, 0].set_xticks(range(len(cells)), [name.replace("+", "\n+ ") for name in cells], fontsize=8)
    _legend(figure, {readable(name): {"color": color} for name, color in colors.items()})
    return figure


def accuracy_by_bits(rows: Sequence[Row], schemes: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Figure:
    """Mean test accuracy against bit widths, widest first: a line per cell and scheme, the float network dashed.

    Args:
        rows: from `summarise`.
        schemes: in the order of their colours.
        pairs: bit widths of weights and states.
    """
    figure, axes = new_figure(7.5, 4.6)
    axis, colors = axes[0, 0], scheme_colors(schemes)
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(CELLS)}
    pairs = sorted(pairs, reverse=True)
    shown = [row for row in rows if row.mean is not None]
    lines = list(dict.fromkeys((row.cell, row.at.scheme) for row in shown))
    for cell, scheme in lines:
        mine = [row for row in shown if (row.cell, row.at.scheme) == (cell, scheme)]
        if all(row.at.weight_bits is None and row.at.state_bits is None for row in mine):
            axis.axhline(mine[0].mean, color=NO_SCHEME, linewidth=1.4, linestyle="--")
            axis.annotate(cell, (0, mine[0].mean), color=NO_SCHEME, fontsize=8, va="bottom")
            continue
        fitting = ((x, next((row.mean for row in mine if _fits(row, *pair)), None)) for x, pair in enumerate(pairs))
        points = [(x, mean) for x, mean in fitting if mean is not None]
        axis.plot(*zip(*points, strict=True), marker=markers[cell], color=colors[scheme], markersize=6, linewidth=1.2)
    names = [f"{w}" if w == s else f"w{w} s{s}" for w, s in pairs]
    axis.set_xticks(range(len(pairs)), names)
    axis.set(xlabel="bits of weights and states", ylabel="test accuracy (%)")
    axis.grid(alpha=0.3)
    styles: dict[str, dict[str, Any]] = {readable(name): {"color": color} for name, color in colors.items()}
    used = [name for name in markers if any(row.cell == name for row in shown) and name != "float"]
    styles |= {name: {"color": "black", "marker": markers[name], "linestyle": "none"} for name in used}
    _legend(figure, styles)
    return figure


def accuracy_by_bytes(rows: Sequence[Row], schemes: Sequence[str]) -> Figure:
    """Test accuracy against the bytes of weights and states; mean and spread. Cells of equal size are spread sideways.

    Args:
        rows: from `summarise`.
        schemes: in the order of their colours.
    """
    figure, axes = new_figure(7.5, 4.6)
    axis, colors = axes[0, 0], scheme_colors(schemes)
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(CELLS)}
    shown = [row for row in rows if row.mean is not None and row.bytes]
    groups = _by_size(shown)
    largest = max((len(group) for group in groups.values()), default=1)
    span = max(groups, default=1.0) / min(groups, default=1.0)
    step = min(max(span, 2.0) ** (1 / 60), 1.6 ** (1 / largest))
    for size, group in groups.items():
        for number, row in enumerate(group):
            x = size / 1000 * step ** (number - (len(group) - 1) / 2)
            axis.errorbar(
                x, row.mean, row.spread or 0.0, fmt=markers[row.cell], color=colors[row.at.scheme], markersize=7,
                elinewidth=1, capsize=2, alpha=0.9,
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks([size / 1000 for size in groups], [f"{size / 1000:.3g}" for size in groups])
    axis.minorticks_off()
    axis.set(xlabel="weights and states (kB, log scale)", ylabel="test accuracy (%)")
    axis.grid(alpha=0.3)
    styles: dict[str, dict[str, Any]] = {readable(name): {"color": color} for name, color in colors.items()}
    used = [name for name in markers if any(row.cell == name for row in shown)]
    styles |= {name: {"color": "black", "marker": markers[name], "linestyle": "none"} for name in used}
    _legend(figure, styles)
    return figure


def level_placement(schemes: Sequence[str], bits: Sequence[int]) -> Figure:
    """Where each scheme puts its levels, in units of the threshold; 0 and the threshold are marked.

    Args:
        schemes: names of schemes.
        bits: bit widths of states, one panel each.
    """
    figure, axes = new_figure(7.5, 0.7 + (0.55 * len(schemes) + 0.7) * len(bits), len(bits), sharex=True)
    for axis, width in zip(axes[:, 0], bits, strict=True):
        axis.axvline(0.0, color="grey", linewidth=1, linestyle="--")
        axis.axvline(1.0, color="black", linewidth=1)
        for row, name in enumerate(schemes):
            spec = get_scheme(name)(width)
            levels, first = spec.levels().tolist(), spec.first_firing_code()
            color = scheme_colors(schemes)[name]
            axis.plot(levels[:first], [row] * first, "|", color=color, markersize=16, mew=1.6 if width < 7 else 0.4)
            axis.plot(levels[first:], [row] * (len(levels) - first), "^", color=color, markersize=6, mec="none")
        axis.set_yticks(range(len(schemes)), [readable(name) for name in schemes])
        axis.set(ylim=(len(schemes) - 0.4, -0.6))
        axis.set_title(f"{width}-bit states", loc="left")  # the middle belongs to the mark of 0
    axes[-1, 0].set_xlabel("membrane / threshold   (bars: silent levels, triangles: firing levels)")
    axes[0, 0].annotate("0", (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="grey")
    axes[0, 0].annotate("threshold", (1, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    return figure


def _bit_pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    pairs = {(row.at.weight_bits, row.at.state_bits) for row in rows if row.at.weight_bits and row.at.state_bits}
    if not pairs:
        weights = {row.at.weight_bits for row in rows if row.at.weight_bits} or {32}
        states = {row.at.state_bits for row in rows if row.at.state_bits} or {32}
        pairs = {(weight, state) for weight in weights for state in states}
    return sorted(pairs, reverse=True)


def _fits(row: Row, weight_bits: int, state_bits: int) -> bool:
    return row.at.weight_bits in (None, weight_bits) and row.at.state_bits in (None, state_bits)


def _by_size(rows: Sequence[Row]) -> dict[float, list[Row]]:
    """Rows of nearly equal bytes together, under the smallest size of each group."""
    groups: dict[float, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.bytes or 0.0):
        size = row.bytes or 0.0
        last = max(groups, default=0.0)
        groups.setdefault(last if last and size <= SAME_SIZE * last else size, []).append(row)
    return groups


def _legend(figure: Figure, styles: dict[str, dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **({"linewidth": 3} | style), label=label) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)


def draw_trace(axis: Axes, membrane: Sequence[float], levels: Sequence[float] | None, threshold: float) -> None:
    """A membrane over time; its levels as thin lines, its spikes (values above the threshold) as dots.

    Args:
        axis: where to draw.
        membrane: one value per step.
        levels: the levels it lives on; None for a float state.
        threshold: firing threshold.
    """
    for level in levels or ():
        axis.axhline(level, color="#0072b2", linewidth=0.5, alpha=0.45)
    axis.axhline(threshold, color="black", linewidth=1)
    steps = range(len(membrane))
    axis.step(steps, membrane, where="mid", color="#d55e00", linewidth=1.4)
    fired = [step for step in steps if membrane[step] > threshold]
    axis.plot(fired, [membrane[step] for step in fired], "o", color="#d55e00", markersize=4)
