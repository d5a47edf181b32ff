"""Proof for neurons of several states: equal integer cuts of every state that takes up sums, for all codes together.

For given codes of all states the next code of such a state rises (or falls, where the gain is negative) with the sum,
and every other next code follows. So between two neighbouring cuts nothing changes: implementations with equal cuts
that agree once in each interval agree for every sum. A last state whose code before is read by nothing but the spike
(that of `AlphaLIF`, a sum of traces) counts by whether it fires: one silent and one firing code stand for all.

In a large layer whose neurons all have the same tables, each neuron takes a share of one neuron's probes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from squat.integer.certificate import LayerCertificate
from squat.integer.cuts import ENGINES, PROBES, integer_cuts, probe, sum_ranges
from squat.integer.parts import Layer
from squat.integer.states import BEFORE, ComputedState, States, SummedState, next_codes

JointStep = Callable[[np.ndarray, tuple[np.ndarray, ...] | None], tuple[tuple[np.ndarray, ...], np.ndarray]]
"""`step(z [R, N], codes)`: next codes `[R, N]` of every state, and spikes; `codes` are `[R, N]` each, None at first."""

LIMIT = 2**22
"""Joint codes x neurons x intervals that are looked at."""


class Differs(Exception):
    """Two implementations differ: code before (None at first), neuron, sum, and both next codes and spikes."""

    def __init__(self, code: Any, neuron: int, z: int, trained: Any, found: Any, name: str) -> None:
        super().__init__(code, neuron, z, trained, found, name)
        self.code, self.neuron, self.z, self.trained, self.found, self.name = code, neuron, z, trained, found, name


def states_engine_step(layer: Layer, implementation: str) -> JointStep:
    """The engine's neurons of a `probe` as a black box."""
    machine, module = _machine(layer), ENGINES[implementation]
    start = machine.start

    def step(z: np.ndarray, codes: tuple[np.ndarray, ...] | None) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        if codes is None and start is not None:
            codes = tuple(np.full(z.shape, code, np.uint8) for code in start)
        after = tuple(state[0] for state in module.neuron_codes(layer, z[None], codes, 1))
        return after, machine.spikes(after).astype(np.uint8)

    return step


def prove_states(layer: Layer, trained: JointStep, others: Mapping[str, JointStep]) -> LayerCertificate:
    """Compare all implementations of a layer.

    Raises:
        Differs: where one differs.
        ValueError: for more joint codes than can be looked at.
    """
    probed, machine = probe(layer), _machine(layer)
    low, high = sum_ranges(layer)
    numbering = Numbering(machine)
    joint, size = numbering.codes, probed.size
    boundaries = sum(2**state.bits - 1 for state in machine.states if isinstance(state, SummedState))
    work = (joint.shape[1] + 1) * (boundaries + 1)
    if work * size > LIMIT and max(machine.rows().values()) == 1:
        trained, others = _shared(trained, size), {name: _shared(other, size) for name, other in others.items()}
        low, high, size = low.min(keepdims=True), high.max(keepdims=True), 1
    if work * size > LIMIT:
        raise ValueError(
            f"layer {layer.name!r}: {joint.shape[1]} joint codes of {size} neurons with {boundaries} boundaries are "
            "too many to be compared one by one; use fewer state bits (two states of 4 bits have 256 joint codes)"
        )
    digest, reached = hashlib.sha256(), np.zeros((joint.shape[1], size), bool)
    leads: list[np.ndarray] = []
    for rows in _chunks(joint.shape[1], size * max(boundaries, 1)):
        cuts = _cuts(machine, trained, joint, rows, low, high)
        for name, other in others.items():
            found = _cuts(machine, other, joint, rows, low, high)
            points = _intervals(np.concatenate((cuts, found), axis=1), low, high)
            _compare(joint, rows, points, trained, other, name)
        digest.update(cuts.astype("<i8").tobytes())
        points = _intervals(cuts, low, high)
        after, _ = _evaluate(trained, joint, rows, points)
        if rows is None:
            _mark(reached, numbering(after))
        else:
            leads.append(numbering(after))
    _close(reached, np.concatenate(leads))
    first = next(state for state in machine.states if isinstance(state, SummedState))
    return LayerCertificate(
        name=layer.name,
        neurons=size,
        codes=joint.shape[1],
        cuts=size * (joint.shape[1] + 1) * boundaries,
        shift=first.shift,
        accumulator_bits=layer.accumulator_bound.bit_length() + 1,
        lowest_sum=int(low.min()),
        highest_sum=int(high.max()),
        reachable_codes=int(reached.any(1).sum()),
        dead_codes=_dead_codes(machine, numbering, size),
        digest=digest.hexdigest(),
    )


