"""Exporters: from an `IntegerNetwork` to the source of a program. They need numpy, never torch."""

from __future__ import annotations

from squat.export.c99 import export as c

EXPORTERS = {"c": c}
"""Every exporter by the name it has on the command line, called as `exporter(network, folder, **options)`."""

__all__ = ["EXPORTERS", "c"]
