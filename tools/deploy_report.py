"""The table and the figure of `deploy.py`, from its records."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

Record = dict[str, Any]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def markdown(records: list[Record], larger: list[Record], vectors: int) -> str:
    """The tables."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        rate = record["config"]["train"]["learning_rate"]
        bits = (record["weight_bits"], record["state_bits"])
        key = (record["data"], network_of(record), record["cell"], record["scheme"], *bits, rate)
        groups.setdefault(key, []).append(record)
    exact, sizes, cores = [], [], []
    for (*names, weights, states, rate), group in groups.items():
        where = [*names, f"{weights}/{states}"]
        exact.append([*where, f"{rate:g}", *_exactness(group)])
        kept = next((record for record in group if "cortex_m" in record), None)
        if kept:
            sizes.append([*where, *_sizes(kept)])
            cores += [[*where, *_core(found)] for found in kept["cortex_m"]]
    compared = sum(record["comparison"]["codes"] for record in records)
    cuts = sum(layer["cuts"] for record in records for layer in record["certificate"]["layers"])
    equal = sum(record["comparison"]["divergence"] is None for record in records)
    where = ["data", "network", "cell", "scheme", "weights/states"]
    parts = ["weights", "states", "tables", "accumulators", "total", "float32", "times fewer"]
    return f"""# Trained networks as integer machines

{len(records)} networks. For each, training loop, both engines and compiled C have the same integer
cuts ({cuts} in all), and run over the whole test set: same codes, spikes, sums and predictions in {equal} of them,
{compared} codes compared. Accuracy is that of the test set, in %, mean and standard deviation over seeds, the same
number in training, engine and C. Never decay: codes that stay without input, though not the resting code.

{table([*where, *EXACTNESS], exact)}

## Bytes

At real bit widths, tables and accumulators included, of the first seed; beside the same network with float32 weights
and states.

{table([*where, *parts], sizes)}

The recurrent 700-256-20 network (sizes depend on shapes and bits only):

{table(["bits", *parts], [_larger(row) for row in larger])}

## Cortex-M under QEMU

Instructions, not cycles: memory is never waited for. {vectors} samples of the test set; the first step of a sample,
which sums a constant image, is left out. Equal: all codes. Multiply: multiply and divide instructions of a step.

{table([*where, *CORTEX_M], cores)}
"""


def network_of(record: Record) -> str:
    """The architecture, or the neurons where they are named."""
    network = record["config"]["network"]
    return network.get("neuron") or network["architecture"]


EXACTNESS = [
    "learning rate",
    *("networks", "identical", "accuracy", "spikes per neuron and step", "F", "accumulator bits", "reachable codes"),
    "never decay",
]
CORTEX_M = [
    *("core", "equal", "instructions a step", "most", "multiply", "stack", "runtime", "constants", "RAM"),
]


def _exactness(group: list[Record]) -> list[str]:
    accuracy = [100 * record["comparison"]["integer_accuracy"] for record in group]
    spread = f" ± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    layers = [record["certificate"]["layers"] for record in group]
    rates = [list(record["spike_rates"].values()) for record in group]
    return [
        str(len(group)),
        str(sum(record["comparison"]["divergence"] is None for record in group)),
        f"{mean(accuracy):.2f}{spread}",
        ", ".join(f"{100 * mean(column):.1f} %" for column in zip(*rates, strict=True)),
        *(_range(layers, name) for name in ("shift", "accumulator_bits", "reachable_codes", "dead_codes")),
    ]


def _range(layers: list[list[Record]], name: str) -> str:
    """Of each layer, over the seeds."""
    cells = []
    for column in zip(*layers, strict=True):
        values = sorted(layer[name] for layer in column)
        cells.append(str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}")
    return ", ".join(cells)


def _sizes(record: Record) -> list[str]:
    parts = [str(record["sizes"][name]) for name in ("weights", "states", "tables", "accumulators")]
    return [
        *parts,
        str(record["bytes"]),
        str(record["float32_bytes"]),
        f"{record['float32_bytes'] / record['bytes']:.2f}",
    ]


def _larger(row: Record) -> list[str]:
    return [str(row["bits"]), *_sizes(row)]


def _core(found: Record) -> list[str]:
    counts = [str(found[name]) for name in ("multiplications", "stack", "runtime", "constants", "ram")]
    steps = [f"{found[name]:.0f}" for name in ("instructions_per_step", "most_instructions")]
    return [found["core"], "yes" if found["equal"] else "NO", *steps, *counts]


def draw(records: list[Record], path: Path) -> None:
    """Accuracy against bytes of what was trained at its bits, a panel for each data set and network."""
    from matplotlib.figure import Figure

    records = [record for record in records if record["cell"] == "qat+squat"]
    names = sorted({(record["data"], network_of(record)) for record in records})
    schemes = sorted({record["scheme"] for record in records})
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5.0 * columns, 4.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        mine = [record for record in records if (record["data"], network_of(record)) == name]
        for index, (scheme, marker) in enumerate(zip(schemes, "osD^v", strict=False)):
            chosen = [record for record in mine if record["scheme"] == scheme]
            if not chosen:
                continue
            x = [record["bytes"] / 1000 for record in chosen]
            y = [100 * record["comparison"]["integer_accuracy"] for record in chosen]
            axis.scatter(x, y, marker=marker, color=f"C{index}", s=30, alpha=0.8, label=scheme.replace("_", "-"))
            first = min(record["seed"] for record in chosen)
            for record in chosen:
                if record["seed"] == first:
                    text = f"{record['weight_bits']}/{record['state_bits']}"
                    place = (record["bytes"] / 1000, 100 * record["comparison"]["integer_accuracy"])
                    axis.annotate(text, place, textcoords="offset points", xytext=(5, 3), fontsize=7)
        axis.set(title=", ".join(name), xlabel="kB: weights, states, tables, accumulators", ylabel="test accuracy in %")
        axis.margins(y=0.12)
        axis.locator_params(axis="x", nbins=4)
        axis.set_xlim(0, 1.15 * max(record["bytes"] for record in mine) / 1000)
        axis.grid(alpha=0.3)
    named = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), fontsize=9)
    figure.savefig(path, dpi=130, format="png")
