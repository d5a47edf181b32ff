"""Stand-ins for training, evaluation and calibration: deterministic, instant, and countable from any process.

A "network" is a dict with an accuracy; predictions are right on that share of the samples.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from squat.ablation.config import AblationConfig
from squat.ablation.tools import Tools
from squat.models.config import NetworkConfig
from squat.train.config import DataConfig, RunConfig, TrainConfig

SAMPLES = 40


def small_config(**changes: Any) -> AblationConfig:
    base = RunConfig(DataConfig("fake"), NetworkConfig("feedforward", inputs=3, hidden=(4,)), TrainConfig(epochs=2))
    defaults: dict[str, Any] = {
        "name": "small",
        "base": base,
        "cells": ("float", "squat", "qat+squat", "ptq", "qat+state-ptq", "squat+weight-ptq"),
        "schemes": ("uniform", "threshold_centered"),
        "seeds": (0, 1, 2),
    }
    return AblationConfig(**(defaults | changes))


class Split:
    def __init__(self, name: str) -> None:
        self.name, self.labels = name, torch.arange(SAMPLES) % 4

    def __len__(self) -> int:
        return SAMPLES


def load_data(config: Any) -> Any:
    splits = {name: Split(name) for name in ("train", "validation", "test")}
    return SimpleNamespace(name=config.name, classes=4, steps=5, **splits)


def fit(config: RunConfig, folder: Path, *, data: Any, progress: bool, resume: bool) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent.parent / "log.txt").open("a") as log:
        log.write(f"fit {folder.name}\n")
    if (slow := folder.parent.parent / "slow.txt").exists():
        time.sleep(float(slow.read_text()))
    if (broken := folder.parent.parent / "break.txt").exists() and folder.name.startswith(broken.read_text()):
        raise RuntimeError(f"no convergence in {folder}")
    if (deadly := folder.parent.parent / "die.txt").exists() and folder.name.startswith(deadly.read_text()):
        (folder.parent.parent / "once.txt").exists() and deadly.unlink()
        os.kill(os.getpid(), 9)
    quantized = (config.network.weights is not None) + (config.network.states is not None)
    wobble = zlib.crc32(json.dumps(config.to_json(), sort_keys=True).encode()) % 3
    network = {"right": 34 - 4 * quantized + wobble}
    return SimpleNamespace(network=network, history=[{"epoch": 1, "loss": float("nan"), "seconds": 0.1}], seconds=0.1)


def evaluate(network: Any, split: Split, batch_size: int, threads: int, *, loss: str, logit_scale: float) -> Any:
    right = network["right"] + (split.name == "validation")
    predictions = [(label + (i >= right)) % 4 for i, label in enumerate(split.labels.tolist())]
    rates = {"0 LIF": 0.25}
    return SimpleNamespace(
        accuracy=right / SAMPLES, loss=1.0, tied_share=0.0, spike_rates=rates, predictions=predictions
    )


def calibrate(network: Any, data: Split, *, weights: Any, states: Any, state_range: str, **sizes: int) -> Any:
    assert data.name == "train"
    assert weights is not None or states is not None
    lost = 5 + (states is not None and state_range == "published")
    return {"right": network["right"] - lost}, SimpleNamespace(to_json=lambda: {"state_range": state_range})


def measure(network: Any, split: Split) -> dict[str, int]:
    return {"weights": 100, "states": 10}


def save(network: Any, path: Path, metadata: Any, *, overwrite: bool) -> None:
    path.write_text(json.dumps(network))


def load(path: Path) -> Any:
    return json.loads(path.read_text())


TOOLS = Tools(load_data, fit, evaluate, calibrate, measure, save, load)
