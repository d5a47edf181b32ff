"""`squat data`: which data sets there are, where their files are, and whether a user's own file is in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from squat.cli import output, specs


def data(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="A data set or your own file.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the data sets and where their files are; with a NAME show one; with a FILE check your own.

    Example: squat data my_recordings.npz
    """
    if name is None:
        if data_option:
            raise ValueError(f"--data-option {data_option[0]}: there are no data that it is for; name them")
        _list(as_json)
        return
    from squat.data import load

    description = load(name, **specs.key_values("--data-option", data_option or [])).describe()
    if as_json:
        output.print_json(description)
        return
    notes = description.pop("notes")
    del description["coverage"]  # the first of the notes says it
    rows = [(key.replace("_", " "), _text(value)) for key, value in description.items()]
    output.print_table(("property", "value"), [*rows, *(("note", note) for note in notes)], title=f"data {name}")
    if Path(name).is_file():
        takers = _takers(description)
        options = "".join(f" --data-option {word}" for word in data_option or [])
        typer.echo(f"{name} is in order, {takers} as --data {name}{options}")


def _takers(description: dict[str, Any]) -> str:
    """Which verbs take a file, in words."""
    if not description["labelled"]:
        return "without labels; squat run takes it"
    empty = [part for part, count in description["samples"].items() if count == 0]
    without = f"without samples in the {' and the '.join(empty)} part; "
    if "train" in empty:
        return f"{without}squat run and other verbs that do not train or calibrate take it"
    return f"{without}verbs that do not read it take it" if empty else "every verb takes it"


def _list(as_json: bool) -> None:
    from squat.data import catalogue
    from squat.data.sources import FOLDER_VARIABLE, cache_folder

    rows = catalogue()
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
        typer.echo(f"{row['name']}: {row['summary']}\n  licence: {row['licence']}\n  options: {options}")
        for file in row["files"]:
            typer.echo(f"  file: {_place(file, cache_folder(), FOLDER_VARIABLE)}")
    typer.echo("squat data NAME shows one; squat data FILE checks your own .npz or .h5 file")


def _place(file: dict[str, Any], cache: Path, variable: str) -> str:
    """Where a file is, or what to put where."""
    if file["found"] is not None:
        return f"found, {file['found']}"
    if file["url"] is not None:
        return f"{file['path']} is downloaded on first use"
    return f"{file['path']} is missing: put it at {cache / file['path']}, or below a folder that {variable} names"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(entry)}" for key, entry in value.items())
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
