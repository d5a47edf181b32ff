"""Trained networks as integer machines: lowered, proved equal to training, run and saved without torch."""

from __future__ import annotations

from squat.integer.certificate import Certificate
from squat.integer.engine import Result, State
from squat.integer.format import load, read_metadata
from squat.integer.joins import Join
from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer, Neurons, Readout
from squat.integer.pools import Pool

__all__ = [
    "Certificate",
    "IntegerNetwork",
    "Join",
    "Layer",
    "Neurons",
    "Pool",
    "Readout",
    "Result",
    "State",
    "load",
    "read_metadata",
]
