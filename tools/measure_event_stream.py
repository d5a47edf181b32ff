"""Memory and time of training on events that stay on disk: `python tools/measure_event_stream.py FOLDER`.

Writes a synthetic file of 700 channels and 8,000 events a sample to FOLDER, trains one epoch on it in a process of its
own, and deletes it. Prints the peak memory of that process beside one that only imports and one that trains on a small
file in memory, and the time of a training step with its batch from the loader, by the time with batches in memory: by
the clock, which tells little where other processes want the processor too, and in processor time of each thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squat.train import RunConfig

CHANNELS, EVENTS, CLASSES, BATCH, HELD_OUT = 700, 8000, 20, 64, 64
BYTES_PER_EVENT = 6
ROUNDS, STEPS, HELD_BATCHES = 7, 12, 8
LEAST_GIGABYTES = 0.4
"""So that one epoch has enough batches for all rounds."""


def write_file(path: Path, gigabytes: float) -> None:
    """A file in the layout of `docs/how-to/your-data.md`; each class has more events in its own channels."""
    import h5py
    import numpy as np

    samples = int(gigabytes * 1e9 / (EVENTS * BYTES_PER_EVENT))
    rng = np.random.default_rng(0)
    label = np.arange(samples) % CLASSES
    with h5py.File(path, "w") as file:
        times = file.create_dataset("times", (samples * EVENTS,), np.uint32)
        units = file.create_dataset("units", (samples * EVENTS,), np.uint16)
        for first in range(0, samples, 1000):
            own = label[first : first + 1000, None]
            shape = (len(own), EVENTS)
            channel = rng.integers(0, CHANNELS, shape)
            channel[:, ::2] = own * (CHANNELS // CLASSES) + channel[:, ::2] % (CHANNELS // CLASSES)
            at = slice(first * EVENTS, (first + len(own)) * EVENTS)
            times[at] = np.sort(rng.integers(0, 1_000_000, shape), axis=1).reshape(-1)
            units[at] = channel.reshape(-1)
        file["offsets"] = np.arange(samples + 1) * EVENTS
        file["time_unit_s"], file["channels"], file["label"] = 1e-6, CHANNELS, label
        split = np.zeros(samples, np.int64)
        split[-2 * HELD_OUT :] = np.repeat([1, 2], HELD_OUT)
        file["split"] = split


def config_of(path: Path, stream: bool) -> RunConfig:
    """A recurrent network with 4-bit weights and states, one epoch."""
    from squat import IntWeight, ThresholdCentered
    from squat.models import NetworkConfig
    from squat.train import DataConfig, RunConfig, TrainConfig

    specs = {"weights": IntWeight(4), "states": ThresholdCentered(4)}
    network = NetworkConfig("recurrent", inputs=CHANNELS, hidden=(128,), classes=CLASSES, input_gain=3.0, **specs)
    return RunConfig(DataConfig(str(path), {"stream": stream}), network, TrainConfig(epochs=1, batch_size=BATCH))


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def imports() -> dict[str, float]:
    """Only what training imports."""
    import lightning.pytorch  # noqa: F401
    import numba  # noqa: F401

    from squat.train import fit  # noqa: F401

    return {"peak_mib": peak_mib()}


def train(path: Path, stream: bool) -> dict[str, float]:
    """One epoch."""
    from squat.train import fit

    start = time.perf_counter()
    result = fit(config_of(path, stream), path.with_suffix(".run"), progress=False, resume=False)
    seconds = time.perf_counter() - start
    return {"peak_mib": peak_mib(), "seconds": seconds, "validation_accuracy": result.validation_accuracy}


def keep_up(path: Path) -> dict[str, float]:
    """Rounds of steps with batches from the loader and with batches in memory, in turn; medians of their ratios."""
    import torch

    from squat.data import load
    from squat.models import build_network
    from squat.train import AugmentConfig
    from squat.train.loader import training_loader
    from squat.train.losses import loss_of
    from squat.train.module import build_optimizer

    torch.set_num_threads(1)
    config = config_of(path, stream=True)
    split = load(str(path), stream=True).train
    network = build_network(config.network, 0)
    optimizer = build_optimizer(network, config.train)
    augment = AugmentConfig(channel_shift=10, event_drop=0.1, time_warp=0.1)
    batches = iter(training_loader(split, BATCH, 0, augment))
    in_memory = cycle(list(islice(batches, HELD_BATCHES)))

    def steps(source: Iterator[Any]) -> tuple[float, float, float]:
        """Seconds of a step: by the clock, of this thread's processor time, of the whole process's."""
        clocks = (time.perf_counter, time.thread_time, time.process_time)
        start = [clock() for clock in clocks]
        for x, y in islice(source, STEPS):
            loss = loss_of(network(x), y, x.shape[0], "cross_entropy", 1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return tuple((clock() - before) / STEPS for clock, before in zip(clocks, start, strict=True))

    steps(in_memory)
    pairs = [(steps(batches), steps(in_memory)) for _ in range(ROUNDS)]
    clock, thread = (statistics.median(disk[n] / memory[n] for disk, memory in pairs) for n in (0, 1))
    loader = statistics.median((disk[2] - disk[1]) / memory[1] for disk, memory in pairs)
    return {"clock": clock, "thread": thread, "loader": loader}


def measured(what: str, path: Path) -> dict[str, float]:
    """One of the functions above, in a process of its own."""
    command = [sys.executable, __file__, str(path), "--child", what]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


CHILDREN = {
    "imports": lambda path: imports(),
    "memory": lambda path: train(path, False),
    "disk": lambda path: train(path, True),
    "keep_up": keep_up,
}


def main() -> None:
    """Write, measure, print, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments.folder)))
        return
    if arguments.gigabytes < LEAST_GIGABYTES:
        raise SystemExit(f"--gigabytes {arguments.gigabytes:g}: expected at least {LEAST_GIGABYTES:g}")
    if shutil.disk_usage(arguments.folder).free < 1.5e9 * arguments.gigabytes:
        raise SystemExit(f"{arguments.folder}: fewer than {1.5 * arguments.gigabytes:g} GB free")
    small, large = arguments.folder / "small.h5", arguments.folder / "large.h5"
    try:
        write_file(small, 0.02)
        write_file(large, arguments.gigabytes)
        bare, memory = measured("imports", small), measured("memory", small)
        disk, speed = measured("disk", large), measured("keep_up", large)
        size = large.stat().st_size / 1e9
        print(f"file {size:.2f} GB; peak memory: imports only {bare['peak_mib']:.0f} MiB")
        above = memory["peak_mib"] - bare["peak_mib"]
        print(f"  training on {small.stat().st_size / 1e6:.0f} MB of events, binned in memory: {above:+.0f} MiB")
        print(
            f"  training on the file, streamed: {disk['peak_mib'] - bare['peak_mib']:+.0f} MiB, "
            f"{disk['seconds']:.0f} s, validation {disk['validation_accuracy']:.2%}"
        )
        print(f"a step with its batch from the loader, by one with its batch in memory (median of {ROUNDS} rounds):")
        print(f"  by the clock {speed['clock']:.2f}; processor time of the training thread {speed['thread']:.2f}")
        print(f"  processor time of the loader's thread, by a step's: {speed['loader']:.2f}")
    finally:
        for path in (small, large):
            path.unlink(missing_ok=True)
            shutil.rmtree(path.with_suffix(".run"), ignore_errors=True)


if __name__ == "__main__":
    main()
