"""The figure of a run: training steps, the loop over the copy, and the scaling curves, as far as they were measured."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.cases import AXES, COPY, FLOORS, PRODUCTS, SPECS, SQUAT, TRAINING
from benchmarks.report import points
from benchmarks.targets import ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = dict[str, Any]
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LABELS = {"steps": "time steps", "hidden": "hidden neurons", "batch": "batch", "density": "share of input spikes"}


def draw(record: Record) -> Figure:
    """A grid of the panels that the record has numbers for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(record)
    columns = min(len(panels), 3)
    rows = max(-(-len(panels) // 3), 1)
    figure = Figure(figsize=(5.2 * max(columns, 1), 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        axis = figure.add_subplot(rows, columns, index + 1)
        axis.spines[["top", "right"]].set_visible(False)
        panel(axis)
    if record["smoke_run"]:
        figure.suptitle("smoke run, not a measurement", color="#a00000")
    return figure


def _panels(record: Record) -> list[Callable[[Axes], None]]:
    panels: list[Callable[[Axes], None]] = []
    networks = [case for case in record["cases"] if TRAINING in case["seconds"]]
    if networks:
        panels.append(lambda axis: _training(axis, networks))
    loops = [case for case in record["cases"] if case["family"].endswith(".loop")]
    if loops:
        panels.append(lambda axis: _loops(axis, loops))
    for name in AXES:
        curves = [curve for curve in record["curves"] if curve["settings"]["axis"] == name]
        if curves:
            panels.append(lambda axis, name=name, curves=curves: _curve(axis, name, curves))
    return panels


def _training(axis: Axes, cases: list[Record]) -> None:
    """Time of a training step of every stack over squat's."""
    stacks = list(dict.fromkeys(stack for case in cases for stack in case["seconds"][TRAINING] if stack != SQUAT))
    for stack, color in zip(stacks, COLORS[1:], strict=False):
        rows = [(i, case["seconds"][TRAINING]) for i, case in enumerate(cases) if stack in case["seconds"][TRAINING]]
        found = [ratio(seconds, stack, SQUAT) for _, seconds in rows]
        errors = [[r.median - r.lowest for r in found], [r.highest - r.median for r in found]]
        marker = "|" if stack in FLOORS else "o"
        axis.errorbar(
            [r.median for r in found], [i for i, _ in rows], xerr=errors, fmt=marker, ms=10 if marker == "|" else 5,
            color=color, lw=1, label=stack,
        )  # fmt: skip
    axis.axvline(1.0, color=COLORS[0], label="squat")
    axis.set_xscale("log")
    axis.set_yticks(range(len(cases)), [case["name"] for case in cases], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("time of a training step over squat's")
    axis.legend(fontsize=7, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _loops(axis: Axes, cases: list[Record]) -> None:
    """The loop over the copy, by bits; forward full, backward dashed."""
    for case in cases:
        color = COLORS[SPECS.index(case["settings"]["spec"])]
        marker = "o" if case["settings"]["arithmetic"] == "integer" else "x"
        for way, line in (("forward", "-"), ("backward", "--")):
            found = {int(m.split()[0]): ratio(s, SQUAT, COPY) for m, s in case["seconds"].items() if m.endswith(way)}
            label = case["name"].removeprefix("loop-") if way == "forward" else None
            axis.plot(
                list(found), [r.median for r in found.values()], line, marker=marker, ms=4, color=color, label=label
            )
    axis.axhline(1.5, color="#808080", lw=0.8)
    axis.set_ylim(bottom=0)
    axis.set_xticks(range(2, 9))
    axis.set_xlabel("bits of a state")
    axis.set_ylabel("loop over memory copy (backward dashed)")
    axis.legend(fontsize=6, frameon=False, ncols=2)


def _curve(axis: Axes, name: str, curves: list[Record]) -> None:
    """Seconds of a training step by size; the dense products dotted, a line of slope 1 in grey."""
    for curve in curves:
        color = COLORS[0] if curve["settings"]["kind"] == "feedforward" else COLORS[1]
        line = "-" if curve["threads"] > 1 else "--"
        found = points(curve, SQUAT)
        label = f"{curve['settings']['kind']}, threads: {curve['threads']}"
        axis.plot(*zip(*found, strict=True), line, marker="o", ms=3, color=color, label=label)
        if curve["threads"] == max(other["threads"] for other in curves):
            axis.plot(*zip(*points(curve, PRODUCTS), strict=True), ":", color=color, label="its dense products")
    sizes = [float(measure) for measure in curves[0]["seconds"]]
    last = median(curves[0]["seconds"][next(reversed(curves[0]["seconds"]))][SQUAT])
    axis.plot(sizes, [last * size / sizes[-1] for size in sizes], color="#c0c0c0", lw=0.8, zorder=0)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_xlabel(LABELS[name])
    axis.set_ylabel("training step, seconds")
    axis.legend(fontsize=6, frameon=False)
