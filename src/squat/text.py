"""Plain text for people: tables in columns, and objects on a screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

LINES, WIDTH = 25, 120
"""Of a screen."""
MORE = "... print() shows all of it"
ENTRIES, TEXT, OBJECT = 6, 80, 240
"""Entries of a collection, characters of a text and of an object within another that are shown."""


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns are as wide as their widest cell.

    Example:
        >>> print(columns(("layer", "bits"), [("0", "8"), ("hidden", "4")]))
        layer   bits
        0       8
        hidden  4
    """
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def brief(value: Any) -> str:
    """The `repr` of a dataclass or a NamedTuple, of at most a screen: arrays by dtype and shape, long values cut.

    A class takes it by `__repr__ = brief`. What is short looks as dataclasses print it.

    Example:
        >>> from typing import NamedTuple
        >>> import numpy as np
        >>> class Pair(NamedTuple):
        ...     bits: int
        ...     table: np.ndarray
        ...     __repr__ = brief
        >>> Pair(4, np.zeros((3, 16), np.int32))
        Pair(bits=4, table=int32[3, 16])
    """
    names = getattr(value, "_fields", None) or [
        name for name, field in value.__dataclass_fields__.items() if field.repr
    ]
    fields = ", ".join(f"{name}={short(getattr(value, name))}" for name in names)
    return on_screen(f"{type(value).__name__}({fields})")


def on_screen(text: str, rest: str = "...") -> str:
    """Text whose lines are wrapped, and cut where they would fill more than a screen; `rest` then ends it."""
    options: Any = {"width": WIDTH, "break_on_hyphens": False, "drop_whitespace": False, "replace_whitespace": False}
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        lines += textwrap.wrap(line, subsequent_indent=indent, **options) or [""]
    lines = [line.rstrip() for line in lines]
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], rest])


class OnScreen:
    """Mixin of modules, before `nn.Module`: their `repr` fills at most a screen."""

    def __repr__(self) -> str:
        return on_screen(super().__repr__(), "... print its layers one by one")


def short(value: Any) -> str:
    """A value within the text of another: an array as `int8[3, 4]`, the first entries of a collection."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # of numpy or torch, which need not be loaded
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, str | bytes | bytearray):
        text = repr(value[: TEXT + 1])
        return text if len(value) <= TEXT else f"{text[:-2]}...{text[-1]}"
    if isinstance(value, Mapping):
        return _entries("{}", [f"{short(key)}: {short(entry)}" for key, entry in islice(value.items(), ENTRIES)], value)
    if isinstance(value, AbstractSet):
        return _entries("{}", map(short, islice(value, ENTRIES)), value) if value else repr(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        text = _entries("[]" if isinstance(value, list) else "()", map(short, value[:ENTRIES]), value)
        return f"{text[:-1]},)" if isinstance(value, tuple) and len(value) == 1 else text
    text = " ".join(repr(value).split())
    return text if len(text) <= OBJECT else f"{text[:OBJECT]}..."


def _entries(brackets: str, shown: Iterable[str], of: Any) -> str:
    text = ", ".join(shown)
    return f"{brackets[0]}{text}{f', ... {len(of)} in all' if len(of) > ENTRIES else ''}{brackets[1]}"
