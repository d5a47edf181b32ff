"""The LIF loop (with optional recurrence): `lif` checks nothing about layers, chooses a backend and differentiates."""

from squat.ops.lif.operators import lif
from squat.ops.lif.tables import LoopConfig

__all__ = ["LoopConfig", "lif"]
