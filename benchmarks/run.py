"""Speed and memory of one training step against snnTorch + Brevitas: `python benchmarks/run.py` (or `make bench`).

Refuses to report where the two stacks do not compute the same thing. This process imports no framework: the peak memory
of a child process would include its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results" / "benchmark"
PACKAGES = ("squat-snn", "torch", "numba", "snntorch", "brevitas")


def worker(*arguments: object) -> dict[str, Any]:
    """Runs `worker.py` in a fresh process and reads its JSON."""
    command = [sys.executable, str(HERE / "worker.py"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(bits: str, repetitions: int, threads: int) -> dict[str, Any]:
    """Everything about one bit width; SystemExit where the equality test fails."""
    common = ("--bits", bits, "--threads", threads)
    equal = worker("equal", *common)
    print(f"{bits}: {equal}", file=sys.stderr)
    if not (equal["spikes_equal_published"] and equal["compiled_equals_reference"]):
        raise SystemExit(f"{bits}: the equality test failed, so nothing is reported: {equal}")
    memory = {stack: worker("memory", *common, "--stack", stack) for stack in ("squat", "published")}
    print(f"{bits}: {memory}", file=sys.stderr)
    timing = worker("time", *common, "--repetitions", repetitions)
    print(f"{bits}: {timing['ratio']}", file=sys.stderr)
    return {"bits": bits, "equal": equal, "memory": memory, **timing}


def installed(package: str) -> str:
    """Version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# One training step against snnTorch + Brevitas",
        "",
        "Recurrent 700-256-20 network, T = 100, batch 64, 5 % input spikes; weights (recurrent ones too) and",
        "threshold-centred states of the same bits; forward, cross-entropy of the spike counts, backward, Adam.",
        f"Repetitions in turns in one process, {record['threads']} threads; ratios are medians over them (lowest",
        "to highest). Memory is the peak of three steps above the imported libraries, each stack in its own process.",
        "",
        "| bits | squat, s | snnTorch + Brevitas, s | times faster | over the products | memory, MB | memory ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        seconds = {name: sorted(values)[len(values) // 2] for name, values in row["seconds"].items()}
        mine, theirs = (row["memory"][stack]["added"] for stack in ("squat", "published"))
        ratio = row["ratio"]
        lines.append(
            f"| {row['bits']} | {seconds['squat']:.3f} | {seconds['published']:.3f} | "
            f"**{ratio['median']:.1f}** ({ratio['lowest']:.1f} to {ratio['highest']:.1f}) | "
            f"{row['over_matrix_products']:.1f} | {mine:.0f} against {theirs:.0f} | {mine / theirs:.2f} |"
        )
    versions = ", ".join(f"{name} {value}" for name, value in record["versions"].items())
    return "\n".join([*lines, "", f"{versions}; Python {record['python']}; {record['machine']}.", ""]) + "\n"


def write(path: Path, text: str) -> None:
    """Replaces a file in one step."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text)
    os.replace(draft, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bits", nargs="+", default=["4", "8", "float"], help="bit widths, or float")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of step.json and step.md")
    arguments = parser.parse_args()
    record = {
        "threads": arguments.threads,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: installed(package) for package in PACKAGES},
        "rows": [measure(bits, arguments.repetitions, arguments.threads) for bits in arguments.bits],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out / "step.json", json.dumps(record, indent=1) + "\n")
    text = table(record)
    write(arguments.out / "step.md", text)
    print(text)


if __name__ == "__main__":
    main()
