"""`squat calibrate`: post-training quantization of a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from squat.cli import output, specs
from squat.cli.chosen import choose
from squat.cli.networks import Readout, check_fits, load_network
from squat.cli.progress import bar


def calibrate(
    net: Annotated[Path, typer.Argument(metavar="NET", help="Network file, or a folder written by squat train.")],
    out: Annotated[Path, typer.Option(help="File for the quantized network.")],
    data: Annotated[str | None, typer.Option(help="Data set or your own file; by default the training data.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", metavar="KEY=VALUE", help="Option of the loader; repeatable.")
    ] = None,
    readout: Readout = None,
    weights: Annotated[str, typer.Option(help="BITS[,KEY=VALUE], or float to leave them.")] = specs.FLOAT,
    states: Annotated[str, typer.Option(help="NAME:BITS[,KEY=VALUE], or float to leave them.")] = specs.FLOAT,
    state_range: Annotated[
        str,
        typer.Option("--range", help="published, calibrated, max, percentile, mse, mse_base or lloyd_max levels."),
    ] = "published",
    percentile: Annotated[float | None, typer.Option(help="For --range percentile; by default 99.9.")] = None,
    near_threshold: Annotated[
        float, typer.Option(help="How much more an error at the threshold counts, for the rules that minimise one.")
    ] = 0.0,
    clip: Annotated[
        float, typer.Option(help="Membranes beyond this percentile, at both ends, count as at it; not for published.")
    ] = 100.0,
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction", help="Shift mean currents back to those of the float network.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw the comparison with the float network: .png.")] = None,
    batches: Annotated[int, typer.Option(help="Batches to look at.")] = 8,
    batch_size: Annotated[int, typer.Option(help="Samples of a batch.")] = 64,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Quantize a network that was trained in float, and compare it with the float network: saturation, silence, spikes.

    What is quantized already (trained with --weights or --states) is refused where it would get other levels.

    Example: squat calibrate runs/digits --weights 4 --states anchored:4 --range lloyd_max --out digits4.safetensors
    """
    from squat.files import save
    from squat.ptq import calibrate as quantize
    from squat.ptq import compare
    from squat.ptq.bias import walks
    from squat.ptq.observe import neurons_of
    from squat.ptq.picture import checked_path

    weight_spec, state_spec = specs.weight_spec(weights), specs.state_spec(states)
    output.refuse_existing(out, overwrite)
    if picture is not None:
        output.refuse_existing(checked_path(picture), overwrite)
    network, metadata = load_network(net, readout)
    chosen = choose(data, data_option, metadata)
    dataset = chosen.dataset
    dataset.require("train")
    check_fits(network, dataset)
    rounds = 4 + (walks(network) if bias_correction else 0)  # before, with float states, after; comparison
    total = rounds * min(batches, -(-len(dataset.train) // max(batch_size, 1)))
    with bar("calibration", dataset.train, total) as watched:
        quantized, report = quantize(
            network,
            watched,
            weights=weight_spec,
            states=state_spec,
            state_range=state_range,
            percentile=percentile,
            near_threshold=near_threshold,
            clip=clip,
            bias_correction=bias_correction,
            batches=batches,
            batch_size=batch_size,
        )
        comparison = None
        if neurons_of(network):
            comparison = compare(network, quantized, watched, batches=batches, batch_size=batch_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata["calibration"] = {"data": chosen.config.to_json(), **report.to_json()}
    if "run" not in metadata:  # nothing else says how inputs are made
        metadata["data_options"] = dict(dataset.options)
    save(quantized, out, metadata, overwrite=overwrite)
    if picture is not None and comparison is not None:
        comparison.save_picture(picture)
    if as_json:
        compared = {} if comparison is None else {"comparison": comparison.to_json()}
        output.print_json({"network": str(out), **report.to_json(), **compared, **chosen.to_json()})
        return
    typer.echo("\n".join(str(part) for part in (report, "", comparison, f"network: {out}") if part is not None))
