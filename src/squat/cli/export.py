"""`squat export`: integer networks as the source of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squat.cli import output
from squat.cli.chosen import described
from squat.cli.machines import Data, DataOptions, Json, inputs_of, load_machine
from squat.cli.networks import Readout

app = typer.Typer(no_args_is_help=True, help="Write a network as the source of a program: C99.")


@app.command()
def c(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Integer network, trained network, or its folder.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the C project.")],
    name: Annotated[str, typer.Option(help="Begins every symbol of the network.")] = "network",
    data: Data = None,
    data_option: DataOptions = None,
    readout: Readout = None,
    split: Annotated[str, typer.Option(help="Where the self-test's samples come from.")] = "test",
    samples: Annotated[int, typer.Option(help="Samples in the self-test; 0 for two random ones.")] = 2,
    as_json: Json = False,
) -> None:
    """Write a network as C99: runtime, constant tables, self-test, example, Makefile and CMake.

    `make check` in the folder builds and runs the self-test, `make qemu` runs it on Cortex-M0, M3 and M4.

    Example: squat export c digits.integer.safetensors digits-c --data spoken_digits
    """
    from squat.checks import check_choice, check_int

    check_choice("--split", split, ("train", "validation", "test"))
    check_int("--samples", samples, 0)
    machine, chosen = load_machine(net, data, data_option, readout)
    from squat.export import c as write

    write(machine, folder, name=name, vectors=inputs_of(machine, chosen, split, samples))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if as_json:
        output.print_json(
            {"folder": str(folder), "files": files, "fingerprint": machine.fingerprint, **described(chosen)}
        )
        return
    typer.echo(f"C project: {folder}, {len(files)} files; make check there runs its self-test")