def _shared(step: JointStep, neurons: int) -> JointStep:
    """One neuron as a black box, of a layer whose neurons are all alike: its probes are dealt out among them."""

    def dealt(values: np.ndarray, rows: int) -> np.ndarray:
        return np.resize(values, rows * neurons).reshape(rows, neurons)

    def step_of_one(z: np.ndarray, codes: tuple[np.ndarray, ...] | None) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        count, rows = len(z), -(-len(z) // neurons)
        before = None if codes is None else tuple(dealt(own, rows) for own in codes)
        after, spikes = step(dealt(z, rows), before)
        return tuple(own.reshape(-1, 1)[:count] for own in after), spikes.reshape(-1, 1)[:count]

    return step_of_one


class Numbering:
    """Joint codes, numbered; the code of the last state runs fastest.

    Attributes:
        codes: uint8 `[S, J]`, of every number.
    """

    def __init__(self, machine: States) -> None:
        axes = [np.arange(2**bits) for bits in machine.widths]
        self._places = list(axes)
        last = machine.states[-1]
        if isinstance(last, ComputedState) and BEFORE not in last.sources and machine.ruler is None:
            first = int(machine.first[0])
            self._places[-1] = (axes[-1] >= first).astype(np.int64)
            axes[-1] = np.unique(np.clip([first - 1, first], 0, machine.codes - 1))
            self._places[-1] = np.minimum(self._places[-1], len(axes[-1]) - 1)
        self.codes = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1).astype(np.uint8)
        self._sizes = [len(axis) for axis in axes]

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Numbers of joint codes `[S, ...]`."""
        number = np.zeros(codes.shape[1:], np.int32)
        for own, places, size in zip(codes, self._places, self._sizes, strict=True):
            number = number * size + places[own].astype(np.int32)
        return number


def _machine(layer: Layer) -> States:
    if not isinstance(layer.neurons, States):
        raise ValueError(f"{layer.name}: has no neurons of several states")
    return layer.neurons


def _chunks(count: int, width: int) -> Iterator[np.ndarray | None]:
    """The first step (None), then numbers of joint codes, as many at a time as `PROBES` allows."""
    yield None
    size = max(1, PROBES // width)
    for at in range(0, count, size):
        yield np.arange(at, min(at + size, count))


def _cuts(
    machine: States, step: JointStep, joint: np.ndarray, rows: np.ndarray | None, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """First sum of every interval but the lowest, of all states that take up sums, int64 `[C, boundaries, N]`."""
    parts = []
    for k, state in enumerate(machine.states):
        if not isinstance(state, SummedState):
            continue
        sign = -1 if -1 in state.gain else 1
        ends = (low, high) if sign > 0 else (-high, -low)
        cuts = integer_cuts(_of_state(step, joint, k, sign), rows, *ends, 2**state.bits)
        # A code that falls with the sum changes above the sum at which its mirror image changes.
        parts.append(cuts if sign > 0 else 1 - cuts)
    return np.concatenate(parts, axis=1)


def _of_state(step: JointStep, joint: np.ndarray, k: int, sign: int) -> Any:
    """One state of a black box, its sums mirrored where it falls with them."""

    def of_state(z: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        after, spikes = step((sign * z).astype(np.int32), _before(joint, rows, z.shape[1]))
        return after[k], spikes

    return of_state


def _before(joint: np.ndarray, rows: np.ndarray | None, neurons: int) -> tuple[np.ndarray, ...] | None:
    if rows is None:
        return None
    return tuple(np.repeat(codes[rows][:, None], neurons, axis=1) for codes in joint)


def _intervals(cuts: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A sum in every interval: the lowest, and every cut; `[C, 1 + boundaries, N]`."""
    return np.insert(np.clip(cuts, low, high), 0, low, axis=1)


def _evaluate(
    step: JointStep, joint: np.ndarray, rows: np.ndarray | None, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Next codes `[S, C, I, N]` and spikes `[C, I, N]` for sums `[C, I, N]`."""
    flat = z.reshape(-1, z.shape[2]).astype(np.int32)
    before = _before(joint, None if rows is None else np.repeat(rows, z.shape[1]), z.shape[2])
    after, spikes = step(flat, before)
    return np.stack(after).reshape(len(joint), *z.shape), spikes.reshape(z.shape)


def _compare(
    joint: np.ndarray, rows: np.ndarray | None, z: np.ndarray, trained: JointStep, other: JointStep, name: str
) -> None:  # fmt: skip
    """Raises the first difference of next codes or spikes."""
    pairs = (_evaluate(step, joint, rows, z) for step in (trained, other))
    expected, found = (np.concatenate((after, spikes[None])) for after, spikes in pairs)
    if np.array_equal(expected, found):
        return
    place = tuple(int(i) for i in np.argwhere((expected != found).any(0))[0])
    code = None if rows is None else tuple(int(codes[rows[place[0]]]) for codes in joint)
    ours, theirs = (tuple(side[:, place[0], place[1], place[2]].tolist()) for side in (expected, found))
    raise Differs(code, place[2], int(z[place]), (ours[:-1], ours[-1]), (theirs[:-1], theirs[-1]), name)


def _mark(reached: np.ndarray, numbers: np.ndarray) -> None:
    """Mark joint codes `[C, I, N]` as reached, in `[J, N]`."""
    neurons = np.broadcast_to(np.arange(numbers.shape[2]), numbers.shape)
    reached[numbers.reshape(-1), neurons.reshape(-1)] = True


def _close(reached: np.ndarray, leads: np.ndarray) -> None:
    """Mark everything that follows; `leads [J, I, N]`."""
    while True:
        before = reached.sum()
        from_here = np.broadcast_to(reached[:, None], leads.shape)
        neurons = np.broadcast_to(np.arange(leads.shape[2]), leads.shape)
        reached[leads[from_here], neurons[from_here]] = True
        if reached.sum() == before:
            return


def _dead_codes(machine: States, numbering: Numbering, size: int) -> int:
    """Joint codes that stay as they are without input or bias, but for the resting one; the most of any neuron."""
    plain = tuple(replace(s, bias=None) if isinstance(s, SummedState) else s for s in machine.states)
    silent, joint = replace(machine, states=plain), numbering.codes
    codes = tuple(np.repeat(own[:, None], size, axis=1) for own in joint)
    zeros = np.zeros((joint.shape[1], size), np.int64)
    after = numbering(np.stack(next_codes(silent, zeros, codes, size)))
    rest = numbering(np.stack(next_codes(silent, zeros[:1], None, size)))
    numbers = np.arange(joint.shape[1])[:, None]
    return int(((after == numbers) & (numbers != rest)).sum(0).max())
