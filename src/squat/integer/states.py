"""Neurons of several states as integer machines: accumulators for some states, look-ups for the others.

States are updated in order, the one that fires last. With `s` the spike of the step before, one of two ways each:

    acc = gain[s] * ((z << shift) + bias[n]) + table[s, n, c]      c' = #{k : acc > bound[n, k]}       `SummedState`
    c'  = table[n, i, j]                                                                             `ComputedState`

where `i` and `j` are the state's code before, a code of this step, or `s`. The first step after a fresh start has no
`table[s, n, c]`, and a row of its own, the last, for the code before. A neuron fires if its last code is at least
`first[r]`, with `r` the code of another state where the threshold moves. Numpy only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from squat.checks import check_int, check_type
from squat.integer.checks import check_accumulator, check_array
from squat.text import brief

BEFORE, SPIKE = -1, -2
"""Sources of a `ComputedState` beside the codes of this step: its own code before, and the spike of the step before."""
MOST_STATES = 3


@dataclass(frozen=True, eq=False)
class SummedState:
    """A state that takes up the synaptic sums.

    Attributes:
        bits: bits of a code, 1 to 8.
        gain: how sums come in without and after a spike: 1, -1, or 0 where the reset drops them.
        table: int32 `[2, 1 or C or N, K]`, without and after a spike.
        bound: int32 `[1 or C, K - 1]`, sorted rows.
        bias: int32 `[C]`, or None.
        shift: fraction bits of the accumulator, 0 to 16.
    """

    bits: int
    gain: tuple[int, int]
    table: np.ndarray
    bound: np.ndarray
    bias: np.ndarray | None
    shift: int

    __repr__ = brief

    def __post_init__(self) -> None:
        codes = 2 ** check_int("bits", self.bits, 1, 8)
        if len(self.gain) != 2:
            raise ValueError(f"gain: {len(self.gain)} values, expected 2")
        for gain in self.gain:
            check_int("gain", gain, -1, 1)
        check_array("table", self.table, np.int32, (2, None, codes))
        check_accumulator(codes, self.bound, self.bias, self.shift)

    @property
    def constants(self) -> int:
        """Largest magnitude that is added to a shifted sum."""
        bias = 0 if self.bias is None else np.abs(self.bias.astype(np.int64)).max(initial=0)
        return int(np.abs(self.table.astype(np.int64)).max() + bias)


@dataclass(frozen=True, eq=False)
class ComputedState:
    """A state that follows from codes.

    Attributes:
        bits: bits of a code, 1 to 8.
        sources: one or two of `BEFORE`, `SPIKE`, and indices of states updated before this one.
        table: uint8 `[1 or C or N, I, J]`; a code before has one row more than there are codes, for a fresh start; a
            spike has two. `J` is 1 with one source.
    """

    bits: int
    sources: tuple[int, ...]
    table: np.ndarray

    __repr__ = brief

    def __post_init__(self) -> None:
        codes = 2 ** check_int("bits", self.bits, 1, 8)
        check_array("table", self.table, np.uint8, (None, None, None))
        if len(self.sources) not in (1, 2):
            raise ValueError(f"sources: {len(self.sources)} of them, expected 1 or 2")
        if int(self.table.max()) >= codes:
            raise ValueError(f"table: code {int(self.table.max())}, expected codes below {codes}")


@dataclass(frozen=True, eq=False)
class States:
    """The finite machine of a layer whose neurons have several states.

    Attributes:
        names: of the states, the one that fires last.
        states: how each is updated.
        first: int32 `[R]`: lowest firing code of the last state, by code of the ruler; one entry without a ruler.
        ruler: index of the state that moves the threshold, or None.
        start: codes before the first step; None for states of 0 that lie off the grid.
    """

    names: tuple[str, ...]
    states: tuple[SummedState | ComputedState, ...]
    first: np.ndarray
    ruler: int | None
    start: tuple[int, ...] | None

    __repr__ = brief

    def __post_init__(self) -> None:
        count = check_int("number of states", len(self.states), 2, MOST_STATES)
        if len(self.names) != count or (self.start is not None and len(self.start) != count):
            raise ValueError(f"names and start: expected {count} of them, one for each state")
        for index, state in enumerate(self.states):
            if isinstance(state, ComputedState):
                self._check_sources(index, state)
        if len({_checked_name(name) for name in self.names}) != count:
            raise ValueError(f"names {self.names}: expected a name of its own for each state")
        if not any(isinstance(state, SummedState) for state in self.states):
            raise ValueError("states: none takes up synaptic sums, expected at least one")
        rulers = 1 if self.ruler is None else 2 ** self.states[check_int("ruler", self.ruler, 0, count - 2)].bits
        check_array("first", self.first, np.int32, (rulers,))
        check_int("lowest first", int(self.first.min()), 0, self.codes)
        check_int("highest first", int(self.first.max()), 0, self.codes)
        for code, bits in zip(self.start or (), self.widths, strict=False):
            check_int("start", code, 0, 2**bits - 1)

    def _check_sources(self, index: int, state: ComputedState) -> None:
        sizes = {SPIKE: 2, BEFORE: 2**state.bits + 1} | {k: 2 ** self.states[k].bits for k in range(index)}
        for source in state.sources:
            if check_int("source", source, SPIKE, len(self.states)) not in sizes or (
                source == BEFORE and source in state.sources[1:]
            ):
                raise ValueError(f"source {source} of state {index}: expected one of {sorted(sizes)}, {BEFORE} first")
        wanted = (*(sizes[source] for source in state.sources), 1)[:2]
        if state.table.shape[1:] != wanted:
            raise ValueError(f"table of state {index}: shape {state.table.shape}, expected rows of {wanted}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of the codes of every state."""
        return tuple(state.bits for state in self.states)

    @property
    def codes(self) -> int:
        """Number of codes of the state that fires."""
        return 2 ** self.states[-1].bits

    @property
    def fires(self) -> bool:
        """Whether any neuron can fire."""
        return bool((self.first < self.codes).any())

    @property
    def starts(self) -> tuple[int, ...] | None:
        """Codes before the first step, None for a fresh start."""
        return self.start

    def spikes(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Where neurons with these codes, one array a state, fire: bool."""
        first = self.first[0] if self.ruler is None else self.first[codes[self.ruler]]
        return codes[-1] >= first

    def reach(self, largest_sum: int) -> int:
        """No accumulator exceeds this magnitude if no sum exceeds `largest_sum`."""
        summed = [state for state in self.states if isinstance(state, SummedState)]
        return max((largest_sum << state.shift) + state.constants for state in summed)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array, by a name of its own."""
        for name, state in zip(self.names, self.states, strict=True):
            for part in ("table", "bound", "bias"):
                values = getattr(state, part, None)
                if values is not None:
                    yield f"{name}.{part}", values
        yield "first", self.first

    def rows(self) -> dict[str, int]:
        """Rows of every array that has some for channels or neurons."""
        sizes = {}
        for name, values in self.arrays():
            part = name.rpartition(".")[2]
            if part != "first":
                sizes[name] = values.shape[1] if part == "table" and values.dtype == np.int32 else len(values)
        return sizes


def _checked_name(name: object) -> str:
    """A name that stands in files and in the source of exported programs."""
    text = check_type("name of a state", name, str, "text")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,23}", text):
        raise ValueError(
            f"name of a state {text[:40]!r}: expected up to 24 lower-case letters, digits and _, a letter first"
        )
    return text


