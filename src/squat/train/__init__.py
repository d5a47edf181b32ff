"""Training: frozen run configs, `fit` on Lightning's Trainer, `evaluate`. Lightning is loaded when a run starts."""

from __future__ import annotations

from squat.models.config import NetworkConfig
from squat.train.config import AugmentConfig, DataConfig, RunConfig, TrainConfig
from squat.train.evaluate import Evaluation, evaluate
from squat.train.run import FitResult, fit

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "Evaluation",
    "FitResult",
    "NetworkConfig",
    "RunConfig",
    "TrainConfig",
    "evaluate",
    "fit",
]
