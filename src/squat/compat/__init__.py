"""What makes squat and snnTorch work together: its state quantizer as a drop-in, its networks converted.

Modules of snnTorch and Brevitas are known by the names of their classes; only `to_snntorch` imports snnTorch.
"""

from __future__ import annotations

from squat.compat.back import to_snntorch
from squat.compat.compare import Comparison, LayerComparison, compare
from squat.compat.convert import from_snntorch
from squat.compat.state_quant import StateQuant, state_quant

__all__ = ["Comparison", "LayerComparison", "StateQuant", "compare", "from_snntorch", "state_quant", "to_snntorch"]
