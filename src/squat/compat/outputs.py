"""What a network reads of its last layers, and of hidden ones: which of it a conversion gives, and what is refused."""

from __future__ import annotations

from squat.compat.paths import in_words, is_join, unchanged
from squat.compat.structure import Link, ends_of, neurons_in, refusal
from squat.compat.values import Call, Record, Value, held

READOUTS = {
    *(
        "stack",
        "cat",
        "concat",
        "hstack",
        "vstack",
        "__setitem__",
        "copy_",
        "index_copy_",
        "sum",
        "mean",
        "max",
        "argmax",
    ),
    *("reshape", "view", "squeeze", "unsqueeze", "flatten", "softmax", "log_softmax", "cross_entropy", "mse_loss"),
}
"""Functions that collect, count or judge outputs; others would make another output of them."""
SHAPES = {"reshape", "view", "squeeze", "unsqueeze", "flatten"}
"""Functions that give outputs another shape."""
Read = tuple[str, Value]
"""What is read beside the chain, and by what."""


def mark_outputs(
    ran: Record, steps: list[list[Call]], links: list[Link], ends: list[list[Value]], reads: list[Read]
) -> None:
    """Mark whether spikes or the membrane of a last layer are read, and hidden spikes; nothing else may be.

    Args:
        ran: what happened.
        steps: the calls of layers, by step.
        links: the chain.
        ends: what each head gives at each step, in the order of `ends_of(links)`.
        reads: what is read beside the chain.
    """
    lasts = ends_of(links)
    main = {unchanged(value, layers=True) for end in ends for value in end}
    names = " or ".join(link.name for link in lasts)
    _check_readouts(ran, main, names)
    makers = {value.maker for end in ends for value in end}
    layers = {call for step in steps for call in step}
    membranes, tapped = set[Call](), set[str]()
    for where, value in reads:
        if value in main or value.maker not in layers:
            continue
        if value is value.maker.outputs[0] and value.maker.before and value.maker not in makers:
            tapped.add(value.maker.link.name)
            continue
        if value.maker in makers and value is value.maker.after.get("mem"):
            membranes.add(value.maker)
            continue
        raise refusal(
            f"{where} reads {value.maker.link.name}, but only the last layer, {names}, and spikes of hidden layers can "
            "be outputs, not currents or hidden states"
        )
    for link in neurons_in(links):
        link.tapped = link.name in tapped
    read = {value for _, value in reads}
    for end, last in zip(ends, lasts, strict=True):
        shown = [unchanged(value, layers=True) in read for value in end]
        makers_of_end = [value.maker for value in end if value.maker in membranes]
        if makers_of_end and not any(shown):
            last.membrane_only = True
            last.outputs = [held(value.maker.after["mem"]) for value in end if value.maker is not None]
        elif ran.results:
            _check_steps(shown, last.name)


def _check_steps(read: list[bool], last: str) -> None:
    """Results read all steps, or the last ones."""
    if not read[-1] or read != sorted(read):
        listed = ", ".join(str(t) for t, each in enumerate(read) if each) or "none"
        raise refusal(f"its result reads {last} in some of {len(read)} steps ({listed}); expected all, or the last")


def _check_readouts(ran: Record, main: set[Value], last: str) -> None:
    """What is collected is what the last layer gives: a scaled or masked output would not be the converted one."""
    main = set(main)
    for call in ran.calls:
        read = [value for value in call.inputs if unchanged(value, layers=True) in main]
        if read and call.link.name in SHAPES:
            main |= set(call.outputs)
            continue
        others = [value for value in call.inputs if value not in read]
        counts = is_join(call) and len(others) == 1 and _counts(others[0], main)
        plain = call.is_layer or call.keeps or counts or call.link.name in READOUTS
        if read and not plain and any(value.from_layer for value in call.outputs):
            raise refusal(
                f"{in_words(call)} makes another output of what {last} gives at each step; take it out, and apply "
                "it to the result of the converted network"
            )


def _counts(value: Value, main: set[Value]) -> bool:
    """Whether it is zero, or a sum over earlier steps that started so."""
    waiting, seen = [value], set[Value]()
    while waiting:
        value = waiting.pop()
        if value in main or value in seen:
            continue
        seen.add(value)
        if value.from_layer and value.maker is not None and not value.maker.is_layer:
            waiting += value.maker.inputs
        elif value.from_layer or value.from_input or not _starts_at_zero(value):
            return False
    return True


def _starts_at_zero(value: Value) -> bool:
    made = "" if value.maker is None else value.maker.link.name
    return made in ("zeros", "zeros_like", "new_zeros") or not bool(value.tensor.any())
