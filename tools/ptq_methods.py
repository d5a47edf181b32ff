"""Every way of post-training quantization on the spoken digits, by validation accuracy; the test split is not read.

    python -m tools.ptq_methods docs/results/ptq --work runs/ptq

trains the float recipe of `recipes/spoken_digits.py` for each seed in the work folder (a finished training is only
read), quantizes weights and states at 4 and at 2 bits with every method, without and with bias correction, and writes
`records.json` and the table `results.md`. What the records hold already is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from recipes.spoken_digits import float_baseline

import squat
import squat.data
from squat.atomic import atomic_write
from squat.ptq import compare
from squat.train import evaluate, fit

SEEDS, BITS = (0, 1, 2), (4, 2)
BATCHES = {"batches": 8, "batch_size": 64}
NEAR = 1000.0
METHODS: dict[str, tuple[Any, str, dict[str, float]]] = {
    "float states": (None, "published", {}),
    "uniform, published": (squat.Uniform, "published", {}),
    "uniform, calibrated": (squat.Uniform, "calibrated", {}),
    "uniform, max": (squat.Uniform, "max", {}),
    "uniform, percentile 99.9": (squat.Uniform, "percentile", {"percentile": 99.9}),
    "uniform, percentile 99": (squat.Uniform, "percentile", {"percentile": 99.0}),
    "uniform, percentile 90": (squat.Uniform, "percentile", {"percentile": 90.0}),
    "uniform, percentile 80": (squat.Uniform, "percentile", {"percentile": 80.0}),
    "uniform, mse": (squat.Uniform, "mse", {}),
    "threshold-centred, published": (squat.ThresholdCentered, "published", {}),
    "threshold-centred, calibrated": (squat.ThresholdCentered, "calibrated", {}),
    "threshold-centred, max": (squat.ThresholdCentered, "max", {}),
    "threshold-centred, percentile 99.9": (squat.ThresholdCentered, "percentile", {"percentile": 99.9}),
    "threshold-centred, percentile 90": (squat.ThresholdCentered, "percentile", {"percentile": 90.0}),
    "threshold-centred, mse": (squat.ThresholdCentered, "mse", {}),
    "threshold-centred, mse_base": (squat.ThresholdCentered, "mse_base", {}),
    "threshold-centred, mse_base, clip 95": (squat.ThresholdCentered, "mse_base", {"clip": 95.0}),
    "threshold-centred, mse_base, clip 80": (squat.ThresholdCentered, "mse_base", {"clip": 80.0}),
    "threshold-centred, mse_base, near threshold": (squat.ThresholdCentered, "mse_base", {"near_threshold": NEAR}),
    "anchored, published": (squat.Anchored, "published", {}),
    "anchored, calibrated": (squat.Anchored, "calibrated", {}),
    "anchored, percentile 90": (squat.Anchored, "percentile", {"percentile": 90.0}),
    "anchored, mse_base": (squat.Anchored, "mse_base", {}),
    "anchored, mse_base, clip 95": (squat.Anchored, "mse_base", {"clip": 95.0}),
    "anchored, mse_base, clip 80": (squat.Anchored, "mse_base", {"clip": 80.0}),
    "anchored, mse_base, near threshold": (squat.Anchored, "mse_base", {"near_threshold": NEAR}),
    "Lloyd-Max, free": (squat.Uniform, "lloyd_max", {}),
    "Lloyd-Max, free, clip 95": (squat.Uniform, "lloyd_max", {"clip": 95.0}),
    "Lloyd-Max, free, clip 80": (squat.Uniform, "lloyd_max", {"clip": 80.0}),
    "Lloyd-Max, free, near threshold": (squat.Uniform, "lloyd_max", {"near_threshold": NEAR}),
    "Lloyd-Max, anchored": (squat.Anchored, "lloyd_max", {}),
    "Lloyd-Max, anchored, clip 95": (squat.Anchored, "lloyd_max", {"clip": 95.0}),
    "Lloyd-Max, anchored, clip 80": (squat.Anchored, "lloyd_max", {"clip": 80.0}),
    "Lloyd-Max, anchored, near threshold": (squat.Anchored, "lloyd_max", {"near_threshold": NEAR}),
}


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/ptq"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    digits = squat.data.load("spoken_digits")
    path = arguments.folder / "records.json"
    known = {_key(record): record for record in json.loads(path.read_text())} if path.exists() else {}
    records: list[dict[str, Any]] = []
    for seed in SEEDS:
        run = float_baseline(seed)
        network = fit(run, arguments.work / f"seed{seed}", data=digits, progress=False).network
        for bits, name, bias in [(None, "float", False), *itertools.product(BITS, METHODS, (False, True))]:
            row = {"seed": seed, "run": run.id(), "bits": bits, "method": name, "bias_correction": bias}
            if _key(row) not in known:
                found = _judge(network, digits) if bits is None else _quantized(network, digits, bits, name, bias)
                known[_key(row)] = {**row, **found}
                atomic_write(path, _document([*known.values()]))
            records.append(known[_key(row)])
    atomic_write(path, _document(records))
    atomic_write(arguments.folder / "results.md", "\n".join(_table(records)).encode())


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("seed", "run", "bits", "method", "bias_correction"))


def _document(records: list[dict[str, Any]]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n").encode()


def _quantized(network: Any, digits: Any, bits: int, name: str, bias: bool) -> dict[str, Any]:
    scheme, rule, options = METHODS[name]
    states = None if scheme is None else scheme(bits)
    try:
        quantized, report = squat.calibrate(
            network, digits.train, weights=squat.IntWeight(bits), states=states, state_range=rule, **options,
            bias_correction=bias, **BATCHES,
        )  # fmt: skip
    except ValueError as error:
        return {"error": str(error)}
    (layer,) = compare(network, quantized, digits.train, batches=2, batch_size=64).layers
    spec = None if layer.spec is None else layer.spec.to_json()
    shifts = [row.to_json() for row in report.biases]
    spikes = {} if layer.spikes is None else layer.spikes.__dict__
    return {**_judge(quantized, digits), "spec": spec, "biases": shifts, "spikes": spikes, "silent": layer.silent}


def _judge(network: Any, digits: Any) -> dict[str, Any]:
    return {"validation_accuracy": evaluate(network, digits.validation).accuracy}


def _table(records: list[dict[str, Any]]) -> list[str]:
    seeds = sorted({record["seed"] for record in records})
    lines = [
        "# Post-training quantization of the spoken digits",
        "",
        f"Validation accuracy in % over seeds {', '.join(map(str, seeds))}: mean ± standard deviation; weights and",
        "states of the same bits. In brackets, without bias correction: van Rossum distance of the hidden layer's",
        "spikes from the float network's on training data, as a share of the distance of silence. Near threshold:",
        f"errors there count {NEAR:g} times more. Made by `python -m tools.ptq_methods`, without the test split.",
        "",
        f"Float network: {_cell(_values(records, None, 'float', False))}.",
        "",
        "| method | " + " | ".join(f"{bits} bits | {bits} bits, bias corrected" for bits in BITS) + " |",
        "|---" * (1 + 2 * len(BITS)) + "|",
    ]
    for name in METHODS:
        cells = []
        for bits in BITS:
            plain, corrected = (_values(records, bits, name, bias) for bias in (False, True))
            cells += [f"{_cell(plain)} ({_distance(records, bits, name)})", _cell(corrected)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _chosen(records: list[dict[str, Any]], bits: int | None, method: str, bias: bool) -> list[dict[str, Any]]:
    wanted = (bits, method, bias)
    return [record for record in records if (record["bits"], record["method"], record["bias_correction"]) == wanted]


def _values(records: list[dict[str, Any]], bits: int | None, method: str, bias: bool) -> list[float]:
    chosen = _chosen(records, bits, method, bias)
    return [100 * record["validation_accuracy"] for record in chosen if "validation_accuracy" in record]


def _cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}" if values else "no such set"


def _distance(records: list[dict[str, Any]], bits: int, method: str) -> str:
    spikes = [record["spikes"] for record in _chosen(records, bits, method, False) if "spikes" in record]
    shares = [found["van_rossum"] / found["van_rossum_to_silence"] for found in spikes]
    return f"{statistics.mean(shares):.2f}" if shares else "-"


if __name__ == "__main__":
    main()
