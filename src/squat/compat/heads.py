"""Several ends of one network: the layers that they share, then a fork into the chains of each."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

from squat.compat.paths import Path, Piece, equal
from squat.compat.structure import FORK, Link, refusal
from squat.compat.values import Call


def forked(paths: list[Path]) -> list[Piece]:
    """The pieces of one step, with a fork at the end where there are several paths.

    Raises:
        ValueError: where they start from different values, or part in the middle of a branch that is added.
    """
    pieces = _forked(paths)
    times = Counter(call for piece in pieces for call in piece.calls())
    twice = next((call.link.name for call, count in times.items() if count > 1), None)
    if twice is not None:
        raise refusal(
            f"its heads share {twice}, in a branch that one of them adds; expected heads that part before the branches "
            "of a sum, or behind it"
        )
    return pieces


def _forked(paths: list[Path]) -> list[Piece]:
    if len(paths) == 1:
        return paths[0][0]
    columns = zip(*([piece.call for piece in pieces] for pieces, _ in paths), strict=False)
    shared = len(list(takewhile(lambda calls: len(set(calls)) == 1, columns)))
    starts = [values[shared] for _, values in paths]
    if not all(equal(starts[0], start) for start in starts):
        names = " and ".join(pieces[shared].call.link.name for pieces, _ in paths)
        raise refusal(f"its heads start from different inputs, at {names}; convert a network for each")
    groups: dict[Call, list[Path]] = {}
    for pieces, values in paths:
        groups.setdefault(pieces[shared].call, []).append((pieces[shared:], values[shared:]))
    fork = Piece(Call(Link("heads", FORK)), [_forked(group) for group in groups.values()])
    return [*paths[0][0][:shared], fork]


def last_calls(pieces: list[Piece]) -> list[Call]:
    """The last call of every head, in the order of the fork."""
    last = pieces[-1]
    return [call for head in last.branches for call in last_calls(head)] if last.call.link.key == FORK else [last.call]
