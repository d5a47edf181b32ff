"""A small data set that a network can learn: three classes of spikes, each on its own third of the channels."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from squat.data.dataset import Dataset, Split
from squat.data.inputs import pack_spikes
from squat.models import NetworkConfig
from squat.train import AugmentConfig, DataConfig, FitResult, RunConfig, TrainConfig

CHANNELS, STEPS, CLASSES = 12, 10, 3


def spike_split(samples: int, seed: int) -> Split:
    """`samples` recordings, labels in turn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    rate = torch.full((samples, 1, CHANNELS), 0.05)
    for label in range(CLASSES):
        rate[labels == label, :, label * 4 : label * 4 + 4] = 0.4
    frames = torch.rand(samples, STEPS, CHANNELS, generator=generator) < rate
    return Split(pack_spikes(frames.float()), labels)


def spike_data(train: int = 60, validation: int = 18, test: int = 9) -> Dataset:
    """The data set; equal sizes give equal data."""
    splits = [spike_split(size, seed) for seed, size in enumerate((train, validation, test))]
    texts = {"description": "synthetic", "split_rule": "by seed", "licence": "none", "source": "tests"}
    return Dataset("synthetic", *splits, classes=CLASSES, input_max=1, input_scale=1.0, **texts)


def run_config(seed: int = 0, epochs: int = 4, *, network: dict | None = None, **train: object) -> RunConfig:
    """A run on that data, with augmentation on."""
    options = {"inputs": CHANNELS, "hidden": (16,), "classes": CLASSES, "input_gain": 3.0, **(network or {})}
    augment = AugmentConfig(channel_shift=1, event_drop=0.1)
    settings = {"batch_size": 16, "learning_rate": 1e-2, "logit_scale": 5.0, "augment": augment, **train}
    return RunConfig(DataConfig("synthetic"), NetworkConfig(**options), TrainConfig(epochs=epochs, **settings), seed)


def weights_of(result: FitResult) -> dict[str, torch.Tensor]:
    """Everything a run has learned, by name."""
    return result.network.state_dict()


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def history_rows(folder: Path) -> list[dict[str, str]]:
    """The table that a run keeps."""
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
