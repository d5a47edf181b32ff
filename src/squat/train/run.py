"""`fit`: one run from a config to a trained network, resumable after any kill from its last finished epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.checks import check_type
from squat.files import atomic_write, save
from squat.models.build import build_network
from squat.models.network import Network
from squat.models.size import check_training_memory
from squat.text import brief
from squat.train.config import RunConfig
from squat.train.loader import training_loader
from squat.train.quiet import quiet
from squat.train.record import CHECKPOINT_NAME, HISTORY_NAME, History, history_csv, out_of_patience, read_checkpoint
from squat.train.threads import threads

if TYPE_CHECKING:
    from squat.data import Dataset

CONFIG_NAME, NETWORK_NAME = "config.json", "network.safetensors"


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        network: trained, in evaluation mode.
        history: one row per epoch: losses, accuracies, learning rate, seconds.
        validation_accuracy: of the weights in `network`; None without a validation split.
        seconds: spent in all epochs, those before a resume included.
    """

    network: Network
    history: History
    validation_accuracy: float | None
    seconds: float

    __repr__ = brief


def fit(
    config: RunConfig,
    folder: Path | str,
    *,
    data: Dataset | None = None,
    progress: bool = True,
    resume: bool = True,
    tensorboard: bool = False,
) -> FitResult:
    """Train the network of a config with Lightning's Trainer.

    The folder then holds `config.json`, `history.csv`, `network.safetensors` (see `squat.load`) and `last.ckpt`, which
    is replaced after each epoch. Started again, the run goes on after its last finished epoch and ends in the same
    weights, bit for bit, as without the interruption; a finished run is only read.

    Args:
        config: the run.
        folder: of this run alone; made if missing.
        data: the data that `config.data` names, if already loaded.
        progress: show a progress bar where stderr is a terminal.
        resume: False discards what an earlier start of the same run left.
        tensorboard: also write TensorBoard event files (needs the tensorboard or tensorboardX package).

    Returns:
        The `FitResult`.

    Raises:
        ValueError: if network and data do not fit together, the folder belongs to another config, the checkpoint is
            damaged, or the loss is not finite (naming epoch and step).

    Example:
        >>> import tempfile
        >>> from squat.train import DataConfig, NetworkConfig, TrainConfig
        >>> config = RunConfig(DataConfig(), NetworkConfig(hidden=(8,)), TrainConfig(epochs=1, batch_size=700), seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = fit(config, folder, progress=False)
        >>> len(result.history)
        1
    """
    check_type("config", config, RunConfig, "a RunConfig")
    folder = Path(folder)
    if data is None:
        from squat.data import load

        data = load(config.data.name, **config.data.arguments)
    check_data(config, data)
    claim_folder(folder, config, resume)
    with threads(config.train.threads), quiet():
        checkpoint = _checkpoint(folder)
        if checkpoint is None or not _finished(config, checkpoint):
            _train(config, data, folder, progress, tensorboard, resume=checkpoint is not None)
            checkpoint = read_checkpoint(folder / CHECKPOINT_NAME)
    return _result(config, data, checkpoint, folder)


def check_data(config: RunConfig, data: Dataset) -> None:
    """Refuse a network that does not fit the data, naming the field of its config, and labels that are no class."""
    data.require_labels()
    shape = tuple(data.input_shape)
    inputs: Any = shape if config.network.architecture == "conv" else shape[0] if len(shape) == 1 else shape
    expected = {"inputs": inputs, "classes": data.classes, "input_max": data.input_max, "input_min": data.input_min}
    for name, value in expected.items():
        if getattr(config.network, name) != value:
            raise ValueError(
                f"network.{name}={getattr(config.network, name)!r}: expected {value!r}, as in the data {data.name!r}"
            )
    for name, part in data.parts.items():
        wrong = part.labels[(part.labels < 0) | (part.labels >= data.classes)]
        if len(wrong):
            raise ValueError(
                f"data {data.name!r}, {name}: label {int(wrong[0])}: expected 0 to {data.classes - 1}, as "
                f"classes={data.classes}; number the labels from 0, or set classes to their number"
            )
    if len(data.train) == 0:
        raise ValueError(f"data {data.name!r}: expected training samples, got none; {data.split_rule}")
    check_training_memory(config.network, data.steps, min(config.train.batch_size, len(data.train)))
    if config.train.early_stopping_patience is not None and len(data.validation) == 0:
        raise ValueError(f"early_stopping_patience: expected a validation split, data {data.name!r} has none; use None")


