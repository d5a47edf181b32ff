"""Trained networks as integer machines: lowered, proved equal to training, run without torch."""

from __future__ import annotations

from squat.integer.engine import Result, State
from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer, Neurons, Pool, Readout

__all__ = ["IntegerNetwork", "Layer", "Neurons", "Pool", "Readout", "Result", "State"]
