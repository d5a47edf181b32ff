"""The record of a run as Markdown; `write` puts JSON, Markdown and the figure into a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import COPY, FLOORS, SQUAT, STACKS
from benchmarks.targets import judge_all, plain, ratio, target_cells
from squat.atomic import atomic_path

Record = dict[str, Any]
FILES = ("benchmark.json", "benchmark.md", "benchmark.png")
SMOKE = "**Smoke run: everything in tiny, to see that it works. These numbers are no measurement.**"


def markdown(record: Record) -> str:
    """The whole page."""
    sections = [
        ["# Speed and memory", *([SMOKE] if record["smoke_run"] else []), *_conditions(record)],
        ["## Targets", table(("case", "required", "measured", "reached"), map(target_cells, judge_all(record)))],
    ]
    for family, title in TITLES.items():
        cases = [case for case in record["cases"] if case["family"] == family]
        if cases:
            sections.append([f"## {title}", _loop_table(cases) if family.endswith("loop") else _times(cases)])
    memory = [case for case in record["cases"] if case["memory"]]
    if memory:
        sections.append(["## Peak memory", MEMORY, _memory_table(memory)])
    if record["start"]:
        sections.append(["## Before the first step", START, _start_table(record["start"])])
    if record["curves"]:
        sections.append(["## Scaling", SCALING, _curve_table(record["curves"])])
    skipped = {f"{stack}: {reason}" for case in record["cases"] for stack, reason in case["skipped"].items()}
    if skipped:
        sections.append(["## Left out", "\n".join(f"- {line}" for line in sorted(skipped))])
    return "\n\n".join(part for section in sections for part in section) + "\n"


TITLES = {
    "benchmarks.networks": "Networks",
    "benchmarks.quantizer": "The state quantizer alone",
    "benchmarks.dropin": "An unchanged snnTorch network with squat's state quantizer, against snnTorch's own",
    "benchmarks.currents": "Neurons with a synaptic current, both states quantized, against snnTorch's Synaptic",
    "benchmarks.loop": "The neuron loop alone, as a multiple of the memory copy",
    "benchmarks.stream": "One sample, one step at a time",
    "benchmarks.engine": "The integer engine: a batch of 64 sequences",
}
MEMORY = (
    "Peak resident memory, in MiB, of building the network and three training steps, input data included, above what "
    "the same process held after three such steps of a tiny network (libraries imported, compiled loops loaded). Each "
    "stack in its own process; in brackets squat's share of it."
)
START = (
    "Seconds in a fresh process, one process each; building includes what is imported on first use. These are in no "
    "other row: all others are warm."
)
SCALING = (
    "Training steps of the 4-bit networks with one size varied: median milliseconds of squat by size, and the slope in "
    "log-log coordinates over the upper half of the sizes (1: cost grows as the size does), of squat and of the dense "
    "matrix products."
)


def _conditions(record: Record) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in record["versions"].items())
    load = record["load"]["before"][0], record["load"]["after"][0]
    return [
        f"{record['machine']}; threads: {max(record['threads'])} (curves: {', '.join(map(str, record['threads']))}); "
        f"load {load[0]:.2f} before the run, {load[1]:.2f} at its end. Python {record['python']}, {versions}; "
        f"squat's source {record['source']}. Pixels: {record['pixels']}.",
        f"Stacks take turns, up to {record['repetitions']} times, in one process, after one turn that does not count. "
        "Milliseconds are medians and hold for this machine only; a ratio is the median of the ratios within each "
        "turn, with the lowest and the highest. Every case ran its equality tests first: spikes equal to snnTorch's "
        "(float rule, weights on both grids) and to those of squat's reference, gradients close. SpikingJelly and "
        "Norse are float and their neurons differ a little.",
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _times(cases: list[Record]) -> str:
    """A row per case and measure: squat's milliseconds, and what each other stack took against it."""
    stacks = _stacks(values for case in cases for values in case["seconds"].values())
    measures = _in_order(measure for case in cases for measure in case["seconds"])
    head = ["case", "measure", "squat, ms"]
    head += [f"over the {s}" if s in FLOORS else f"{s}, ms; times slower than squat" for s in stacks[1:]]
    rows = []
    for measure in measures:
        for case in cases:
            seconds = case["seconds"][measure]
            cells = [_against(seconds, stack) for stack in stacks[1:]]
            rows.append([case["name"], measure, _milliseconds(seconds[SQUAT]), *cells])
    return table(head, rows)


