"""One measurement in a process of its own: `python benchmarks/worker.py equal|time|memory ...` prints JSON."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from networks import PublishedStack, batch, matrix_products, put_on_one_grid, squat_network, training_step


def parsed_bits(text: str) -> int | None:
    """`float` as None."""
    return None if text == "float" else int(text)


@torch.no_grad()
def check_equal(bits: int | None) -> dict[str, Any]:
    """Do both stacks compute the same thing? And does the compiled loop equal its specification?

    Under the float rule, on weights that both quantizers leave alone, every spike of every step must agree; under the
    integer rule (what is timed) the compiled loop must agree with the reference.
    """
    import squat

    x, _ = batch(samples=4)
    ours = squat_network(8 if bits is None else bits, bias=False, arithmetic="float", scale="max")
    theirs = PublishedStack(bits, bias=False)
    put_on_one_grid(ours, theirs, 8 if bits is None else bits)
    if bits is None:
        for layer in ours.layers:
            for swap in ("set_weight_spec", "set_state_spec"):
                getattr(layer, swap, lambda spec: None)(None)
    spikes, _ = ours(x)
    published, _ = theirs(x)
    timed = squat_network(bits)
    timed.eval()
    compiled, _ = timed(x[:20])
    with squat.ops.backend("reference"):
        reference, _ = timed(x[:20])
    with torch.enable_grad():  # fills the cache of compiled loops: compiling must not count as memory or time
        squat_network(bits)(x[:2])[0].sum().backward()
    return {
        "spikes_equal_published": torch.equal(spikes, published),
        "compiled_equals_reference": torch.equal(compiled, reference),
        "spike_rate": float(spikes.mean()),
    }


def measure_time(bits: int | None, repetitions: int) -> dict[str, Any]:
    """Seconds of a training step of each stack, in turns, after two unmeasured steps each."""
    torch.manual_seed(0)
    steps: dict[str, Callable[[], Any]] = {
        "squat": training_step(squat_network(bits)),
        "published": training_step(PublishedStack(bits)),
        "matrix_products": matrix_products(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(-1, repetitions):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - start)
    ratios = [theirs / mine for mine, theirs in zip(seconds["squat"], seconds["published"], strict=True)]
    floors = [mine / floor for mine, floor in zip(seconds["squat"], seconds["matrix_products"], strict=True)]
    return {
        "seconds": seconds,
        "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "over_matrix_products": statistics.median(floors),
    }


def measure_memory(bits: int | None, stack: str) -> dict[str, Any]:
    """Peak memory of three training steps above that of the imported libraries, in MB."""
    torch.manual_seed(0)
    if stack == "squat":
        import squat.ops.lif.cpu_backward  # noqa: F401 - loaded on first use otherwise

        network = squat_network(bits)
    else:
        network = PublishedStack(bits)
    before = peak_megabytes()
    step = training_step(network)
    for _ in range(3):
        step()
    return {"before": before, "peak": peak_megabytes(), "added": peak_megabytes() - before}


def peak_megabytes() -> float:
    """Largest resident size so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("equal", "time", "memory"))
    parser.add_argument("--bits", type=parsed_bits, required=True)
    parser.add_argument("--stack", choices=("squat", "published"), default="squat")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "equal":
        result = check_equal(arguments.bits)
    elif arguments.what == "time":
        result = measure_time(arguments.bits, arguments.repetitions)
    else:
        result = measure_memory(arguments.bits, arguments.stack)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
