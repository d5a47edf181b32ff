"""The report of an integer network: bytes at real bit widths, operations, energy, each beside its baselines."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from squat.integer.activity import Activity, activities
from squat.integer.energy import PICOJOULE, Energy, baseline_energy, integer_energy, total
from squat.integer.network import IntegerNetwork
from squat.integer.packing import packed_bytes, stored_arrays
from squat.integer.parts import Layer
from squat.text import brief

SCORE_BITS = 32
"""Bits of a class's score."""


@dataclass(frozen=True)
class Sizes:
    """Bytes that a network needs.

    Attributes:
        weights: input and recurrent weights.
        states: one code (or value) for every state of every neuron.
        tables: tables, boundaries, biases, and what the readout looks up.
        accumulators: one for every sum of the largest layer, since layers run one after the other, and the scores.
    """

    weights: int
    states: int
    tables: int
    accumulators: int

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.weights + self.states + self.tables + self.accumulators


@dataclass(frozen=True)
class Report:
    """Sizes, and on given inputs operations and energy per sample.

    Attributes:
        sizes: of the network as stored and run, packed.
        float32: the same network with float32 weights and states.
        int16_states: the same weights with int16 states.
        file_bytes: of packed arrays in a file, without its header.
        accumulator_bits: of each layer.
        samples, steps: of the inputs, 0 without.
        layers: what each layer did; empty without inputs.
        energy: picojoules per sample, by machine and purpose; empty without inputs.
    """

    sizes: Sizes
    float32: Sizes
    int16_states: Sizes
    file_bytes: int
    accumulator_bits: dict[str, int]
    samples: int
    steps: int
    layers: tuple[Activity, ...]
    energy: dict[str, Energy]

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """All values as JSON, with the constants of the energy estimate."""
        return {**asdict(self), "layers": [asdict(layer) for layer in self.layers], "picojoule": PICOJOULE}

    def __str__(self) -> str:
        return "\n".join([*self._size_lines(), *self._layer_lines(), *self._energy_lines()])

    def _size_lines(self) -> list[str]:
        rows = {"integer": self.sizes, "float32": self.float32, "int16 states": self.int16_states}
        lines = [f"{'bytes':14}{'weights':>10}{'states':>10}{'tables':>10}{'accumul.':>10}{'total':>10}{'ratio':>9}"]
        for name, sizes in rows.items():
            cells = (sizes.weights, sizes.states, sizes.tables, sizes.accumulators, sizes.total)
            numbers = "".join(f"{cell:>10}" for cell in cells)
            lines.append(f"{name:14}{numbers}{sizes.total / self.sizes.total:>8.2f}x")
        return [*lines, f"a file holds {self.file_bytes} bytes of packed arrays and its header"]

    def _layer_lines(self) -> list[str]:
        lines = [] if not self.layers else [f"per sample of {self.steps} steps, mean of {self.samples} samples:"]
        for layer in self.layers:
            lines += [
                f"layer {layer.name}: spike rate {layer.spike_rate:.2%}, saturation {layer.saturation:.2%}, "
                f"{layer.connection_sparsity:.2%} of weights 0, accumulator {self.accumulator_bits[layer.name]} bits",
                f"  {layer.synaptic_operations:.0f} synaptic operations, "
                f"{layer.synaptic_operations / self.steps:.1f} a step (dense {layer.dense_operations:.0f}), "
                f"{layer.input_events:.0f} events",
                f"  {layer.state_reads:.0f} state reads, {layer.state_writes:.0f} writes, {layer.adds:.0f} adds, "
                f"{layer.compares:.0f} compares with boundaries, {layer.maxima:.0f} of sums, "
                f"{layer.multiplications:.0f} multiplications, {layer.membrane_updates:.0f} codes changed",
            ]
            if len(layer.occupancy) in range(1, 17):
                lines.append("  codes: " + " ".join(f"{share:.1%}" for share in layer.occupancy))
        return lines

    def _energy_lines(self) -> list[str]:
        if not self.energy:
            return []
        constants = ", ".join(f"{name} {value:.3g}" for name, value in PICOJOULE.items())
        head = "".join(f"{name:>17}" for name in Energy.__dataclass_fields__)
        lines = [
            f"energy estimate in nJ per sample (45 nm; pJ: {constants}; a compare counts as an add;",
            "accumulators in registers, packed weights, codes and tables in 8 KB SRAM, larger memories cost more)",
            f"{'':14}{head}{'total':>9}",
        ]
        for name, energy in self.energy.items():
            cells = "".join(f"{value / 1000:>17.3f}" for value in vars(energy).values())
            lines.append(f"{name:14}{cells}{energy.total / 1000:>9.3f}")
        return lines


def report(net: IntegerNetwork, x: Any = None) -> Report:
    """See `IntegerNetwork.report`."""
    with_weights = [layer for layer in net.layers if isinstance(layer, Layer)]
    found: list[Activity] = [] if x is None else activities(net, x)[1]
    pairs = list(zip(with_weights, found, strict=False))
    energy = {} if x is None else {
        "integer": total([integer_energy(*pair) for pair in pairs]),
        **{name: total([baseline_energy(*pair, name) for pair in pairs]) for name in ("float32", "int16 states")},
    }  # fmt: skip
    steps, samples = (0, 0) if x is None else np.shape(x)[:2]
    return Report(
        sizes=_sizes(net),
        float32=_sizes(net, weight_bits=32, state_bits=32),
        int16_states=_sizes(net, state_bits=16),
        file_bytes=sum(array.bytes for array in stored_arrays(net)),
        accumulator_bits={layer.name: layer.accumulator_bound.bit_length() + 1 for layer in with_weights},
        samples=samples,
        steps=steps,
        layers=tuple(found),
        energy=energy,
    )


def _sizes(net: IntegerNetwork, weight_bits: int | None = None, state_bits: int | None = None) -> Sizes:
    """At the real bit widths, or of a baseline, which has biases as wide as its states and no tables."""
    arrays = list(stored_arrays(net))
    weights = [array for array in arrays if array.name.endswith((".weight", ".recurrent"))]
    tables = [array for array in arrays if not array.name.endswith((".weight", ".recurrent"))]
    if state_bits is not None:
        tables = [array._replace(bits=state_bits) for array in tables if array.name.endswith(".bias")]
    if weight_bits is not None:
        weights = [array._replace(bits=weight_bits) for array in weights]
    codes = [(layer.size, bits) for layer in net.neuron_layers if layer.neurons for bits in layer.neurons.widths]
    with_weights = [layer for layer in net.layers if isinstance(layer, Layer)]
    widest = max(
        packed_bytes(math.prod(layer.sum_shape), weight_bits or layer.accumulator_bound.bit_length() + 1)
        for layer in with_weights
    )
    return Sizes(
        weights=sum(array.bytes for array in weights),
        states=sum(packed_bytes(size, state_bits or bits) for size, bits in codes),
        tables=sum(array.bytes for array in tables),
        accumulators=widest + (0 if net.readout is None else packed_bytes(net.last.size, SCORE_BITS)),
    )
