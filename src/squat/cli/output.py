"""What the verbs print: results on stdout, everything said along the way on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer


def say(text: str) -> None:
    """A message for the person at the terminal (stderr, so that `--json` output stays clean)."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """`value` as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str) -> None:
    """A table on stdout: drawn for a terminal; plain, with nothing cut, when the output goes to a file."""
    from rich.console import Console

    lines = [[str(cell) for cell in row] for row in rows]
    console = Console()
    if not console.is_terminal:
        typer.echo("\n".join([title, *_plain([list(head), *lines])]))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)


def _plain(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def refuse_existing(path: Path, overwrite: bool) -> Path:
    """`path` if nothing is there, or a file and `overwrite` is set.

    Raises:
        ValueError: if something is there.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: expected the name of a file")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: nothing is overwritten without --overwrite")
    return path


def check_file(path: Path) -> Path:
    """`path` if it is a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file" + (" (it is a folder)" if path.is_dir() else ""))
    return path


def read_json(path: Path) -> Any:
    """The JSON document in a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON.
    """
    try:
        return json.loads(check_file(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
