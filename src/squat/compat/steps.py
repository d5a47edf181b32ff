"""The steps of a time loop: the calls of layers cut into steps, their states, and the links that they make."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from squat.compat.paths import Piece, in_words, unchanged
from squat.compat.structure import FORK, Link, refusal
from squat.compat.values import SHAPED, Call, Value, held


def by_step(layers: list[Call]) -> list[list[Call]]:
    """The calls cut into steps, each with every layer once and in the same order."""
    times: dict[str, int] = {}
    for call in layers:
        times[call.link.name] = times.get(call.link.name, 0) + 1
    once = _constant(layers, times)
    layers = [call for call in layers if call not in once]
    names = [name for name in times if name not in {call.link.name for call in once}]
    if len({times[name] for name in names}) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in times.items())
        raise refusal(
            f"its layers run a different number of times ({listed}); expected each once in every step, so move "
            "what runs outside the time loop into it, and give every place a module of its own"
        )
    steps = [layers[at : at + len(names)] for at in range(0, len(layers), len(names))]
    for step in steps:
        found = [call.link.name for call in step]
        if found != names:
            raise refusal(
                f"its layers run in another order in a later step ({', '.join(found)}) than in the first "
                f"({', '.join(names)})"
            )
    return [once + step for step in steps]


def _constant(layers: list[Call], times: dict[str, int]) -> list[Call]:
    """Layers without states that run once before a loop: what they give, they would give at every step."""
    once: list[Call] = []
    for call in layers if max(times.values()) > 1 else []:
        if times[call.link.name] > 1 or call.before:
            break
        once.append(call)
    return once


def check_states(steps: list[list[Call]]) -> None:
    """A neuron's states are its own of the step before; at first zero."""
    for t, step in enumerate(steps):
        for k, call in enumerate(step):
            for name, value in call.before.items():
                origin = unchanged(value, layers=True)
                own = t > 0 and origin is steps[t - 1][k].after[name]
                if not own and not (t == 0 and _is_zero(origin)):
                    expected = "zero at first" if t == 0 else "what it returned in the step before"
                    raise refusal(f"{call.link.name} gets a state in step {t} that is not {expected}{_writer(origin)}")


def _is_zero(value: Value) -> bool:
    """Zero for every input, and not trained."""
    depends = value.from_input or value.from_layer or value.late or _is_trained(value)
    return not depends and not bool(held(value).any())


def _is_trained(value: Value) -> bool:
    """Whether a parameter enters it, and not only with its shape."""
    waiting, seen = [value], set[Value]()
    while waiting:
        value = waiting.pop()
        if isinstance(value.tensor, nn.Parameter):
            return True
        seen.add(value)
        if value.maker is not None and value.maker.link.name not in SHAPED:
            waiting += [given for given in value.maker.inputs if given not in seen]
    return False


def _writer(value: Value) -> str:
    return f": {in_words(value.maker)} changed it in place" if value.maker is not None and value.maker.writes else ""


def links_of_steps(trees: Sequence[list[Piece]]) -> list[Link]:
    """One link for each piece, which must be the same at every step."""
    kinds = {tuple(piece.names() for piece in tree) for tree in trees}
    if len(kinds) > 1:
        listed = sorted({", ".join(piece.call.link.name for piece in tree) for tree in trees})
        raise refusal(f"layers and functions, or their arguments, change from step to step: {'; '.join(listed)}")
    return [_link(pieces) for pieces in zip(*trees, strict=True)]


def _link(pieces: tuple[Piece, ...]) -> Link:
    call = pieces[0].call
    if pieces[0].branches:
        branches = [links_of_steps(branch) for branch in zip(*(piece.branches for piece in pieces), strict=True)]
        link = Link(call.link.name, FORK if call.link.key == FORK else "structure.Residual", branches=branches)
    else:
        arguments = ((), {}) if call.is_layer else (call.args[1:], call.kwargs)
        link = Link(call.link.name, call.link.key, call.link.module, arguments)
        link.inputs = [held(piece.call.inputs[0]) for piece in pieces]
        link.membranes = [held(piece.call.after["mem"]) for piece in pieces if "mem" in call.after]
        taken = [value for piece in pieces for value in (*piece.call.inputs[:1], *piece.call.before.values())]
        link.detached = any(map(_is_detached, taken))
    link.outputs = [held(value) for piece in pieces for value in piece.call.outputs[:1]]
    return link


def _is_detached(value: Value) -> bool:
    """Whether what a layer gave was cut off from the gradient on its way here."""
    while value.from_layer and value.maker is not None and value.maker.keeps and not value.maker.is_layer:
        if value.maker.link.name in ("detach", "data"):
            return True
        value = value.maker.inputs[0]
    return False