def next_codes(machine: States, z: np.ndarray, codes: Sequence[np.ndarray] | None, size: int) -> tuple[np.ndarray, ...]:
    """Codes of every state after a step, uint8 `[B, N]`: the specification.

    Args:
        machine: the neurons.
        z: synaptic sums `[B, N]`, recurrent ones included.
        codes: before, one `[B, N]` for each state; None for a fresh start.
        size: N.
    """
    spike = np.zeros(z.shape, np.int64) if codes is None else machine.spikes(codes).astype(np.int64)
    now: list[np.ndarray] = []
    for index, state in enumerate(machine.states):
        before = None if codes is None else codes[index]
        if isinstance(state, SummedState):
            now.append(_summed(state, z, before, spike, size))
        else:
            fresh = np.full(z.shape, 2**state.bits) if before is None else before
            sources = [{BEFORE: fresh, SPIKE: spike}[k] if k < 0 else now[k] for k in state.sources]
            column = sources[1] if len(sources) > 1 else 0
            now.append(state.table[_rows(len(state.table), size), sources[0], column])
    return tuple(now)


def _summed(state: SummedState, z: np.ndarray, before: np.ndarray | None, spike: np.ndarray, size: int) -> np.ndarray:
    acc = z.astype(np.int64) << state.shift
    if state.bias is not None:
        acc = acc + state.bias[_rows(len(state.bias), size)]
    acc = np.array(state.gain)[spike] * acc
    if before is not None:
        acc = acc + state.table[spike, _rows(state.table.shape[1], size), before]
    if len(state.bound) == 1:
        return np.searchsorted(state.bound[0], acc).astype(np.uint8)
    bound = state.bound[_rows(len(state.bound), size)]
    return (acc[..., None] > bound).sum(-1).astype(np.uint8)


def _rows(rows: int, size: int) -> np.ndarray:
    """The row of each neuron: one for all, one for the positions of a channel, or its own."""
    return np.arange(size) * rows // size
