"""What makes squat and snnTorch work together; loads snnTorch and Brevitas on first use only."""

from __future__ import annotations

from squat.compat.state_quant import StateQuant, state_quant

__all__ = ["StateQuant", "state_quant"]
