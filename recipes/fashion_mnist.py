"""Recipes for FashionMNIST as a constant current over 25 steps: functions that return a complete `RunConfig`.

Run one with `fit(float_baseline(seed=0), "runs/fashion")`.
"""

from __future__ import annotations

from dataclasses import replace

from squat.models import NetworkConfig
from squat.quant.spec import StateSpec, ThresholdCentered
from squat.quant.weight import IntWeight
from squat.train import DataConfig, RunConfig, TrainConfig

PIXELS = {"input_scale": 1.0 / 255.0, "input_max": 255}


def float_baseline(seed: int = 0, hidden: int = 256, epochs: int = 20) -> RunConfig:
    """A 784-256-10 feedforward network in float, 25 steps of constant current."""
    network = NetworkConfig("feedforward", inputs=784, hidden=(hidden,), beta=0.9, input_gain=2.0, **PIXELS)
    train = TrainConfig(epochs=epochs, batch_size=128, learning_rate=1e-3, logit_scale=10.0)
    return RunConfig(DataConfig("fashion_mnist", {"mode": "static", "steps": 25}), network, train, seed)


def quantized(seed: int = 0, bits: int = 4, states: StateSpec | None = None, **sizes: int) -> RunConfig:
    """The same run with weights and states of `bits` bits; states are threshold-centred unless given."""
    run = float_baseline(seed, **sizes)
    states = ThresholdCentered(bits) if states is None else states
    return replace(run, network=replace(run.network, weights=IntWeight(bits), states=states))


RECIPES = {"float_baseline": float_baseline, "quantized": quantized}
