"""What `compare` found, layer by layer: for reading as tables, for programs as JSON, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from squat.ptq.distance import SpikeSummary
from squat.ptq.report import SATURATION_WARNING, change, silence_warning, table
from squat.quant.spec import StateSpec
from squat.text import brief

Pair = tuple[float | None, float | None]
"""A number of the float network and of the quantized one."""
_ENDS = 5
"""Part of a sequence, one in so many steps, that the table calls its start or its end."""


@dataclass(frozen=True)
class StateComparison:
    """One state of a layer in the float network, against the levels that the quantized network has for it.

    Attributes:
        state: its name in the layer's state tuple, `"u"` for the membrane.
        spec: its spec in the quantized network, None for a float state.
        unit: what a level of 1 is worth, the threshold or 1.
        observed_low: lowest value.
        observed_high: highest value.
        saturated_low: share of the values below the lowest level.
        saturated_high: share of the values above the highest level.
        mean: mean over samples and neurons at each step.
        spread: standard deviation at each step.
        below: share below the lowest level at each step.
        above: share above the highest level at each step.
        histogram_low: lower end of the first bin: the levels with half their range on each side, or all that was seen.
        histogram_high: upper end of the last bin.
        histogram: counts of equal bins between; values further out are not among them.
    """

    state: str
    spec: StateSpec | None
    unit: float
    observed_low: float
    observed_high: float
    saturated_low: float
    saturated_high: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    below: tuple[float, ...]
    above: tuple[float, ...]
    histogram_low: float
    histogram_high: float
    histogram: tuple[int, ...]

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {**asdict(self), "spec": None if self.spec is None else self.spec.to_json()}


@dataclass(frozen=True)
class LayerComparison:
    """One layer of neurons in both networks.

    Attributes:
        layer: position of the layer in the network.
        kind: class of the layer.
        threshold: firing threshold.
        spec: state spec in the quantized network, None for a float state.
        spikes: how the spike trains differ, None for a layer that does not spike.
        rates: spikes per neuron and step in the float and the quantized network, None for a layer that does not spike.
        silent: share of neurons without a spike in both, None likewise.
        occupancy: share of time that the quantized neurons spend at each code; empty for a float state.
        states: the layer's states in the float network.
    """

    layer: str
    kind: str
    threshold: float
    spec: StateSpec | None
    spikes: SpikeSummary | None
    rates: Pair
    silent: Pair
    occupancy: tuple[float, ...]
    states: tuple[StateComparison, ...]

    __repr__ = brief

    @property
    def unused(self) -> int:
        """Number of codes that no neuron takes."""
        return sum(share == 0.0 for share in self.occupancy)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about this layer, one sentence each."""
        return tuple(sentence for rule in _RULES if (sentence := rule(self)))

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        spec = None if self.spec is None else self.spec.to_json()
        states = [state.to_json() for state in self.states]
        return {**asdict(self), "spec": spec, "states": states, "unused": self.unused, "warnings": list(self.warnings)}


def _silence(row: LayerComparison) -> str:
    return silence_warning(f"layer {row.layer} ({row.kind})", *row.silent)


def _saturation(row: LayerComparison) -> str:
    far = [
        f"{share:.0%} of the float {'membranes' if seen.state == 'u' else seen.state} lie {end} level"
        for seen in row.states
        for end, share in (("above the highest", seen.saturated_high), ("below the lowest", seen.saturated_low))
        if share >= SATURATION_WARNING
    ]
    return f"layer {row.layer} ({row.kind}): {' and '.join(far)}" if far else ""


def _timing(row: LayerComparison) -> str:
    if row.spikes is None or row.spikes.van_rossum < row.spikes.van_rossum_to_silence:
        return ""
    return (
        f"layer {row.layer} ({row.kind}): its spikes are as far from the float network's as silence would be "
        f"(van Rossum {row.spikes.van_rossum:.3g}, silence {row.spikes.van_rossum_to_silence:.3g})"
    )


_RULES: tuple[Callable[[LayerComparison], str], ...] = (_silence, _saturation, _timing)


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        samples: number of samples seen.
        time_constant: of van Rossum's distance, in steps.
        layers: one entry per layer of neurons.
    """

    samples: int
    time_constant: float
    layers: tuple[LayerComparison, ...]

    __repr__ = brief

    @property
    def warnings(self) -> tuple[str, ...]:
        """Silent and saturated layers, and those whose spike times are lost, one sentence each."""
        return tuple(sentence for row in self.layers for sentence in row.warnings)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        layers = [row.to_json() for row in self.layers]
        return {"samples": self.samples, "time_constant": self.time_constant, "layers": layers}

    def save_picture(self, path: Path | str) -> None:
        """Histograms with their levels, states over time and spike distances, drawn by matplotlib, written atomically.

        Args:
            path: of the file; its ending (`.png`, `.svg`, `.pdf`) says the format.

        Raises:
            ValueError: for a missing folder or an unknown ending.
        """
        from squat.ptq.picture import save_picture

        save_picture(self, Path(path))

    def __str__(self) -> str:
        head = ("layer", "states", "spec", "below", "above", "codes used", "silent", "spike rate")
        lines = [f"compared on {self.samples} samples", "", *table(head, [_state_cells(row) for row in self.layers])]
        spiking = [(row, row.spikes) for row in self.layers if row.spikes is not None]
        if spiking:
            cells = [(row.layer, row.kind, *_spike_cells(spikes)) for row, spikes in spiking]
            columns = ("layer", "spikes", "differing", "count, absolute", "signed", "van Rossum", "of silence")
            lines += ["", *table(columns, cells)]
        cells = [_time_cells(row, seen) for row in self.layers for seen in row.states]
        lines += ["", *table(("layer", "float state", "mean, start -> end", "spread", "below", "above"), cells)]
        return "\n".join([*lines, *(f"warning: {sentence}" for sentence in self.warnings)])


def _state_cells(row: LayerComparison) -> tuple[str, ...]:
    membrane = next(seen for seen in row.states if seen.state == "u")
    return (
        row.layer,
        row.kind,
        "float" if row.spec is None else f"{type(row.spec).__name__}, {row.spec.bits} bit",
        f"{membrane.saturated_low:.1%}",
        f"{membrane.saturated_high:.1%}",
        f"{len(row.occupancy) - row.unused} of {len(row.occupancy)}" if row.occupancy else "-",
        change(*row.silent, ".0%"),
        change(*row.rates, ".4f"),
    )


def _spike_cells(spikes: SpikeSummary) -> tuple[str, ...]:
    return (
        f"{spikes.differing:.2%}",
        f"{spikes.count_difference:.2f}",
        f"{spikes.count_change:+.2f}",
        f"{spikes.van_rossum:.3f}",
        f"{spikes.van_rossum_to_silence:.3f}",
    )


def _time_cells(row: LayerComparison, seen: StateComparison) -> tuple[str, ...]:
    parts = ((seen.mean, ".3g"), (seen.spread, ".3g"), (seen.below, ".1%"), (seen.above, ".1%"))
    return row.layer, f"{row.kind}.{seen.state}", *(change(*start_and_end(values), form) for values, form in parts)


def start_and_end(values: Sequence[float]) -> tuple[float, float]:
    """Means over the first and the last fifth of the steps.

    Example:
        >>> start_and_end([0.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 4.0, 6.0])
        (1.0, 5.0)
    """
    steps = max(1, len(values) // _ENDS)
    return sum(values[:steps]) / steps, sum(values[-steps:]) / steps
