"""Decision boundaries: code `c = #{k : a > bound[k]}`.

For the published sets a boundary is the largest float of the working dtype that snnTorch's rule (the first minimum of
`|level - a|`, evaluated in that dtype) sends to a code `<= k`. The distances are rounded, so it lies up to a few ulp
from the midpoint; it is found by bisection over the floats. Far outside the range (beyond about 1e5 thresholds in
float32) snnTorch's rounded distances are all equal and its rule falls back to code 0; the boundaries stay monotone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_INTEGERS: dict[np.dtype, Any] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def nearest_level_boundaries(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boundaries `[N - 1]` of the published nearest-level rule for sorted `levels` `[N]`, in `dtype`.

    Equal neighbours (levels that round to one float32) share a code, the lower one, as in snnTorch.

    Example:
        >>> nearest_level_boundaries(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.5000,  1.0000])
    """
    values = levels.to(torch.float64).numpy().astype(np.float32 if dtype == torch.float32 else np.float64)
    lower, upper = values[:-1], values[1:]
    below, above = _ordered(lower), _ordered(upper)
    # Invariant: `below` goes to the lower level, `above` to the upper one.
    while np.any(above > below + 1):
        middle = (below >> 1) + (above >> 1) + (below & above & 1)  # no overflow across zero in float64
        point = _from_ordered(middle, values.dtype)
        to_lower = np.abs(lower - point) <= np.abs(upper - point)
        below, above = np.where(to_lower, middle, below), np.where(to_lower, above, middle)
    bounds = _from_ordered(below, values.dtype)
    next_bound = values.dtype.type(np.inf)
    for k in reversed(range(len(bounds))):
        if lower[k] == upper[k]:
            bounds[k] = next_bound
        next_bound = bounds[k]
    return torch.from_numpy(bounds)


def midpoint_boundaries(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Midpoints of neighbouring levels, computed in float64 and rounded once to `dtype`.

    Example:
        >>> midpoint_boundaries(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.5000,  1.0000])
    """
    wide = levels.to(torch.float64)
    return ((wide[1:] + wide[:-1]) / 2).to(dtype)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the floats: neighbouring floats are neighbouring integers."""
    bits = values.view(_INTEGERS[values.dtype]).astype(np.int64)
    lowest = np.int64(np.iinfo(_INTEGERS[values.dtype]).min)
    return np.where(bits < 0, lowest - bits, bits)


def _from_ordered(order: np.ndarray, dtype: np.dtype) -> np.ndarray:
    lowest = np.int64(np.iinfo(_INTEGERS[dtype]).min)
    return np.where(order < 0, lowest - order, order).astype(_INTEGERS[dtype]).view(dtype)
