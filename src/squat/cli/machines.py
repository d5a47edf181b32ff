"""What the verbs about integer networks share: their options, the machine of a file, the data that belong to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output
from squat.cli.chosen import Chosen, choose
from squat.cli.networks import check_fits, guessed_channels, load_network

if TYPE_CHECKING:
    from squat.export.c99.host import HostMachine
    from squat.integer import IntegerNetwork

Data = Annotated[str | None, typer.Option(help="Data set or your own file; by default the training data, if known.")]
DataOptions = Annotated[
    list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load_machine(
    path: Path, data: str | None, data_options: list[str] | None, readout: str | None
) -> tuple[IntegerNetwork, Chosen | None]:
    """The integer network in a file, or that a trained network is, and the data, if any are known."""
    from squat.integer import load, read_metadata
    from squat.integer.format import is_integer_file

    if path.is_file() and is_integer_file(path):
        if readout is not None:
            raise ValueError(
                f"--readout {readout}: {path} is an integer network, with what it reads fixed; leave it out"
            )
        return load(path), data_of(data, data_options, read_metadata(path))
    from squat.integer.lower import lower

    network, metadata = load_network(path, readout)
    chosen = data_of(data, data_options, metadata, network)
    return lower(network, input_shape_of(chosen, metadata)), chosen


def data_of(
    name: str | None, options: list[str] | None, metadata: dict[str, Any], network: Any = None
) -> Chosen | None:
    """The data, None where neither the options nor the file name any; they fit the trained network, if it is given."""
    if name is None and "run" not in metadata:
        if options:
            raise ValueError(f"--data-option {options[0]}: there are no data that it is for; name them with --data")
        return None
    chosen = choose(name, options, metadata)
    if network is not None:
        check_fits(network, chosen.dataset)
    return chosen


def input_shape_of(chosen: Chosen | None, metadata: dict[str, Any]) -> tuple[int, ...] | None:
    """Of one step, from the data or the run's config; None leaves it to the layers."""
    if chosen is not None:
        return tuple(chosen.dataset.input_shape)
    inputs = metadata.get("run", {}).get("network", {}).get("inputs")
    return tuple(inputs) if isinstance(inputs, list) else None


def inputs_of(machine: IntegerNetwork, chosen: Chosen | None, split: str, samples: int) -> Any:
    """The first samples of a part of the data as an array; None without data or samples."""
    if chosen is None or samples == 0:
        return None
    import torch

    dataset = chosen.dataset
    dataset.require(split)
    if tuple(dataset.input_shape) != tuple(machine.input_shape):
        raise ValueError(
            f"data {dataset.name} have shape {dataset.input_shape}, the network {machine.input_shape}"
            f"{guessed_channels(dataset)}"
        )
    part = dataset.parts[split]
    return part.batch(torch.arange(min(samples, len(part))))[0].numpy()


def c_program(machine: IntegerNetwork) -> dict[str, HostMachine]:
    """The network's exported C, compiled, by its name; empty without a compiler, which is said."""
    from squat.export.c99.host import compile_network, compiled_name, find_compiler

    if find_compiler() is None:
        output.say("no C compiler found (cc, gcc, clang, or CC): the exported C is not compared")
        return {}
    return {compiled_name(): compile_network(machine)}
