"""Trained networks of ablations as integer machines: proof, whole test set, bytes, Cortex-M; a table and a figure.

    python tools/deploy.py OUT RESULTS [RESULTS ...]

goes through every trained network with quantized weights and states in the results folders. Each is lowered; training
loop, engine and compiled C are proved to have the same integer cuts; all three run over the whole test set; of the
first seed the integer network is kept and its C is run on Cortex-M under QEMU. One record is written for each network,
so that a killed run goes on where it was; then `deploy.md` and `deploy.png`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import squat
from squat.ablation import Results
from squat.atomic import atomic_write
from squat.data import load as load_data
from squat.export.c99.cortex_m import CORES, MISSING, measure
from squat.export.c99.host import compile_network, compiled_name
from squat.integer import IntegerNetwork
from squat.integer.compare import compare
from squat.integer.lower import lower
from squat.integer.proof import prove
from squat.train.config import RunConfig
from squat.train.evaluate import batches

BATCH, VECTORS = 250, 2
Record = dict[str, Any]


def trained_networks(folder: Path) -> Iterator[tuple[Record, Path]]:
    """Records with quantized weights and states whose network is there."""
    results = Results.read(folder)
    for name, record in sorted(results.records.items()):
        path = results.folder.network(name)
        if record["status"] == "ok" and record["weight_bits"] and record["state_bits"] and path.exists():
            yield record, path


def deploy(record: Record, path: Path, dataset: Any, out: Path, keep: bool) -> Record:
    """Prove, compare and measure one network."""
    net = squat.load(path)
    machine = lower(net, tuple(dataset.input_shape))
    program = compile_network(machine)
    certificate = prove(net, machine, others={compiled_name(): program})
    test = dataset.parts["test"]
    comparison = compare(net, machine, batches(test, BATCH), {compiled_name(): program.run})
    report = machine.report()
    found: Record = {
        "data": dataset.name, "id": record["id"], "cell": record["cell"], "scheme": record["scheme"],
        "weight_bits": record["weight_bits"], "state_bits": record["state_bits"], "seed": record["seed"],
        "config": record["config"], "certificate": certificate.to_json(), "comparison": comparison.to_json(),
        "spike_rates": _rates(machine, comparison, dataset), "sizes": asdict(report.sizes),
        "float32": asdict(report.float32), "bytes": report.sizes.total, "float32_bytes": report.float32.total,
    }  # fmt: skip
    if keep:
        name = f"{record['id']}.safetensors"
        replace(machine, certificate=certificate).save(
            out / "networks" / name, {"run": record["config"]}, overwrite=True
        )
        x = test.batch(torch.arange(VECTORS))[0]
        found["cortex_m"] = cortex_m(machine, x)
    return found


def _rates(machine: IntegerNetwork, comparison: Any, dataset: Any) -> dict[str, float]:
    steps = len(dataset.parts["test"].batch(torch.arange(1))[0])
    sizes = {layer.name: layer.size for layer in machine.neuron_layers}
    return {name: count / (comparison.samples * steps * sizes[name]) for name, count in comparison.spikes.items()}


def cortex_m(machine: IntegerNetwork, x: Any) -> list[Record]:
    """The exported C on every core, with test samples as vectors."""
    if MISSING:
        return []
    with tempfile.TemporaryDirectory() as folder:
        squat.export.c(machine, Path(folder) / "c", vectors=x)
        return [
            {**asdict(found), "flash": found.flash} for found in (measure(Path(folder) / "c", core) for core in CORES)
        ]


def bytes_of_the_larger_network() -> list[Record]:
    """700-256-20, recurrent: bytes depend on shapes and bits only; weights are random."""
    rows = []
    for bits in (8, 4, 2):
        torch.manual_seed(0)
        weights, states = squat.IntWeight(bits), squat.ThresholdCentered(bits)
        net = squat.Sequential(
            squat.RLIF(700, 256, weight=weights, state=states), squat.Linear(256, 20, weight=weights),
            squat.LIF(state=states),
        )  # fmt: skip
        report = squat.lower(net).report()
        rows.append({"bits": bits, "sizes": asdict(report.sizes), "bytes": report.sizes.total})
        rows[-1] |= {"float32_bytes": report.float32.total, "ratio": report.float32.total / report.sizes.total}
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def markdown(records: list[Record], larger: list[Record]) -> str:
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

Instructions, not cycles: memory is never waited for. {VECTORS} samples of the test set; the first step of a sample,
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
    figure = Figure(figsize=(5.2 * len(names), 4.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        mine = [record for record in records if (record["data"], network_of(record)) == name]
        for scheme, marker in zip(sorted({record["scheme"] for record in mine}), "osD^v", strict=False):
            chosen = [record for record in mine if record["scheme"] == scheme]
            x = [record["bytes"] / 1000 for record in chosen]
            y = [100 * record["comparison"]["integer_accuracy"] for record in chosen]
            axis.scatter(x, y, marker=marker, s=30, alpha=0.8, label=scheme.replace("_", "-"))
            first = min(record["seed"] for record in chosen)
            for record in chosen:
                if record["seed"] == first:
                    text = f"{record['weight_bits']}/{record['state_bits']}"
                    place = (record["bytes"] / 1000, 100 * record["comparison"]["integer_accuracy"])
                    axis.annotate(text, place, textcoords="offset points", xytext=(5, 3), fontsize=7)
        axis.set(title=", ".join(name), xlabel="kB: weights, states, tables, accumulators", ylabel="test accuracy in %")
        axis.margins(x=0.12)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130, format="png")


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path, nargs="*")
    arguments = parser.parse_args()
    records, networks = arguments.out / "records", arguments.out / "networks"
    for folder in (records, networks):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in arguments.results:
        first = min(record["seed"] for record, _ in trained_networks(folder))
        for record, path in trained_networks(folder):
            target = records / f"{record['id']}.json"
            if target.exists():
                continue
            config = RunConfig.from_json(record["config"])
            found = deploy(record, path, load_data(config.data.name, **config.data.arguments), arguments.out,
                           keep=record["seed"] == first)  # fmt: skip
            atomic_write(target, (json.dumps(found, indent=1) + "\n").encode())
            print(f"{record['id']}: {'identical' if found['comparison']['divergence'] is None else 'DIFFERENT'}, "
                  f"{found['comparison']['integer_accuracy']:.2%}, {found['bytes']} bytes", flush=True)  # fmt: skip
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(records.glob("*.json"))]
    every.sort(
        key=lambda r: (r["data"], network_of(r), r["cell"], r["scheme"], -r["weight_bits"], -r["state_bits"], r["id"])
    )
    text = markdown(every, bytes_of_the_larger_network())
    atomic_write(arguments.out / "deploy.md", text.encode())
    draw(every, arguments.out / "deploy.png")
    print(arguments.out / "deploy.md")


if __name__ == "__main__":
    main()
