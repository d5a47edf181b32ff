"""An energy estimate from counted operations; constants and dataflow are stated, and it is no measurement.

Dataflow: one layer after the other, its accumulators in registers; per step each event fetches its row of weights, each
neuron reads and writes its code, reads one entry of its table and as many boundaries as a code has bits. All memory is
8 KB SRAM whose 64-bit words are shared by packed values; larger memories cost more for each bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from squat.integer.activity import Activity
from squat.integer.packing import needed_bits
from squat.integer.parts import Layer
from squat.text import brief

PICOJOULE = {
    "SRAM bit": 10.0 / 64,
    "int32 add": 0.1,
    "int8 multiply": 0.2,
    "int32 multiply": 3.1,
    "float32 add": 0.9,
    "float32 multiply": 3.7,
}
"""45 nm: Horowitz, ISSCC 2014; 64 bits of an 8 KB SRAM 10 pJ. A compare counts as an add."""


class Machine(NamedTuple):
    """What a baseline does otherwise: bits of its weights, states and table, and the energy of its operations."""

    weight_bits: int
    state_bits: int
    add: float
    decay: float
    product: float

    def __repr__(self) -> str:
        return brief(self)


@dataclass(frozen=True)
class Energy:
    """Picojoules for one sample, by what they are spent on."""

    weights: float
    states: float
    tables: float
    adds: float
    compares: float
    multiplications: float

    __repr__ = brief

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return sum(vars(self).values())


def integer_energy(layer: Layer, activity: Activity) -> Energy:
    """Of the integer network."""
    table = bound = bits = 0.0
    if layer.neurons is not None:
        arrays = list(layer.neurons.arrays())
        table = _mean_bits(values for name, values in arrays if name.endswith("table"))
        bound = _mean_bits(values for name, values in arrays if name.endswith("bound"))
        bits = sum(layer.neurons.widths) / len(layer.neurons.widths)
    bit, add = PICOJOULE["SRAM bit"], PICOJOULE["int32 add"]
    return Energy(
        weights=activity.synaptic_operations * layer.weight_bits * bit,
        states=(activity.state_reads + activity.state_writes) * bits * bit,
        tables=(activity.state_reads * table + activity.compares * bound) * bit,
        adds=activity.adds * add,
        compares=(activity.compares + activity.maxima) * add,
        multiplications=activity.multiplications * PICOJOULE["int8 multiply"],
    )


def _mean_bits(arrays: Iterable[np.ndarray]) -> float:
    """Bits of an entry, the mean over a neuron's states."""
    bits = [needed_bits(values) for values in arrays]
    return sum(bits) / len(bits)


def baseline_energy(layer: Layer, activity: Activity, state: str) -> Energy:
    """Of the same spikes with a float32 network, or with the same weights and int16 states that a multiply decays."""
    machine = {
        "float32": Machine(32, 32, *(PICOJOULE[f"float32 {name}"] for name in ("add", "multiply", "multiply"))),
        "int16 states": Machine(layer.weight_bits, 16, PICOJOULE["int32 add"], PICOJOULE["int32 multiply"],
                                PICOJOULE["int8 multiply"]),
    }[state]  # fmt: skip
    bit = PICOJOULE["SRAM bit"]
    return Energy(
        weights=activity.synaptic_operations * machine.weight_bits * bit,
        states=(activity.state_reads + activity.state_writes) * machine.state_bits * bit,
        tables=0.0,
        adds=activity.adds * machine.add,
        compares=(activity.state_writes + activity.maxima) * machine.add,
        multiplications=activity.multiplications * machine.product + activity.state_reads * machine.decay,
    )


def total(parts: list[Energy]) -> Energy:
    """The sum over layers."""
    return Energy(*(sum(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))
