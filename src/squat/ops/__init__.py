"""Loops over time: one folder per neuron, one file per backend; `reference.py` is the specification."""

from squat.ops.choice import PRODUCTS, Choice, products
from squat.ops.dispatch import BACKENDS, backend, current_backend

__all__ = ["BACKENDS", "PRODUCTS", "Choice", "backend", "current_backend", "products"]
