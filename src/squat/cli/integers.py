"""`squat check`, `squat lower` and `squat inspect`: trained networks as integer networks."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squat.cli import output
from squat.cli.chosen import described
from squat.cli.machines import (
    Data,
    DataOptions,
    Json,
    c_program,
    data_of,
    input_shape_of,
    inputs_of,
    load_machine,
)
from squat.cli.networks import Readout, load_network
from squat.cli.progress import bar

if TYPE_CHECKING:
    from squat.data import Dataset
    from squat.export.c99.host import HostMachine
    from squat.integer import Certificate, IntegerNetwork


def check(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Network file, or a folder written by squat train.")],
    data: Data = None,
    data_option: DataOptions = None,
    readout: Readout = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 256,
    as_json: Json = False,
) -> None:
    """Prove that a network is an integer machine: obstacles, equal cuts, then both side by side over data.

    Exit code 1 if it cannot be lowered or is not equal.

    Example: squat check runs/digits4 --split test
    """
    from squat.checks import check_choice, check_int

    check_choice("--split", split, ("train", "validation", "test"))
    check_int("--batch-size", batch_size, 1)
    network, metadata = load_network(net, readout)
    chosen = data_of(data, data_option, metadata, network)
    shape = input_shape_of(chosen, metadata)
    from squat.integer.lower import lower, obstacles

    found = obstacles(network, shape)
    if found:
        _print_obstacles(found, _float_rule(network, shape, found), described(chosen), as_json)
        raise typer.Exit(1)
    machine = lower(network, shape)
    document: dict[str, Any] = {"obstacles": [], "certificate": None, "counterexample": None, "comparison": None}
    document |= described(chosen)
    programs = c_program(machine)
    equal = _prove_and_say(network, machine, programs, document, as_json)
    if chosen is not None:
        equal &= _compare_and_say(network, machine, programs, chosen.dataset, split, batch_size, document, as_json)
    elif not as_json:
        typer.echo("no data given: nothing was run side by side")
    if as_json:
        output.print_json({"equal": equal, **document})
    if not equal:
        raise typer.Exit(1)


def lower(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Network file, or a folder written by squat train.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File for the integer network.")],
    data: Data = None,
    data_option: DataOptions = None,
    readout: Readout = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a trained network as integers at their real bit widths, with a proof that both are equal.

    Example: squat lower runs/digits4 digits.integer.safetensors
    """
    output.refuse_existing(out, overwrite)
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}; make it first")
    network, metadata = load_network(net, readout)
    # The run's own data are not needed for its shapes.
    chosen = data_of(data, data_option, metadata, network) if data is not None or data_option else None
    shape = input_shape_of(chosen, metadata)
    from squat.integer.lower import lower as lowered
    from squat.integer.proof import prove

    machine = lowered(network, shape)
    certificate = prove(network, machine, _say_layer, c_program(machine))
    replace(machine, certificate=certificate).save(out, metadata, overwrite=overwrite)
    sizes = machine.report()
    if as_json:
        output.print_json(
            {"network": str(out), "certificate": certificate.to_json(), **sizes.to_json(), **described(chosen)}
        )
        return
    typer.echo(_proved(certificate))
    typer.echo(str(sizes))
    typer.echo(f"integer network: {out}, {out.stat().st_size} bytes")


def inspect(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Integer network, trained network, or its folder.")],
    data: Data = None,
    data_option: DataOptions = None,
    readout: Readout = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    samples: Annotated[int, typer.Option(help="Samples to count operations on; 0 for sizes only.")] = 256,
    as_json: Json = False,
) -> None:
    """Bytes, operations and an energy estimate of an integer network, each beside its baselines.

    Example: squat inspect digits.integer.safetensors --data spoken_digits
    """
    from squat.checks import check_choice, check_int

    check_choice("--split", split, ("train", "validation", "test"))
    check_int("--samples", samples, 0)
    machine, chosen = load_machine(net, data, data_option, readout)
    report = machine.report(inputs_of(machine, chosen, split, samples))
    if as_json:
        proof = None if machine.certificate is None else machine.certificate.to_json()
        output.print_json({**report.to_json(), "certificate": proof, **described(chosen)})
        return
    typer.echo(str(report))
    if machine.certificate is not None:
        typer.echo(_proved(machine.certificate))


def _float_rule(network: Any, shape: tuple[int, ...] | None, found: list[str]) -> list[Any]:
    """Where only the float rule is in the way: how far each layer is from the integer rule."""
    if not all("trained with the float rule" in sentence for sentence in found):
        return []
    from squat.integer.float_rule import differing_cuts

    return differing_cuts(network, shape)


def _print_obstacles(found: list[str], cuts: list[Any], data: dict[str, Any], as_json: bool) -> None:
    if as_json:
        differing = [asdict(layer) for layer in cuts]
        output.print_json({"equal": False, "obstacles": found, "differing_cuts": differing, **data})
        return
    typer.echo("this network cannot be lowered:")
    for sentence in (*found, *cuts):
        typer.echo(f"- {sentence}")


def _proved(certificate: Certificate) -> str:
    sums = f", {certificate.sums} sums" if certificate.sums else ""
    return f"proved equal to training: {certificate.cuts} cuts{sums} ({', '.join(certificate.implementations)})"


def _say_layer(name: str) -> None:
    output.say(f"proving layer {name}")


def _prove_and_say(
    network: Any, machine: IntegerNetwork, programs: dict[str, HostMachine], document: dict[str, Any], as_json: bool
) -> bool:
    from squat.integer.proof import NotEqual, prove

    try:
        certificate = prove(network, machine, _say_layer, programs)
    except NotEqual as error:
        document["counterexample"] = None if error.counterexample is None else asdict(error.counterexample)
        if not as_json:
            typer.echo(str(error))
        return False
    document["certificate"] = certificate.to_json()
    if not as_json:
        head = ("layer", "neurons", "codes", "cuts", "F", "accumulator", "sums", "reachable", "never decay")
        rows = [
            (layer.name, layer.neurons, layer.codes, layer.cuts, layer.shift, f"{layer.accumulator_bits} bits",
             f"{layer.lowest_sum} to {layer.highest_sum}", layer.reachable_codes, layer.dead_codes)
            for layer in certificate.layers
        ]  # fmt: skip
        output.print_table(head, rows, f"equal for every input, {', '.join(certificate.implementations)}:")
        if certificate.sums:
            typer.echo(f"synaptic sums of the C compared with the weights: {certificate.sums}")
    return True


def _compare_and_say(
    network: Any,
    machine: IntegerNetwork,
    programs: dict[str, HostMachine],
    dataset: Dataset,
    split: str,
    size: int,
    document: dict[str, Any],
    as_json: bool,
) -> bool:
    from squat.integer.compare import compare
    from squat.train.evaluate import batches

    dataset.require(split)
    part = dataset.parts[split]
    with bar(f"{dataset.name}, {split}", part, -(-len(part) // size)) as watched:
        runs = {name: program.run for name, program in programs.items()}
        comparison = compare(network, machine, batches(watched, size), runs)
    document["comparison"] = comparison.to_json()
    if not as_json:
        typer.echo(f"{dataset.name}, {split}: {comparison}")
    return comparison.divergence is None
