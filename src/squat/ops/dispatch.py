"""Which implementation of the loops runs: the compiled one by default, another inside `with backend(name)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from squat.checks import check_choice

BACKENDS = ("reference", "cpu", "gpu")
"""Every backend by name. All give equal codes and spikes; a new one is added here and inherits the contract tests."""

_forced: ContextVar[str | None] = ContextVar("squat_backend", default=None)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force a backend inside a `with` block.

    Args:
        name: `"reference"` (plain PyTorch, the specification), `"cpu"` (compiled) or `"gpu"` (Triton).

    Raises:
        ValueError: for an unknown backend.

    Example:
        >>> with backend("reference"):
        ...     current_backend()
        'reference'
    """
    token = _forced.set(check_choice("backend", name, BACKENDS))
    try:
        yield
    finally:
        _forced.reset(token)


def current_backend(device: torch.device | None = None) -> str:
    """The backend that a loop called now would use: the forced one, else the compiled one of the device."""
    return _forced.get() or ("gpu" if device is not None and device.type == "cuda" else "cpu")
