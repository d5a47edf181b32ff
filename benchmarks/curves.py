"""Scaling curves: a training step of a network with one size varied; a measure is the value of that size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import cases, networks


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """A training step with the axis at the value that the measure names."""
    value = float(measure) if settings["axis"] == "density" else int(measure)
    return networks.build({**settings, settings["axis"]: value}, cases.TRAINING, stack)


def check(settings: dict[str, Any]) -> dict[str, bool]:
    """As for the network that the curve belongs to."""
    return networks.check(settings)
