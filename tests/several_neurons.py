"""Neurons of several states for tests: small, firing, from fixed seeds."""

from __future__ import annotations

import torch

import squat
from squat.neurons import NEURONS
from squat.neurons.several import SeveralStates

BATCH, FEATURES = 3, 7
SEVERAL = {name: neuron for name, neuron in NEURONS.items() if issubclass(neuron, SeveralStates)}


def make(name, **arguments):
    torch.manual_seed(0)
    neuron = SEVERAL[name]
    if name == "AlphaLIF":  # whose traces exceed its membrane
        arguments = {"alpha": 0.9, "beta": 0.5, "trace_state": squat.Uniform(6, 4.0, 4.0), **arguments}
    if name in ("ALIF", "RALIF"):  # whose threshold must not rise above the top level
        arguments = {"kappa": 0.01, **arguments}
    recurrent = issubclass(neuron, squat.RLIF)
    return neuron(*(FEATURES, FEATURES) * recurrent, threshold=0.1 if recurrent else 0.4, **arguments)


def sequence(steps=9, seed=0):
    return torch.randn(steps, BATCH, FEATURES, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.25