def claim_folder(folder: Path, config: RunConfig, resume: bool) -> None:
    """Make the folder this config's own, or refuse if it is another's."""
    path = folder / CONFIG_NAME
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            same = RunConfig.from_json(json.loads(path.read_text(encoding="utf-8"))) == config
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the config of a run ({error}); use an empty folder") from error
        if not same:
            raise ValueError(f"{folder}: holds the run of another config (see {CONFIG_NAME}); use another folder")
    else:
        atomic_write(path, json.dumps(config.to_json(), indent=2).encode())
    if not resume:
        for name in (CHECKPOINT_NAME, HISTORY_NAME, NETWORK_NAME):
            (folder / name).unlink(missing_ok=True)


def _checkpoint(folder: Path) -> dict[str, Any] | None:
    path = folder / CHECKPOINT_NAME
    return read_checkpoint(path) if path.exists() else None


def _finished(config: RunConfig, checkpoint: dict[str, Any]) -> bool:
    history = checkpoint["squat"]["history"]
    return len(history) >= config.train.epochs or out_of_patience(history, config.train.early_stopping_patience)


def _train(config: RunConfig, data: Dataset, folder: Path, progress: bool, tensorboard: bool, resume: bool) -> None:
    from lightning.pytorch import Trainer

    from squat.train.checkpoint import EpochCheckpoint
    from squat.train.module import TrainingModule
    from squat.train.progress import ProgressLine

    train = config.train
    network = build_network(config.network, config.seed)
    module = TrainingModule(network, config, data.validation, augments=not data.train.streamed)
    bar = [ProgressLine(config.data.name)] if progress and ProgressLine.watched() else []
    trainer = Trainer(
        accelerator=train.accelerator,
        devices=train.devices,
        strategy=train.strategy,
        max_epochs=train.epochs,
        gradient_clip_val=train.clip_grad,
        callbacks=[*bar, EpochCheckpoint(folder)],
        logger=_loggers(folder) if tensorboard else False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    loader = training_loader(data.train, train.batch_size, config.seed, train.augment)
    trainer.fit(module, loader, ckpt_path=folder / CHECKPOINT_NAME if resume else None, weights_only=True)


def _loggers(folder: Path) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return [TensorBoardLogger(folder, name=None, version="tensorboard")]
    except ModuleNotFoundError as error:
        raise ValueError("tensorboard=True: needs a package; pip install tensorboardX, or leave it off") from error


def _result(config: RunConfig, data: Dataset, checkpoint: dict[str, Any], folder: Path) -> FitResult:
    history, best = checkpoint["squat"]["history"], checkpoint["squat"]["best"]
    network = build_network(config.network, config.seed).eval()
    prefix = "network."
    last = {name.removeprefix(prefix): value for name, value in checkpoint["state_dict"].items()}
    network.load_state_dict(last if best is None else best)
    accuracies = [row.get("validation_accuracy") for row in history]
    accuracy = accuracies[-1] if best is None else max(accuracies)
    atomic_write(folder / HISTORY_NAME, history_csv(history))
    metadata = {"run": config.to_json(), "epochs": len(history), "validation_accuracy": accuracy}
    metadata["data_options"] = dict(data.options)
    save(network, folder / NETWORK_NAME, metadata, overwrite=True)
    return FitResult(network, history, accuracy, sum(row["seconds"] for row in history))
