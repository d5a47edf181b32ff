"""The data that a verb about a trained network reads: their options are those of the training unless overridden."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.cli import output, specs
from squat.cli.networks import input_options, taken

if TYPE_CHECKING:
    from squat.data import Dataset
    from squat.train import DataConfig

CHANGES_INPUTS = ("bin_ms", "steps", "mode", "input_scale")
"""Options whose loss changes what a network sees, though the shapes still fit."""


@dataclass(frozen=True)
class Origin:
    """Where the options of the data come from.

    Args:
        training: those taken over from the training, or from the calibration of a network without one.
        given: those given on the command line.
        overridden: values of the training that they replace.
        foreign: values of the training that these data have no option for, and do not have anyway.
        missing: what the file does not say of the training; the loader's default holds.
        fixed_by: "training" or "calibration".
    """

    training: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    overridden: dict[str, Any] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, Any] = field(default_factory=dict)
    fixed_by: str = "training"

    def __str__(self) -> str:
        changed = {key: f"{old} (now {self.given[key]})" for key, old in self.overridden.items()}
        parts = {
            f"of the {self.fixed_by}": self.training,
            "overridden": changed,
            f"of the {self.fixed_by}, which these data do not take": self.foreign,
            "by default, since the network file does not say those of the training": self.missing,
        }
        return "; ".join(f"{text}: {_pairs(values)}" for text, values in parts.items() if values)


@dataclass(frozen=True)
class Chosen:
    """Data and where their options come from.

    Args:
        dataset: the data.
        config: what they were loaded by.
        origin: of the options.
    """

    dataset: Dataset
    config: DataConfig
    origin: Origin

    def say(self) -> None:
        """What was taken over, overridden and cut, on stderr."""
        if text := str(self.origin):
            output.say(f"data options {text}")
        say_notes(self.dataset)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, to stand beside a verb's result."""
        return {"data_options": vars(self.origin), **notes_json(self.dataset)}


def say_notes(dataset: Dataset) -> None:
    """What was cut of the data, and what else a reader may not expect, on stderr."""
    for note in dataset.notes:
        output.say(f"data {Path(dataset.name).name}: {note}")


def notes_json(dataset: Dataset) -> dict[str, Any]:
    """The same as JSON values, to stand beside a verb's result."""
    covered = dataset.coverage
    return {"coverage": None if covered is None else covered.to_json(), "notes": dataset.notes}


def described(chosen: Chosen | None) -> dict[str, Any]:
    """What `--json` says of the data; nothing without data."""
    return {} if chosen is None else chosen.to_json()


def choose(name: str | None, words: list[str] | None, metadata: dict[str, Any], *, whole: bool = False) -> Chosen:
    """The data set a verb was given, or else the one the network was trained on; says what was taken over and cut.

    Of the training data, named again or by default, every option holds. Other data get those that fix what an input
    means (`INPUT_OPTIONS`), and not which samples were read.

    Args:
        name: data set or file, or None.
        words: `KEY=VALUE` options; they override those of the training.
        metadata: of the network's file.
        whole: every sample of a user's file is wanted, in one part.

    Raises:
        ValueError: if no data are known, or they cannot be loaded.
    """
    from squat.data import DATASETS, load
    from squat.train import DataConfig

    given = specs.key_values("--data-option", words or [])
    source, trained = _wanted(name, metadata)
    if whole:
        if source in DATASETS:
            raise ValueError(f"--split all is for your own files; the parts of {source} are train, validation and test")
        given["whole"] = True
    kept = {key: value for key, value in taken(source, trained).items() if key not in given}
    config = DataConfig(source, {**kept, **given})
    dataset = load(config.name, **config.arguments)
    origin = _origin(dataset, {**trained, **_other_scale(metadata, dataset)}, kept, given)
    calibrated = "run" not in metadata and "data_options" in metadata
    chosen = Chosen(dataset, config, replace(origin, fixed_by="calibration") if calibrated else origin)
    chosen.say()
    return chosen


def _origin(dataset: Dataset, trained: dict[str, Any], kept: dict[str, Any], given: dict[str, Any]) -> Origin:
    """What became of the options of the training, now that the data are loaded."""
    now = {**dataset.options, **given}
    other = {key: value for key, value in trained.items() if key not in kept and value != now.get(key)}
    overridden = {key: value for key, value in other.items() if key in given}
    foreign = {key: value for key, value in other.items() if key in CHANGES_INPUTS and key not in given}
    binning = ("bin_ms", "steps") if dataset.coverage is not None else ()
    missing = {key: now[key] for key in binning if key not in trained and key not in given}
    return Origin(kept, given, overridden, foreign, missing)


def _other_scale(metadata: dict[str, Any], dataset: Dataset) -> dict[str, float]:
    """What the network multiplies inputs by, where its training fixed it and the data say another `input_scale`."""
    from squat.models.serial import as_object

    run = as_object("run", metadata.get("run", {}))
    scale = as_object("run.network", run.get("network", {})).get("input_scale", dataset.input_scale)
    return {} if math.isclose(scale, dataset.input_scale, rel_tol=1e-6) else {"input_scale": scale}


def _wanted(name: str | None, metadata: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name of the data, and the options of the training that concern them."""
    config, fixed = _of_training(metadata)
    if config is None:
        if name is None:
            raise ValueError("--data is missing: the network file does not say which data it was trained on")
        return name, fixed
    return (config.name, {**fixed, **config.arguments}) if _same(name, config.name) else (str(name), fixed)


def _of_training(metadata: dict[str, Any]) -> tuple[DataConfig | None, dict[str, Any]]:
    """What a network was trained on, None if its file does not say, and the options that fix what an input means.

    Files of before do not hold the options that were defaults; of a network without a run they are those that it was
    calibrated with.
    """
    from squat.data import INPUT_OPTIONS
    from squat.models.serial import as_object
    from squat.train import DataConfig

    run = as_object("run", metadata.get("run", {}))
    config = DataConfig.from_json(run["data"]) if "data" in run else None
    stored = as_object("data_options", metadata.get("data_options", input_options(config) if config else {}))
    return config, {key: stored[key] for key in INPUT_OPTIONS if key in stored}


def _same(name: str | None, trained: str) -> bool:
    return name is None or name == trained or (Path(name).is_file() and Path(name).resolve() == Path(trained).resolve())


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )
