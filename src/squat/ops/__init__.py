"""Loops over time: one folder per neuron, one file per backend; `reference.py` is the specification.

Names are loaded on first use: the integer engine takes its encoder from here and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squat.ops.choice import PRODUCTS, Choice, products
    from squat.ops.dispatch import BACKENDS, backend, current_backend

__all__ = ["BACKENDS", "PRODUCTS", "Choice", "backend", "current_backend", "products"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'squat.ops' has no attribute {name!r}")
    home = "choice" if name in ("PRODUCTS", "Choice", "products") else "dispatch"
    return getattr(import_module(f"squat.ops.{home}"), name)
