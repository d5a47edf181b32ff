"""Readouts of trained networks as integer readouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.integer.parts import BIAS_FRACTION_BITS, Readout
from squat.layers import Current, Linear
from squat.models.readout import READOUT_NAMES, AccumulatedCurrent
from squat.neurons import LI, LIF, RLIF

LEVEL_FRACTION_BITS = 40
"""Bits below one that the levels of a mean membrane are rounded to where float32 reaches further."""
RATIO_LIMIT = 2**16
"""Largest ratio of the scales of an accumulated current's channels."""

_READS: dict[str, tuple[tuple[type, ...], str]] = {
    "spike_count": ((LIF, RLIF), "an LIF"),
    "accumulated_current": ((Linear,), "a Linear"),
    "max_membrane": ((LI,), "an LI"),
    "mean_membrane": ((LI,), "an LI"),
}


def wanted_layer(readout: Any, last: Any) -> str:
    """What should be last for this readout, empty if it is."""
    kinds, name = _READS[_kind(readout)]
    return "" if isinstance(last, kinds) else name


def lower_readout(readout: Any, last: Any, scale: Tensor, bias: Tensor | None) -> Readout:
    """The integer readout of a trained one.

    Args:
        readout: of `squat.models`.
        last: the last module.
        scale: of the last layer's sums, 0-dim or per channel.
        bias: of the last layer, or None.

    Raises:
        ValueError: for scales too different to be compared as integers.
    """
    kind = _kind(readout)
    if kind == "mean_membrane":
        return Readout(kind, level=integer_levels(last.state_spec.levels(float(last.threshold))))
    if kind != "accumulated_current":
        return Readout(kind)
    return _accumulated(readout, scale, bias)


def _kind(readout: Any) -> str:
    return next(name for name, cls in READOUT_NAMES.items() if cls is type(readout))


def _accumulated(readout: AccumulatedCurrent, scale: Tensor, bias: Tensor | None) -> Readout:
    ratios = integer_ratios(scale) if scale.numel() > 1 else None
    if bias is None:
        return Readout("accumulated_current", multiplier=ratios)
    # The readout itself says what one step without spikes is worth.
    silent = readout(Current(bias.new_zeros(1, 1, len(bias)), scale, bias, 0))[0]
    rounded = (silent / (scale.double() / 2.0**BIAS_FRACTION_BITS)).round().to(torch.int64)
    return Readout("accumulated_current", rounded.cpu().numpy(), ratios)


def integer_ratios(scale: Tensor) -> np.ndarray | None:
    """Integers in exactly the ratios of float scales; None where all are equal.

    Example:
        >>> integer_ratios(torch.tensor([0.5, 0.75, 2.0]))
        array([2, 3, 8])
    """
    mantissa, exponent = np.frexp(scale.double().cpu().numpy())
    spread = exponent - exponent.min()
    if 2 ** int(spread.max()) > RATIO_LIMIT:
        raise ValueError(f"its channels' scales differ by more than {RATIO_LIMIT}; use granularity='tensor'")
    ratios = (mantissa * 2.0**24).astype(np.int64) << spread.astype(np.int64)
    ratios //= np.gcd.reduce(ratios)
    return None if (ratios == 1).all() else ratios


def integer_levels(levels: Tensor) -> np.ndarray:
    """Levels in units of a power of two, exact where they need at most `LEVEL_FRACTION_BITS` below one.

    Example:
        >>> integer_levels(torch.tensor([-0.5, 0.0, 1.25]))
        array([-2,  0,  5])
    """
    values = levels.double().numpy()
    for shift in range(LEVEL_FRACTION_BITS + 1):
        scaled = values * 2.0**shift
        if np.array_equal(scaled, np.rint(scaled)):
            break
    return np.rint(scaled).astype(np.int64)
