"""What calibration saw and chose, layer by layer: for reading as a table and for programs as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from squat.ptq.bias import BiasReport
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.text import brief

SATURATION_WARNING = 0.1
"""Share of the membranes outside the levels from which a layer is called saturated."""
SILENCE_WARNING = 0.5
"""Share of neurons without a spike from which a layer is called silent, if quantization silenced some of them."""


@dataclass(frozen=True)
class WeightReport:
    """One quantized weight: `error` is the mean squared error relative to the mean square of the float weights."""

    layer: str
    kind: str
    spec: IntWeight
    scale_low: float
    scale_high: float
    error: float

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "spec": self.spec.to_json()}


@dataclass(frozen=True)
class StateReport:
    """One layer of neurons: float membranes `u` against the levels chosen for them.

    Attributes:
        layer: position of the layer in the network.
        kind: class of the layer, with the name of a state that is not the membrane.
        threshold: firing threshold; of another state what a level of 1 is worth.
        spec: the state spec the layer has now, None for a float state.
        observed_low: lowest float membrane on the calibration data.
        observed_high: highest float membrane on the calibration data.
        chosen_low: lowest level, None for a float state.
        chosen_high: highest level, None for a float state.
        saturated_low: share of the float membranes below the lowest level.
        saturated_high: share of the float membranes above the highest level.
        silent_before: share of neurons without a spike before calibration, None for a layer that does not spike.
        silent_after: the same after calibration.
        rate_before: spikes per neuron and step before calibration, None for a layer that does not spike.
        rate_after: the same after calibration.
    """

    layer: str
    kind: str
    threshold: float
    spec: StateSpec | None
    observed_low: float
    observed_high: float
    chosen_low: float | None
    chosen_high: float | None
    saturated_low: float
    saturated_high: float
    silent_before: float | None
    silent_after: float | None
    rate_before: float | None
    rate_after: float | None

    __repr__ = brief

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about this layer, one sentence each."""
        return tuple(sentence for rule in _RULES if (sentence := rule(self)))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        spec = None if self.spec is None else self.spec.to_json()
        return {**asdict(self), "spec": spec, "warnings": list(self.warnings)}


def _silent(row: StateReport) -> str:
    return silence_warning(f"layer {row.layer} ({row.kind})", row.silent_before, row.silent_after)


def silence_warning(layer: str, before: float | None, after: float | None) -> str:
    """A sentence about a layer that quantization has silenced, `""` if it has not, from shares of silent neurons."""
    if before is None or after is None:
        return ""
    if after == 1.0:
        was = "as before" if before == 1.0 else f"before calibration {before:.0%} were silent"
        return f"{layer}: no neuron spikes on the calibration data ({was})"
    if after >= SILENCE_WARNING and after > before:
        return f"{layer}: {after:.0%} of the neurons are silent, {before:.0%} before calibration"
    return ""


def _saturated(row: StateReport) -> str:
    ends = (("above the highest", row.saturated_high), ("below the lowest", row.saturated_low))
    far = [(end, share) for end, share in ends if share >= SATURATION_WARNING]
    parts = [f"{share:.0%} of the float membranes lie {end} level" for end, share in far]
    remedy = "; state_range='calibrated' fits the range to the data" if parts else ""
    return f"layer {row.layer} ({row.kind}): {' and '.join(parts)}{remedy}" if parts else ""


_RULES: tuple[Callable[[StateReport], str], ...] = (_silent, _saturated)


@dataclass(frozen=True)
class CalibrationReport:
    """Result of `calibrate`: prints as a table, `to_json` for programs.

    Attributes:
        samples: number of samples seen.
        state_range: the rule that fitted the levels.
        weights: one entry per layer with quantized weights.
        states: one entry per layer of neurons.
        biases: one entry per layer whose bias was corrected.
    """

    samples: int
    state_range: str
    weights: tuple[WeightReport, ...]
    states: tuple[StateReport, ...]
    biases: tuple[BiasReport, ...] = ()

    __repr__ = brief

    @property
    def warnings(self) -> tuple[str, ...]:
        """Silent and saturated layers, one sentence each."""
        return tuple(sentence for row in self.states for sentence in row.warnings)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        biases = {"biases": [row.to_json() for row in self.biases]} if self.biases else {}
        return {
            "samples": self.samples,
            "state_range": self.state_range,
            "weights": [row.to_json() for row in self.weights],
            "states": [row.to_json() for row in self.states],
            **biases,
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        lines = [f"calibrated on {self.samples} samples, state range: {self.state_range}"]
        if self.weights:
            cells = [_weight_cells(row) for row in self.weights]
            lines += ["", *table(("layer", "weights", "spec", "scale", "rel. error"), cells)]
        if self.states:
            cells = [_state_cells(row) for row in self.states]
            head = ("layer", "states", "spec", "observed", "levels", "below", "above", "silent", "spike rate")
            lines += ["", *table(head, cells)]
        if self.biases:
            cells = [(row.layer, row.kind, f"{row.shift_before:.3g} -> {row.shift_after:.3g}") for row in self.biases]
            lines += ["", *table(("layer", "bias", "rms shift of the mean current"), cells)]
        return "\n".join([*lines, *(f"warning: {sentence}" for sentence in self.warnings)])


def _weight_cells(row: WeightReport) -> tuple[str, ...]:
    one = row.scale_low == row.scale_high
    scale = f"{row.scale_low:.3g}" if one else f"{row.scale_low:.3g} .. {row.scale_high:.3g}"
    spec = f"{row.spec.bits} bit, {row.spec.granularity}, {row.spec.scale}"
    return row.layer, row.kind, spec, scale, f"{row.error:.2%}"


def _state_cells(row: StateReport) -> tuple[str, ...]:
    quantized = row.chosen_low is not None and row.chosen_high is not None
    return (
        row.layer,
        row.kind,
        "float" if row.spec is None else f"{type(row.spec).__name__}, {row.spec.bits} bit",
        f"{row.observed_low:.3g} .. {row.observed_high:.3g}",
        f"{row.chosen_low:.3g} .. {row.chosen_high:.3g}" if quantized else "-",
        f"{row.saturated_low:.1%}",
        f"{row.saturated_high:.1%}",
        change(row.silent_before, row.silent_after, ".0%"),
        change(row.rate_before, row.rate_after, ".4f"),
    )


def change(before: float | None, after: float | None, form: str) -> str:
    """Two numbers in a table's cell, `-` if there are none."""
    return "-" if before is None or after is None else f"{before:{form}} -> {after:{form}}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table of words, columns aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return [line.rstrip() for line in lines]
