"""Recipes for the Spiking Heidelberg Digits, 140 channels and 10 ms, streamed: functions that return a `RunConfig`.

Run one with `fit(float_baseline(seed=0), "runs/shd")`. The settings are a starting point, not the outcome of a search.
"""

from __future__ import annotations

from dataclasses import replace

from squat.models.config import NetworkConfig
from squat.quant.spec import StateSpec, ThresholdCentered
from squat.quant.weight import IntWeight
from squat.train import AugmentConfig, DataConfig, RunConfig, TrainConfig


def float_baseline(seed: int = 0, hidden: int = 256, epochs: int = 40) -> RunConfig:
    """A recurrent network in float; channels are shifted, times stretched and events dropped while it trains."""
    network = NetworkConfig("recurrent", inputs=140, hidden=(hidden,), classes=20, beta=0.95, input_gain=3.0)
    augment = AugmentConfig(channel_shift=4, time_warp=0.1, event_drop=0.1)
    train = TrainConfig(epochs=epochs, batch_size=128, learning_rate=4e-3, logit_scale=10.0, augment=augment)
    return RunConfig(DataConfig("shd", {"channels": 140, "bin_ms": 10, "steps": 100}), network, train, seed)


def quantized(seed: int = 0, bits: int = 4, states: StateSpec | None = None, **sizes: int) -> RunConfig:
    """The same run with weights and states of `bits` bits; states are threshold-centred unless given."""
    run = float_baseline(seed, **sizes)
    states = ThresholdCentered(bits) if states is None else states
    return replace(run, network=replace(run.network, weights=IntWeight(bits), states=states))


RECIPES = {"float_baseline": float_baseline, "quantized": quantized}
