"""Which settings a run has, by one rule: options, then the config file or the preset on the same data, then defaults.

1. `--config FILE` is the start, where it is given.
2. Otherwise it is a preset of `squat.ablation.presets.DEFAULTS`: the first on the data, with the architecture and the
   neuron if they are asked for. Of the preset counts the cell that trains with the weights and states asked for.
3. Where there is none, or it is for data of another form, it is the plain defaults: convolutions for images, else a
   feedforward network.

Options change the start, and the data fix inputs, classes, scale and largest input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.cli import output
from squat.cli.networks import carried, changed_data, check_form, data_in_words, has_images, shape_of

if TYPE_CHECKING:
    from squat.data import Dataset
    from squat.train import RunConfig

PLAIN_HIDDEN = {"feedforward": (128,), "recurrent": (128,), "conv": (16,)}
"""Hidden sizes (feature maps) where no preset says any."""


@dataclass(frozen=True)
class Given:
    """What the command line says, by the names of the configs' fields; what is not said is not there.

    Args:
        network: fields of the `NetworkConfig`, its specs included.
        train: fields of the `TrainConfig`.
        seed: of the run, or None.
    """

    network: dict[str, Any]
    train: dict[str, Any]
    seed: int | None


@dataclass(frozen=True)
class Settings:
    """A run, its data, and where its settings come from.

    Args:
        run: complete.
        data: what `run.data` names, loaded.
        source: where the settings come from, in words.
        changed: what the command line changed of them, by field: before and after, as text.
    """

    run: RunConfig
    data: Dataset
    source: str
    changed: dict[str, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Source, changes and the whole config as JSON values."""
        return {"source": self.source, "changed": self.changed, "config": self.run.to_json()}

    def __str__(self) -> str:
        changes = [f"{name} {after} (not {before})" for name, (before, after) in self.changed.items()]
        network, train = self.run.network, self.run.train
        neuron = network.neuron or ("RLIF" if network.architecture == "recurrent" else "LIF")
        sizes = " - ".join(map(_text, (network.inputs, *network.hidden, network.classes)))
        return "\n".join(
            [
                f"settings: {self.source}{'; changed by options: ' if changes else ''}{', '.join(changes)}",
                f"network: {network.architecture} {neuron}, {sizes}, beta {network.beta}, {network.readout}, "
                f"weights {_text(network.weights)}, states {_text(network.states)}",
                f"training: {data_in_words(self.run.data)}, {self.data.steps} steps, {train.epochs} epochs, batches of "
                f"{train.batch_size}, learning rate {train.learning_rate:g}, seed {self.run.seed}",
            ]
        )


def settle(config: Path | None, data: str | None, options: dict[str, Any], given: Given) -> Settings:
    """The run that the command line asks for.

    Args:
        config: file with a run config, or None.
        data: name or file of the data, or None for those of the config or the default data set.
        options: of the data's loader.
        given: everything else.

    Raises:
        ValueError: for settings that do not fit together, or not with the data.
    """
    from squat.data import load
    from squat.train import RunConfig

    if config is None:
        start, dataset, source = _default(data, options, given.network)
    else:
        start, source = RunConfig.from_json(output.read_json(config)), f"the config {config}"
        start = replace(start, data=changed_data(start.data, data, {**carried(start.data, data), **options}))
        dataset = load(start.data.name, **start.data.arguments)
    shape = {} if config is not None and data is None and not options else shape_of(dataset)
    check_form(given.network.get("architecture", start.network.architecture), dataset)
    run = replace(
        start,
        network=replace(start.network, **shape, **given.network),
        train=replace(start.train, **given.train),
        seed=start.seed if given.seed is None else given.seed,
    )
    return Settings(run, dataset, source, _changes(start, run, given))


def _default(data: str | None, options: dict[str, Any], asked: dict[str, Any]) -> tuple[RunConfig, Dataset, str]:
    """The run of a preset, or of plain defaults, on the data; with the data, and where it is from."""
    from squat.ablation.presets import default_preset, preset, trained_run
    from squat.data import load
    from squat.train import DataConfig, NetworkConfig, RunConfig

    name = data or DataConfig().name
    architecture, neuron = asked.get("architecture"), asked.get("neuron")
    found = default_preset(name, architecture, neuron)
    if found is not None:
        cell, run = trained_run(preset(found), asked.get("weights"), asked.get("states"))
        run = replace(run, data=changed_data(run.data, name, options))
        dataset = load(name, **run.data.arguments)
        if has_images(dataset) == (run.network.architecture == "conv"):
            return run, dataset, f"cell {cell} of the ablation preset {found}"
    dataset = load(name, **options)
    architecture = architecture or ("conv" if has_images(dataset) else "feedforward")
    check_form(architecture, dataset)
    network = NetworkConfig(architecture, hidden=PLAIN_HIDDEN[architecture], **shape_of(dataset))
    kind = " ".join(filter(None, (architecture, neuron)))
    source = f"plain defaults, since there is no preset of {kind} networks on {name}"
    return RunConfig(DataConfig(name, options), network), dataset, source


def _changes(start: RunConfig, run: RunConfig, given: Given) -> dict[str, tuple[str, str]]:
    """What was given and is not as it was at the start, by field."""
    pairs: dict[str, tuple[Any, Any]] = {name: (start.network, run.network) for name in given.network}
    pairs |= {name: (start.train, run.train) for name in given.train}
    pairs |= {"seed": (start, run)}
    values = {name: (getattr(before, name), getattr(after, name)) for name, (before, after) in pairs.items()}
    return {name: (_text(before), _text(after)) for name, (before, after) in values.items() if before != after}


def _text(value: Any) -> str:
    if value is None:
        return "float"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
