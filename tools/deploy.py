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
from typing import Any

import torch
from deploy_report import draw, markdown, network_of

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
    text = markdown(every, bytes_of_the_larger_network(), VECTORS)
    atomic_write(arguments.out / "deploy.md", text.encode())
    draw(every, arguments.out / "deploy.png")
    print(arguments.out / "deploy.md")


if __name__ == "__main__":
    main()
