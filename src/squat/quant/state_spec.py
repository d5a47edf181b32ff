"""`StateSpec`: what every state spec answers. The specs themselves, and their list, are in `quant/spec.py`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_int
from squat.quant.boundaries import nearest_level_boundaries

_CODE_REMEDY = "a code is stored in one byte; for a float state use state=None"


@dataclass(frozen=True)
class StateSpec:
    """Base of the state specs: `2**bits` levels, codes `c = #{k : a > bound[k]}`, values `level[c]`."""

    bits: int

    def __post_init__(self) -> None:
        check_int("bits", self.bits, 1, 8, _CODE_REMEDY)

    def levels(self, threshold: float = 1.0) -> Tensor:
        """Sorted float32 levels `[2**bits]` for a firing threshold."""
        from squat.quant.spec import STATE_SPECS

        raise TypeError(f"{type(self).__name__} is abstract; use one of {', '.join(STATE_SPECS)}")

    def boundaries(self, threshold: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Decision boundaries `[2**bits - 1]` for inputs of `dtype` (float32 or float64)."""
        return nearest_level_boundaries(self.levels(threshold), dtype)

    def first_firing_code(self, threshold: float = 1.0) -> int:
        """Lowest code whose level lies above the threshold (strictly, as snnTorch fires)."""
        return int((self.levels(threshold) <= torch.tensor(threshold, dtype=torch.float32)).sum())

    @property
    def evenly_spaced(self) -> bool:
        """Whether the boundaries are equally spaced, so that a code is found in constant time."""
        return False

    @property
    def decays(self) -> bool:
        """Whether every code but the resting one must move at least one code towards rest without input."""
        return False

    def encode(self, x: Tensor, threshold: float = 1.0) -> Tensor:
        """Codes of the values `x`: `c = #{k : x > bound[k]}`.

        Args:
            x: float values of any shape; half and bfloat16 are widened to float32 first.
            threshold: firing threshold that the levels refer to.

        Returns:
            uint8 codes of the shape of `x`.

        Raises:
            ValueError: for NaN or infinity, and for a threshold that is not a positive number.
            TypeError: if `x` is not a floating-point tensor.

        Example:
            >>> from squat.quant.spec import Uniform
            >>> Uniform(2).encode(torch.tensor([-3.0, 0.0, 0.2, 9.0]))
            tensor([0, 1, 2, 3], dtype=torch.uint8)
        """
        from squat.quant.encoder import encode

        return encode(self, x, threshold)

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values; `spec_from_json` is the inverse."""
        return {"type": type(self).__name__, **{field.name: getattr(self, field.name) for field in fields(self)}}
