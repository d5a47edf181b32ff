"""Integer cuts of a neuron's machine, found by bisection on an implementation as a black box. Numpy only.

The next code rises with the synaptic sum `z`, so for each current code `c` and boundary `k` there is one integer cut:
the smallest `z` at which the next code exceeds `k`. Equal cuts for all codes, boundaries and the first step mean equal
functions of every sum, hence of every input sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from squat.integer import compiled, plain
from squat.integer.parts import Layer, Neurons
from squat.integer.plain import per_neuron

Step = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
"""`step(z [R, N], codes [R])`: next codes and spikes, both uint8 `[R, N]`; without current codes it is the first step.
All neurons of a row have the same current code."""

ENGINES = {"compiled": compiled, "numpy": plain}
PROBES = 2**21
"""Sums that are tried at a time."""


def probe(layer: Layer) -> Layer:
    """The layer with one position of every channel and without recurrent input: all its machines, and no more."""
    machine = layer.neurons
    if machine is None:
        raise ValueError(f"{layer.name}: has no neurons")
    if layer.is_convolution and max(machine.rows().values()) <= layer.channels:
        layer = replace(layer, input_shape=layer.weight.shape[1:], stride=(1, 1), padding=(0, 0), pool=None)
    return replace(layer, recurrent=None if layer.recurrent is None else np.zeros_like(layer.recurrent))


def engine_step(layer: Layer, implementation: str) -> Step:
    """The engine's neurons of a `probe` as a black box."""
    machine, module = layer.neurons, ENGINES[implementation]
    if not isinstance(machine, Neurons):
        raise ValueError(f"{layer.name}: has no neurons of one state")
    first, start = machine.first, machine.start

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        current = codes if codes is not None or start is None else np.full(len(z), start, np.uint8)
        before = None if current is None else np.repeat(current[:, None], z.shape[1], axis=1)
        after = module.neuron_codes(layer, z[None], None if before is None else (before,), 1)[0][0]
        return after, (after >= first).astype(np.uint8)

    return step


def sum_ranges(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sum, recurrent spikes included, of every neuron that `probe` leaves: int64 `[N]`."""
    low, high = per_neuron(layer.sum_range, probe(layer).size).T
    return low, high


def starts(codes: int, neurons: int) -> Iterator[np.ndarray | None]:
    """The first step (None), then all current codes, as many at a time as `PROBES` allows."""
    yield None
    size = max(1, PROBES // ((codes - 1) * neurons))
    for at in range(0, codes, size):
        yield np.arange(at, min(at + size, codes), dtype=np.uint8)


def integer_cuts(step: Step, codes: np.ndarray | None, low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Cuts of every boundary from some current codes, int64 `[C, count - 1, N]`.

    Args:
        step: the implementation.
        codes: current codes `[C]`; None is the first step, and counts as one.
        low: lowest sum of each neuron, int64 `[N]`.
        high: highest sum; a boundary that no sum exceeds has the cut `high + 1`.
        count: number of codes there are.
    """
    boundary = np.arange(count - 1)[:, None]
    shape = (1 if codes is None else len(codes), count - 1, len(low))
    below = np.broadcast_to(low - 1, shape).copy()  # the next code is at most k there
    above = np.broadcast_to(high + 1, shape).copy()
    while (above - below > 1).any():
        middle = (below + above) >> 1
        inside = (middle >= low) & (middle <= high) & (above - below > 1)
        beyond = next_codes(step, np.clip(middle, low, high), codes)[0] > boundary
        above = np.where(inside & beyond, middle, above)
        below = np.where(inside & ~beyond, middle, below)
    return above


def next_codes(step: Step, z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Next codes and spikes for sums `[C, K, N]`."""
    rows = None if codes is None else np.repeat(codes, z.shape[1])
    after, spikes = step(z.reshape(-1, z.shape[2]).astype(np.int32), rows)
    return after.reshape(z.shape), spikes.reshape(z.shape)


def reachable_codes(cuts: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which codes each neuron can ever have, bool `[K, N]`.

    Args:
        cuts: `[1 + K, K - 1, N]`: of the first step, then of every code.
        low: lowest sum of each neuron, `[N]`; every sum from there
        high: to there counts as possible.
    """
    ends = np.broadcast_to(np.stack((low, high + 1))[:, None], (2, len(cuts), len(low)))
    steps = np.concatenate((ends[0][:, None], cuts, ends[1][:, None]), axis=1)
    leads = np.diff(steps, axis=1) > 0  # [1 + K, K, N]: some sum leads from this code to that
    reached = leads[0].copy()
    while True:
        further = reached | (leads[1:] & reached[:, None]).any(0)
        if (further == reached).all():
            return reached
        reached = further


def dead_codes(layer: Layer) -> int:
    """Codes that never decay: without input they stay as they are, though they are not the resting code.

    The most of any channel; the bias is left out.
    """
    machine = layer.neurons
    if not isinstance(machine, Neurons):
        return 0
    rows = max(len(machine.table), len(machine.bound))
    table, bound = per_neuron(machine.table, rows), per_neuron(machine.bound, rows)
    after = (table[:, :, None] > bound[:, None]).sum(2)
    rest = (bound < 0).sum(1, keepdims=True)
    stuck = (after == np.arange(machine.codes)) & (after != rest)
    return int(stuck.sum(1).max())
