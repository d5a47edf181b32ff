"""Frozen configs of a training run. A `RunConfig` fixes everything that changes a result, threads included; what only
changes what is printed or logged is an argument of `fit`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from squat.checks import LARGEST_COUNT, check_choice, check_int, check_real, check_type
from squat.models.config import NetworkConfig
from squat.models.serial import as_object, decode_fields, encode_fields
from squat.text import brief
from squat.train.threads import MOST_THREADS

LOSSES = ("cross_entropy", "count_mse")
SCHEDULES = ("cosine", "constant")
OPTIMIZERS = ("adam", "adamw")
MOST = {"epochs": 10**6, "batch_size": LARGEST_COUNT, "threads": MOST_THREADS, "devices": 1024}
Option = bool | int | float | str | None


@dataclass(frozen=True)
class DataConfig:
    """Which data a run reads: `squat.data.load(name, **options)`.

    Args:
        name: a data set's name, or the path of a user's own file.
        options: keyword arguments of the loader, a dict of plain values; kept as sorted pairs, so configs hash.

    Raises:
        TypeError: for other types.

    Example:
        >>> DataConfig("spoken_digits", {"channels": 140}).arguments
        {'channels': 140}
    """

    name: str = "spoken_digits"
    options: Mapping[str, Option] | tuple[tuple[str, Option], ...] = ()

    __repr__ = brief

    def __post_init__(self) -> None:
        check_type("name", self.name, str, "a data set's name or the path of a file, as text")
        try:
            options = dict(self.options)
        except (TypeError, ValueError):
            options = {None: None}  # type: ignore[dict-item]
        for key, value in options.items():
            if not isinstance(key, str) or not isinstance(value, bool | int | float | str | None):
                raise TypeError(f"options={self.options!r}: expected a dict of text to numbers, text, booleans or None")
        object.__setattr__(self, "options", tuple(sorted(options.items())))

    @property
    def arguments(self) -> dict[str, Any]:
        """The loader's keyword arguments."""
        return dict(self.options)

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `from_json` is the inverse."""
        return {"name": self.name, "options": self.arguments}

    @classmethod
    def from_json(cls, document: Any) -> DataConfig:
        """The config that `to_json` described; unknown keys are refused by name."""
        return decode_fields(cls, document, "data", {"options": dict})


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of spike data; all off by default. Each kind draws from its own random stream.

    Args:
        channel_shift: largest shift of all channels of a sample, in channels; images shift along both axes.
        time_shift: largest shift of a whole sample in time, in steps.
        time_jitter: largest shift of a single event in time, in steps.
        event_drop: probability that an event is dropped, in [0, 1).
        flip: mirror columns (flat data: channels) of every other sample, on average.
        time_warp: times of a sample are multiplied by a factor within this of 1, in [0, 1).

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Example:
        >>> AugmentConfig(channel_shift=4).active
        True
    """

    channel_shift: int = 0
    time_shift: int = 0
    time_jitter: int = 0
    event_drop: float = 0.0
    flip: bool = False
    time_warp: float = 0.0

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("channel_shift", "time_shift", "time_jitter"):
            check_int(name, getattr(self, name), 0)
        object.__setattr__(self, "event_drop", check_real("event_drop", self.event_drop, 0.0, 1.0))
        if self.event_drop == 1.0:
            raise ValueError("event_drop=1.0: expected a probability in [0, 1); at 1 no event would be left")
        check_type("flip", self.flip, bool, "True or False")
        object.__setattr__(self, "time_warp", check_real("time_warp", self.time_warp, 0.0, 1.0))
        if self.time_warp == 1.0:
            raise ValueError("time_warp=1.0: expected a number in [0, 1); at 1 all events could fall into one step")

    @property
    def active(self) -> bool:
        """Whether any augmentation is on."""
        return self != AugmentConfig()

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `from_json` is the inverse. `flip` and `time_warp` are there if they are on:
        they came later, and the id of a run that does not use them must stay what it was."""
        document = encode_fields(self)
        return {key: value for key, value in document.items() if value or key not in ("flip", "time_warp")}

    @classmethod
    def from_json(cls, document: Any) -> AugmentConfig:
        """The config that `to_json` described; unknown keys are refused by name."""
        return decode_fields(cls, document, "augment", {})


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Args:
        epochs: passes over the training split, up to a million.
        batch_size: samples of a step, on each device.
        learning_rate: of Adam, at the start of the schedule.
        optimizer: `"adam"` or `"adamw"`.
        weight_decay: of weight matrices only; biases, decays, thresholds and scales have none.
        schedule: `"cosine"` (to 0, step by step) or `"constant"`.
        loss: `"cross_entropy"` of the scores, or `"count_mse"` (spike rates to 0.8 and 0.2; readout `spike_count`).
        logit_scale: factor on the scores before the cross-entropy.
        clip_grad: largest norm of all gradients together, or None.
        augment: augmentation of the training batches.
        early_stopping_patience: epochs without a better validation accuracy after which training stops and the best
            epoch's weights are kept; None trains all epochs and keeps the last.
        threads: CPU threads, up to 1024; part of the config, because sums depend on it.
        accelerator, devices, strategy: handed to Lightning's Trainer.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Example:
        >>> TrainConfig(epochs=2).schedule
        'cosine'
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    loss: str = "cross_entropy"
    logit_scale: float = 1.0
    clip_grad: float | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    early_stopping_patience: int | None = None
    threads: int = 1
    accelerator: str = "cpu"
    devices: int = 1
    strategy: str = "auto"

    __repr__ = brief

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            check_int(name, getattr(self, name), 1, most)
        for name in ("learning_rate", "logit_scale"):
            object.__setattr__(self, name, check_real(name, getattr(self, name), 0.0, open_low=True))
        object.__setattr__(self, "weight_decay", check_real("weight_decay", self.weight_decay, 0.0))
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("loss", self.loss, LOSSES)
        if self.clip_grad is not None:
            remedy = "None does not clip"
            object.__setattr__(
                self, "clip_grad", check_real("clip_grad", self.clip_grad, 0.0, open_low=True, remedy=remedy)
            )
        check_type("augment", self.augment, AugmentConfig, "an AugmentConfig")
        if self.early_stopping_patience is not None:
            check_int("early_stopping_patience", self.early_stopping_patience, 1, remedy="None trains all epochs")
        for name in ("accelerator", "strategy"):
            check_type(name, getattr(self, name), str, "text, as Lightning's Trainer takes it")

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `from_json` is the inverse."""
        return encode_fields(self)

    @classmethod
    def from_json(cls, document: Any) -> TrainConfig:
        """The config that `to_json` described; unknown keys are refused by name."""
        return decode_fields(cls, document, "train", {"augment": AugmentConfig.from_json})


