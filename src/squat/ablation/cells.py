r"""The cells of the 2 x 2 design: where the low-bit weights and the low-bit states of a network come from.

| weights \ states | float        | PTQ              | SQUAT              |
|-------------------|--------------|------------------|--------------------|
| float             | `float`      | `state-ptq`      | `squat`            |
| PTQ               | `weight-ptq` | `ptq`            | `squat+weight-ptq` |
| QAT               | `qat`        | `qat+state-ptq`  | `qat+squat`        |

PTQ: quantized after training. QAT, SQUAT: weights, states quantized while training.
"""

from __future__ import annotations

from dataclasses import dataclass

from squat.checks import check_choice

WEIGHT_SOURCES = ("float", "ptq", "qat")
STATE_SOURCES = ("float", "ptq", "squat")


@dataclass(frozen=True)
class Cell:
    """One cell: a name, where its weights and where its states come from.

    Args:
        name: the name in configs, records and tables.
        weights: "float", "ptq" (quantized after training) or "qat" (while training).
        states: "float", "ptq" or "squat" (while training).

    Raises:
        ValueError: for another source.

    Example:
        >>> Cell("mine", weights="qat", states="ptq").parent_sources
        ('qat', 'float')
    """

    name: str
    weights: str
    states: str

    def __post_init__(self) -> None:
        check_choice("weights", self.weights, WEIGHT_SOURCES)
        check_choice("states", self.states, STATE_SOURCES)

    @property
    def trained(self) -> bool:
        """Whether the cell is trained; otherwise it is calibrated from a trained cell's network."""
        return "ptq" not in (self.weights, self.states)

    @property
    def parent_sources(self) -> tuple[str, str]:
        """Weight and state sources of the trained cell this cell starts from (itself if trained)."""
        return (
            "float" if self.weights == "ptq" else self.weights,
            "float" if self.states == "ptq" else self.states,
        )


CELLS: dict[str, Cell] = {}


def register_cell(cell: Cell) -> Cell:
    """Adds a cell under its name, so that configs can list it.

    Raises:
        ValueError: if another cell has the name.

    Example:
        >>> register_cell(Cell("qat", "qat", "float")).name
        'qat'
    """
    if CELLS.get(cell.name, cell) != cell:
        raise ValueError(f"cell {cell.name!r} is registered as {CELLS[cell.name]}; choose another name")
    CELLS[cell.name] = cell
    return cell


for _name, _weights, _states in (
    ("float", "float", "float"),
    ("state-ptq", "float", "ptq"),
    ("squat", "float", "squat"),
    ("weight-ptq", "ptq", "float"),
    ("ptq", "ptq", "ptq"),
    ("squat+weight-ptq", "ptq", "squat"),
    ("qat", "qat", "float"),
    ("qat+state-ptq", "qat", "ptq"),
    ("qat+squat", "qat", "squat"),
):
    register_cell(Cell(_name, _weights, _states))


def get_cell(name: str) -> Cell:
    """The registered cell called `name`.

    Raises:
        ValueError: for a name that is not registered; the message lists those that are.

    Example:
        >>> get_cell("ptq").trained
        False
    """
    return CELLS[check_choice("cell", name, CELLS, "register others with squat.ablation.register_cell")]


def parent_of(cell: Cell) -> Cell:
    """The trained cell whose network `cell` is calibrated from; a trained cell is its own parent.

    Example:
        >>> parent_of(get_cell("qat+state-ptq")).name
        'qat'
    """
    if cell.trained:
        return cell
    return next(other for other in CELLS.values() if (other.weights, other.states) == cell.parent_sources)
