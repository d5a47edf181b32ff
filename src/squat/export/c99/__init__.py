"""C99: a fixed, hand-written runtime (`runtime/`) and generated constant tables."""

from __future__ import annotations

from squat.export.c99.folder import export

__all__ = ["export"]
