"""Specs as words on the command line: `threshold_centered:4`, `anchored:4,high=2.5`, `4`, `4,scale=max`."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squat.quant.spec import StateSpec
    from squat.quant.weight import IntWeight

FLOAT = "float"
MOST_SEEDS = 1000
"""A larger number is taken for a seed that stands alone."""


def state_spec(text: str) -> StateSpec | None:
    """The state spec that `NAME:BITS[,KEY=VALUE...]` names, None for `float`.

    Raises:
        ValueError: for an unknown name, wrong bits or an unknown key.

    Example:
        >>> state_spec("threshold_centered:4,upper_limit=1")
        ThresholdCentered(bits=4, lower_limit=0.0, upper_limit=1, base=None)
        >>> state_spec("float") is None
        True
    """
    from squat.quant.spec import STATE_SPECS

    if text == FLOAT:
        return None
    known = {_snake(name): kind for name, kind in STATE_SPECS.items()}
    head, *pairs = text.split(",")
    name, _, bits = head.partition(":")
    if name not in known or not bits.isdigit():
        raise ValueError(
            f"--states {text!r}: expected NAME:BITS with NAME one of {', '.join(known)}, for example "
            f"threshold_centered:4, or {FLOAT}"
        )
    return known[name](bits=int(bits), **_arguments("--states", known[name], pairs))


def weight_spec(text: str) -> IntWeight | None:
    """The weight spec that `BITS[,KEY=VALUE...]` names, None for `float`.

    Raises:
        ValueError: for wrong bits or an unknown key.

    Example:
        >>> weight_spec("4,scale=max").scale
        'max'
    """
    from squat.quant.weight import IntWeight

    if text == FLOAT:
        return None
    bits, *pairs = text.split(",")
    if not bits.isdigit():
        raise ValueError(f"--weights {text!r}: expected BITS, for example 4 or 4,granularity=channel, or {FLOAT}")
    return IntWeight(bits=int(bits), **_arguments("--weights", IntWeight, pairs))


def key_values(option: str, pairs: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` words as a dictionary; values that read as integers, numbers, true or false become such.

    Raises:
        ValueError: for a word without `=`.

    Example:
        >>> key_values("--data-option", ["steps=25", "mode=static", "stream=true"])
        {'steps': 25, 'mode': 'static', 'stream': True}
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise ValueError(f"{option} {pair!r}: expected KEY=VALUE")
        result[key] = _value(value)
    return result


def integers(option: str, text: str) -> tuple[int, ...]:
    """Integers separated by commas.

    Raises:
        ValueError: for anything else.

    Example:
        >>> integers("--hidden", "128,64")
        (128, 64)
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{option} {text!r}: expected integers separated by commas, for example 128,64") from None


def seeds(text: str) -> tuple[int, ...]:
    """Seeds: a single integer is their number, several are the seeds themselves.

    Raises:
        ValueError: for anything else, and for none.

    Example:
        >>> seeds("3"), seeds("7,9")
        ((0, 1, 2), (7, 9))
    """
    words = [word.strip() for word in text.split(",")]
    values = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    if len(values) < len(words) or (len(values) == 1 and not 1 <= values[0] <= MOST_SEEDS):
        raise ValueError(
            f"--seeds {text!r}: expected their number, 1 to {MOST_SEEDS}, for example 3, or two or more seeds "
            "themselves, each at least 0, for example 7,9"
        )
    return tuple(range(values[0])) if len(values) == 1 else values


def bit_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Bit widths: `4` for weights and states alike, `4x8` for 4-bit weights and 8-bit states.

    Raises:
        ValueError: for anything else.

    Example:
        >>> bit_pairs("8,4x8")
        ((8, 8), (4, 8))
    """
    pairs = []
    for word in text.split(","):
        weight, cross, state = word.strip().partition("x")
        if not weight.isdigit() or bool(cross) != state.isdigit():
            raise ValueError(f"--bits {text!r}: expected bits such as 4,2 or WEIGHTSxSTATES such as 4x8")
        pairs.append((int(weight), int(state or weight)))
    return tuple(pairs)


def words(text: str | None) -> tuple[str, ...] | None:
    """Words separated by commas, None for None."""
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def _arguments(option: str, kind: type, pairs: list[str]) -> dict[str, Any]:
    arguments = key_values(option, pairs)
    names = [field.name for field in fields(kind) if field.name != "bits"]
    for key in arguments:
        if key not in names:
            raise ValueError(f"{option}: {kind.__name__} has no {key!r}; expected one of {', '.join(names)}")
    return arguments


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
