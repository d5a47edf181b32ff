"""Recipes for FashionMNIST as a constant current over 25 steps: functions that return a complete `RunConfig`.

Run one with `fit(float_baseline(seed=0), "runs/fashion")`. Data, network and training are those of the ablation preset
`fashion`, with its learning rate of the cell `float` or `qat+squat`.
"""

from __future__ import annotations

from dataclasses import replace

from squat.ablation.presets import preset
from squat.quant.spec import StateSpec, ThresholdCentered
from squat.quant.weight import IntWeight
from squat.train import RunConfig


def float_baseline(seed: int = 0, hidden: int | None = None, epochs: int | None = None) -> RunConfig:
    """A 784-256-10 feedforward network in float, 25 steps of constant current.

    Hidden neurons and epochs are the preset's unless given.
    """
    config = preset("fashion")
    base = config.base
    network = base.network if hidden is None else replace(base.network, hidden=(hidden,))
    train = replace(base.train, learning_rate=config.learning_rates["float"])
    return replace(base, network=network, train=train if epochs is None else replace(train, epochs=epochs), seed=seed)


def quantized(seed: int = 0, bits: int = 4, states: StateSpec | None = None, **sizes: int) -> RunConfig:
    """The same run with weights and states of `bits` bits; states are threshold-centred unless given."""
    run = float_baseline(seed, **sizes)
    states = ThresholdCentered(bits) if states is None else states
    network = replace(run.network, weights=IntWeight(bits), states=states)
    rate = preset("fashion").learning_rates["qat+squat"]
    return replace(run, network=network, train=replace(run.train, learning_rate=rate))


RECIPES = {"float_baseline": float_baseline, "quantized": quantized}
