"""Loops over neurons of several states: one equation file each, one driver for all; see `equations.py`."""

from squat.ops.states.loop import states
from squat.ops.states.tables import StatesConfig, Sums

__all__ = ["StatesConfig", "Sums", "states"]