@dataclass(frozen=True)
class RunConfig:
    """One training run: data, network, training and seed. Equal configs give equal weights on one machine.

    Args:
        data: what is read.
        network: what is trained.
        train: how.
        seed: fixes initial weights, data order and augmentation, each by its own stream.

    Raises:
        TypeError, ValueError: for other types, and for a loss that the network's readout cannot serve.

    Example:
        >>> config = RunConfig(DataConfig(), NetworkConfig(), TrainConfig(), seed=1)
        >>> RunConfig.from_json(config.to_json()) == config
        True
    """

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    __repr__ = brief

    def __post_init__(self) -> None:
        check_type("data", self.data, DataConfig, "a DataConfig")
        check_type("network", self.network, NetworkConfig, "a NetworkConfig")
        check_type("train", self.train, TrainConfig, "a TrainConfig")
        check_int("seed", self.seed, 0, 2**63 - 1)
        if self.train.loss == "count_mse" and self.network.readout != "spike_count":
            raise ValueError(
                f"loss='count_mse': expected readout='spike_count', got readout={self.network.readout!r}; "
                "use loss='cross_entropy', or count spikes"
            )

    def id(self) -> str:
        """Short stable name of the config: 12 hexadecimal digits of the SHA-256 of its JSON form."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `from_json` is the inverse."""
        return encode_fields(self)

    @classmethod
    def from_json(cls, document: Any) -> RunConfig:
        """The config that `to_json` described; unknown keys and wrong types are refused by name."""
        parts = {"data": DataConfig.from_json, "network": NetworkConfig.from_json, "train": TrainConfig.from_json}
        document = as_object("run", document)
        for name in parts:
            as_object(f"run.{name}", document.get(name, {}))
        return decode_fields(cls, document, "run", parts)
