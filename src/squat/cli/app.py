"""The typer application: global options and the list of verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from squat.cli import ablate, bench, calibrate, data, export, integers, report, run, train
from squat.cli.errors import OneLineErrors

app = typer.Typer(
    name="squat",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, ablate and deploy spiking neural networks whose weights and neuron states are both low-bit.",
    epilog="Example: squat train --epochs 5 --out runs/digits",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from squat import __version__

        typer.echo(f"squat {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (accepted anywhere).")] = False,
) -> None:
    del version, debug  # the first is handled by its callback, the second by OneLineErrors


for _name, _verb in (
    ("train", train.train),
    ("ablate", ablate.ablate),
    ("report", report.report),
    ("calibrate", calibrate.calibrate),
    ("run", run.run),
    ("check", integers.check),
    ("lower", integers.lower),
    ("inspect", integers.inspect),
    ("bench", bench.bench),
    ("data", data.data),
):
    app.command(_name)(_verb)
app.add_typer(export.app, name="export")


def main() -> None:
    """Entry point of the command `squat`."""
    app(prog_name="squat")