def _against(seconds: dict[str, list[float]], stack: str) -> str:
    if stack not in seconds:
        return "-"
    if stack in FLOORS:
        return _spread(seconds, SQUAT, stack)
    return f"{_milliseconds(seconds[stack])}; {_spread(seconds, stack, SQUAT)}"


def _spread(seconds: dict[str, list[float]], over: str, under: str) -> str:
    found = ratio(seconds, over, under)
    return f"**{plain(found.median)}** ({plain(found.lowest)} to {plain(found.highest)})"


def _milliseconds(values: list[float]) -> str:
    return plain(median(values) * 1e3)


def _loop_table(cases: list[Record]) -> str:
    measures = _in_order(measure for case in cases for measure in case["seconds"])
    widths = _in_order(measure.split(",")[0] for measure in measures)
    rows = []
    for case in cases:
        for way in _in_order(measure.split(", ")[1] for measure in measures):
            found = [case["seconds"].get(f"{width}, {way}") for width in widths]
            rows.append([case["name"], way, *(_spread(seconds, SQUAT, COPY) if seconds else "-" for seconds in found)])
    return table(["case", "way", *widths], rows)


def _memory_table(cases: list[Record]) -> str:
    stacks = _stacks(values for case in cases for values in case["memory"].values())
    rows = []
    for case in cases:
        for measure, values in case["memory"].items():
            mine = values[SQUAT]["added"]
            cells = [_memory_cell(values, stack, mine) for stack in stacks[1:]]
            rows.append([case["name"], measure, plain(mine), *cells])
    return table(["case", "measure", "squat", *stacks[1:]], rows)


def _memory_cell(values: dict[str, Record], stack: str, mine: float) -> str:
    if stack not in values:
        return "-"
    added = values[stack]["added"]
    return f"{plain(added)} ({plain(mine / added) if added > 0 else '-'})"


def _start_table(rows: list[Record]) -> str:
    lines = []
    for row in rows:
        imports = ", ".join(f"{name} {plain(value)}" for name, value in row["seconds"].items() if "import" in name)
        others = [plain(row["seconds"][name]) for name in ("build", "first step", "second step")]
        lines.append([row["name"], imports, *others])
    return table(["process", "imports", "build the network", "first step", "second step"], lines)


def _curve_table(curves: list[Record]) -> str:
    rows = []
    for curve in curves:
        squat = points(curve, SQUAT)
        floor = next(stack for stack in FLOORS if stack in next(iter(curve["seconds"].values())))
        times = ", ".join(f"{size:g}: {plain(seconds * 1e3)}" for size, seconds in squat)
        slopes = [plain(slope(found)) for found in (squat, points(curve, floor))]
        rows.append([curve["name"].removeprefix("curve-"), str(curve["threads"]), times, *slopes])
    return table(["network, size", "threads", "squat, ms", "slope", "slope of the products"], rows)


def points(curve: Record, stack: str) -> list[tuple[float, float]]:
    """Size and median seconds."""
    return [(float(measure), median(seconds[stack])) for measure, seconds in curve["seconds"].items()]


def slope(found: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of log seconds over log size, upper half of the sizes.

    Example:
        >>> round(slope([(1, 9.0), (10, 10.0), (100, 100.0), (1000, 1000.0)]), 3)
        1.0
    """
    upper = [(math.log(size), math.log(seconds)) for size, seconds in found[len(found) // 2 :]]
    x, y = (sum(values) / len(upper) for values in zip(*upper, strict=True))
    spread = sum((size - x) ** 2 for size, _ in upper)
    return sum((size - x) * (seconds - y) for size, seconds in upper) / spread if spread else math.nan


def _stacks(rows: Iterable[Record]) -> list[str]:
    found = {stack for row in rows for stack in row}
    return [stack for stack in STACKS if stack in found]


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def write(record: Record, folder: Path) -> list[Path]:
    """JSON, Markdown and the figure, each replaced in one step."""
    from benchmarks.figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    document = {**record, "targets": judge_all(record)}
    makers: tuple[Callable[[Path], object], ...] = (
        lambda path: path.write_text(json.dumps(document, indent=1) + "\n"),
        lambda path: path.write_text(markdown(record)),
        lambda path: draw(record).savefig(path, dpi=130, format="png"),
    )
    for name, make in zip(FILES, makers, strict=True):
        with atomic_path(folder / name) as draft:
            make(draft)
    return [folder / name for name in FILES]
