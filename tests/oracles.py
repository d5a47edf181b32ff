"""Independent oracles for the core: snnTorch's published quantizer and a plain-PyTorch neuron with its own autograd.

Written from the equations of the documentation, not from `squat.ops`: nothing here imports squat's arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import squat

PUBLISHED: dict[type, dict[str, Any]] = {
    squat.Uniform: {"uniform": True},
    squat.ThresholdCentered: {"uniform": False, "thr_centered": True},
    squat.ZeroCentered: {"uniform": False, "thr_centered": False},
}
"""State specs as published, and the arguments of snnTorch's `state_quant` that mean the same."""

THRESHOLDS = (1.0, 0.3, 2.473, 5.0, 0.427)


def snntorch_quantizer(spec: squat.StateSpec, threshold: float = 1.0) -> Any:
    """snnTorch's own quantizer for a published spec."""
    quant = pytest.importorskip("snntorch.functional.quant", reason="snnTorch is the oracle here (dev extra)")
    return quant.state_quant(
        num_bits=spec.bits,
        threshold=threshold,
        lower_limit=spec.lower_limit,
        upper_limit=spec.upper_limit,
        multiplier=getattr(spec, "base", None),
        **PUBLISHED[type(spec)],
    )


def snntorch_levels(spec: squat.StateSpec, threshold: float = 1.0) -> Tensor:
    """The level tensor that snnTorch's closure holds."""
    (cell,) = snntorch_quantizer(spec, threshold).__closure__
    return cell.cell_contents


def unchecked(scheme: type, bits: int, **arguments: float) -> squat.StateSpec:
    """A published spec made without its own validation, to ask snnTorch about it."""
    spec = object.__new__(scheme)
    defaults = {"lower_limit": 0.0, "upper_limit": 0.2, "base": None}
    for name, value in {"bits": bits, **defaults, **arguments}.items():
        object.__setattr__(spec, name, value)
    return spec


def usable(levels: Tensor) -> bool:
    """Whether a neuron with these levels can both fire and be silent at threshold 1."""
    return bool((levels > 1).any()) and bool((levels <= 1).any())


def nearest_code(levels: Tensor, x: Tensor) -> Tensor:
    """snnTorch's rule, in the dtype of `x`: the first minimum of the rounded distances."""
    wide = levels.to(x.dtype).numpy()
    return torch.from_numpy(np.abs(wide - x.numpy()[..., None]).argmin(-1))


def neighbourhood(centres: Tensor, ulps: int) -> Tensor:
    """All floats within `ulps` units in the last place of each centre, `[len(centres), 2*ulps + 1]`."""
    rows = [centres.numpy()]
    for direction in (-np.inf, np.inf):
        values = centres.numpy()
        for _ in range(ulps):
            values = np.nextafter(values, values.dtype.type(direction))
            rows.append(values)
    return torch.from_numpy(np.stack(rows, axis=-1))


def same_floats(left: Tensor, right: Tensor) -> bool:
    """Equal dtype, shape and value; NaN equals nothing, -0 equals 0."""
    return left.dtype == right.dtype and torch.equal(left, right)
