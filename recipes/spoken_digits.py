"""Recipes for the spoken digits, 140 channels and 10 ms: functions that return a complete `RunConfig`.

Run one with `fit(float_baseline(seed=0), "runs/digits")`.
"""

from __future__ import annotations

from dataclasses import replace

from squat.models import NetworkConfig
from squat.quant.spec import StateSpec, ThresholdCentered
from squat.quant.weight import IntWeight
from squat.train import AugmentConfig, DataConfig, RunConfig, TrainConfig


def float_baseline(seed: int = 0, hidden: int = 128, epochs: int = 40) -> RunConfig:
    """A recurrent network in float: `RLIF`, then a linear layer whose current is accumulated."""
    network = NetworkConfig("recurrent", inputs=140, hidden=(hidden,), beta=0.95, input_gain=3.0)
    train = TrainConfig(
        epochs=epochs, batch_size=64, learning_rate=2e-3, logit_scale=10.0, augment=AugmentConfig(channel_shift=4)
    )
    return RunConfig(DataConfig("spoken_digits"), network, train, seed)


def quantized(seed: int = 0, bits: int = 4, states: StateSpec | None = None, **sizes: int) -> RunConfig:
    """The same run with weights and states of `bits` bits; states are threshold-centred unless given."""
    run = float_baseline(seed, **sizes)
    states = ThresholdCentered(bits) if states is None else states
    return replace(run, network=replace(run.network, weights=IntWeight(bits), states=states))


RECIPES = {"float_baseline": float_baseline, "quantized": quantized}
