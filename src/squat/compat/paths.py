"""From a value back to what it was computed of: layers, functions, and branches that are added."""

from __future__ import annotations

from dataclasses import dataclass, field

from squat.compat.structure import refusal
from squat.compat.values import Call, Value, held, same

JOINS = ("add", "add_", "__add__", "__radd__", "__iadd__")
"""Functions that add two branches."""
WRITES = {"__setitem__": "an assignment by index", "data": "an assignment to .data"}


@dataclass
class Piece:
    """One layer or function on the way, an addition with its two branches, or a fork with its heads."""

    call: Call
    branches: list[list[Piece]] = field(default_factory=list)

    def names(self) -> tuple[object, ...]:
        """What must be the same at every step."""
        inner = tuple(tuple(piece.names() for piece in branch) for branch in self.branches)
        return (self.call.link.name, "" if self.call.is_layer or inner else _plain(self.call), *inner)

    def calls(self) -> list[Call]:
        """Its own, and those of its branches."""
        return [self.call, *(call for branch in self.branches for piece in branch for call in piece.calls())]


Path = tuple[list[Piece], list[Value]]
"""Pieces in the order of computation, and the values before, between and behind them."""


class Paths:
    """Paths of one step.

    Args:
        layers: the calls of layers of this step.
    """

    def __init__(self, layers: list[Call]) -> None:
        self.layers = set(layers)
        self.known: dict[Value, Path] = {}

    def to(self, value: Value, here: str) -> Path:
        """The path to a value, from the first that no layer enters.

        Args:
            value: where it ends.
            here: the name of what reads it.

        Raises:
            ValueError: where that is no path of layers of this step.
        """
        value = unchanged(value)
        if value not in self.known:
            self.known[value] = self._to(value, here)
        return self.known[value]

    def _to(self, value: Value, here: str) -> Path:
        call = value.maker
        if call is None or not value.from_layer:
            if value.late:
                raise refusal(f"{here} takes a tensor that was made while it ran, by no function of torch that is seen")
            return [], [value]
        if is_join(call, value):
            return self._join(call, value)
        if call.is_layer:
            self._check_output(call, value, here)
        else:
            _check_function(call, value, here)
        pieces, values = self.to(call.inputs[0], call.link.name)
        return [*pieces, Piece(call)], [*values, value]

    def _check_output(self, call: Call, value: Value, here: str) -> None:
        name = call.link.name
        if call not in self.layers:
            raise refusal(f"{here} takes what {name} gave in another step; only states are carried from step to step")
        if value is not call.outputs[0]:
            raise refusal(
                f"{here} takes a state of {name}, expected the output of {name}, the layer that runs before it"
            )

    def _join(self, call: Call, value: Value) -> Path:
        """The branches from the last value that both come from."""
        (one, passed), (other, crossed) = (self.to(given, call.link.name) for given in call.inputs)
        pairs = [(i, j) for i, mine in enumerate(passed) for j, theirs in enumerate(crossed) if equal(mine, theirs)]
        if not pairs and one and other:
            raise refusal(
                f"{call.link.name}(...) adds what layers give of two different tensors; the branches of a sum start "
                "from the same one"
            )
        if not pairs:
            raise refusal(f"{call.link.name}(...) adds a tensor from outside to what the layers give; use a bias")
        i, j = max(pairs)
        piece = Piece(call, [one[i:], other[j:]])
        return [*one[:i], piece], [*passed[: i + 1], value]


def unchanged(value: Value, layers: bool = False) -> Value:
    """What it was before functions that change nothing; with `layers` also before such layers (`nn.Identity`)."""
    while value.maker is not None and value.maker.keeps and (layers or not value.maker.is_layer):
        value = value.maker.inputs[0]
    return value


def equal(one: Value, other: Value) -> bool:
    """The same value; of what no layer enters, also one that was computed twice in the same way, as `x[t]`."""
    if one is other or one.from_layer or other.from_layer:
        return one is other
    waiting, seen = [(one, other)], set[tuple[Value, Value]]()
    while waiting:
        pair = waiting.pop()
        if pair[0] is pair[1] or pair in seen:
            continue
        seen.add(pair)
        mine, theirs = pair[0].maker, pair[1].maker
        if mine is None or theirs is None or not _alike(mine, theirs):
            return False
        waiting += zip(mine.inputs, theirs.inputs, strict=True)
    return same(held(one), held(other))  # random numbers differ


def _alike(mine: Call, theirs: Call) -> bool:
    """Whether two calls are of one function with the same arguments, but for tensors."""
    equal_inputs = len(mine.inputs) == len(theirs.inputs)
    return equal_inputs and mine.link.name == theirs.link.name and _plain(mine) == _plain(theirs)


def is_join(call: Call, value: Value | None = None) -> bool:
    """Whether it adds two tensors of one shape, perhaps in the place of the first."""
    if call.link.name not in JOINS or len(call.args) != 2 or call.kwargs or len(call.inputs) != 2:
        return False
    one, other = call.inputs
    in_place = call.writes and (value is None or value.tensor is one.tensor)
    return one.tensor.shape == other.tensor.shape and (bool(in_place) or not call.writes)


def in_words(call: Call) -> str:
    """A function, or a write."""
    return WRITES.get(call.link.name, f"{call.link.name}(...)")


def _check_function(call: Call, value: Value, here: str) -> None:
    if call.writes:
        raise refusal(
            f"{in_words(call)} changes in place what {here} takes; squat repeats no such write: take it out, or put it "
            "into the weights"
        )
    if value is not call.outputs[0]:
        raise refusal(f"{here} takes one of several tensors that {in_words(call)} gives, which cannot be converted")
    if any(other.from_layer or other.maker is not None or other.late for other in call.inputs[1:]):
        raise refusal(
            f"{call.link.name} joins several tensors between layers before {here}; converted is the sum of two "
            "branches of one shape"
        )


def _plain(call: Call) -> str:
    """The arguments of a function that are no tensors, as far as they show."""
    return repr([value for value in (*call.args[1:], *call.kwargs.items()) if not hasattr(value, "shape")])
