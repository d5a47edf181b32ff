"""Random small networks of everything that can be lowered: do training, both engines and compiled C agree?

    python tools/agree.py COUNT OUT.json

The networks are those of the tests (`tests/random_networks.py`), seeds 0 to COUNT - 1, forty in each C translation
unit. A network that differs is printed with its seed and counted; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import squat
from squat.atomic import atomic_write
from squat.export.c99.host import compile_networks, compiled_name

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "export")]
GROUP = 40


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    totals: dict[str, Any] = {"networks": 0, "codes": 0, "different": [], "every layer fired": 0}
    for start in range(0, arguments.count, GROUP):
        _group(range(start, min(start + GROUP, arguments.count)), totals)
        print(f"{totals['networks']} networks, {len(totals['different'])} different", flush=True)
    totals["implementations"] = ["training", "engine (compiled)", "engine (numpy)", compiled_name()]
    atomic_write(arguments.out, (json.dumps(totals, indent=1) + "\n").encode())
    sys.exit(1 if totals["different"] else 0)


def _group(seeds: range, totals: dict[str, Any]) -> None:
    from test_c99 import assert_same

    from random_networks import random_network

    cases = {f"n{seed}": random_network(seed) for seed in seeds}
    machines = {name: squat.lower(net, tuple(x.shape[2:])) for name, (net, x) in cases.items()}
    programs = compile_networks(machines, flags=("-O1",))
    for name, (net, x) in cases.items():
        totals["networks"] += 1
        states = (layer.size * len(neurons.widths) for layer, neurons, _ in machines[name].by_layer([]))
        totals["codes"] += int(np.prod(x.shape[:2])) * sum(states)
        try:
            totals["every layer fired"] += assert_same(net, x, machines[name], programs[name])
        except AssertionError:
            print(f"different: seed {name[1:]}", flush=True)
            totals["different"].append(int(name[1:]))


if __name__ == "__main__":
    main()
