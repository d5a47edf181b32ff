"""Loops over time: one folder per neuron, one file per backend; `reference.py` is the specification."""

from squat.ops.dispatch import BACKENDS, backend, current_backend

__all__ = ["BACKENDS", "backend", "current_backend"]
