"""Pieces of C source. Pure functions from values to text, which know nothing of networks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from squat.checks import check_type

WIDTH = 110
TAKEN = """
alloca assert build complex ctype endian errno features fenv float inttypes iso646 limits locale main malloc math memory
selftest setjmp signal squat stdarg stdbool stddef stdint stdio stdlib string strings tgmath time unistd wchar wctype
"""
"""Names of files that a project has already, or that a compiler's headers would take it for."""

_TYPES = {"u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "i4": "int32_t", "i8": "int64_t"}


def check_identifier(name: Any) -> str:
    """A name that can begin every symbol of a network.

    Raises:
        TypeError, ValueError: for anything else.

    Example:
        >>> check_identifier("digits")
        'digits'
    """
    check_type("name", name, str, "text")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,23}", name) or name in TAKEN.split() or name.startswith("squat"):
        raise ValueError(
            f"name={name!r}: expected up to 24 lower-case letters, digits and _, a letter first, not squat... and no "
            "name of a header such as string; it begins every symbol and names the files of the network"
        )
    return name


def literal(value: int, kind: str) -> str:
    """One constant of a numpy kind such as `"u4"`.

    Example:
        >>> literal(7, "u1"), literal(-2147483648, "i4"), literal(2**40, "i8")
        ('7U', '(-2147483647 - 1)', 'INT64_C(1099511627776)')
    """
    if kind.startswith("u"):
        return f"{value}U"
    lowest = -(2 ** (8 * int(kind[1]) - 1))
    text = f"{value if value > lowest else value + 1}"
    text = f"INT64_C({text})" if kind == "i8" else text
    return text if value > lowest else f"({text} - 1)"


def array(name: str, values: np.ndarray, storage: str = "static const") -> str:
    """The definition of a constant array, flat.

    Example:
        >>> print(array("bias", np.array([1, -2], np.int32)))
        static const int32_t bias[2] = {
            1, -2
        };
    """
    kind = values.dtype.str[1:]
    flat = [literal(int(value), kind) for value in values.reshape(-1)]
    return f"{storage} {_TYPES[kind]} {name}[{len(flat)}] = {{\n{wrapped(flat)}\n}};"


def wrapped(items: Iterable[str]) -> str:
    """Comma-separated items in indented lines of at most `WIDTH` characters.

    Example:
        >>> print(wrapped(["1", "2"]))
            1, 2
    """
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(f"{line},")
            line = "   "
        line += f" {item}" if line == "   " else f", {item}"
    return "\n".join([*lines, line])


def structure(type_name: str, name: str, fields: dict[str, Any], storage: str = "static const") -> str:
    """The definition of a constant structure.

    Example:
        >>> print(structure("squat_vectors", "v", {"inputs": "in", "steps": 3, "packed": True, "last": None}))
        static const squat_vectors v = {
            .inputs = in,
            .steps = 3U,
            .packed = true,
            .last = NULL,
        };
    """
    return f"{storage} {type_name} {name} = {braces(fields)};"


def braces(fields: dict[str, Any], indent: str = "") -> str:
    """A designated initializer: text stays, None is NULL, integers from 0 on are unsigned."""
    lines = [f"{indent}    .{name} = {_value(value)}," for name, value in fields.items()]
    return "\n".join(["{", *lines, f"{indent}}}"])


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}U" if value >= 0 else str(value)
    return str(value)
