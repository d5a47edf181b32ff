"""What `quantize_` and `dequantize_` did, for reading as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squat.text import MORE, brief, columns, on_screen


@dataclass(frozen=True)
class Change:
    """One row of the report: what a layer's weights or states were and are; None is float."""

    layer: str
    kind: str
    part: str
    before: Any
    after: Any

    __repr__ = brief

    @property
    def changed(self) -> bool:
        """Whether the spec is another one than before."""
        return self.before != self.after


@dataclass(frozen=True, repr=False)
class QuantizationReport:
    """What `quantize_` or `dequantize_` did; shown and printed as a table.

    Attributes:
        rows: one `Change` for the weights and one for the states of every layer that has them, also the unchanged ones.
    """

    rows: tuple[Change, ...]

    def __str__(self) -> str:
        return columns(("layer", "class", "part", "before", "after"), map(_cells, self.rows))

    def __repr__(self) -> str:
        """The table too, so that a notebook shows it."""
        return on_screen(str(self), MORE)


def _cells(row: Change) -> tuple[str, ...]:
    return row.layer, row.kind, row.part, _shown(row.before), _shown(row.after) if row.changed else "unchanged"


def _shown(spec: Any) -> str:
    return "float" if spec is None else str(spec)
