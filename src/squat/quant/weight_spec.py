"""The frozen weight spec `IntWeight`: plain values, valid or refused when built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squat.checks import check_choice, check_int

GRANULARITIES = ("tensor", "channel", "shift")
SCALE_RULES = ("mse", "max", "learned")


@dataclass(frozen=True)
class IntWeight:
    """Signed symmetric integer weights of 2 to 8 bits: `w ~ scale * w_int`, `|w_int| <= 2^(bits-1) - 1`.

    Args:
        bits: 2 to 8; 2 bits are the ternary set {-1, 0, 1}.
        granularity: "tensor", one scale for the layer; "channel", one per output channel (the first weight axis); or
            "shift", one for the layer times 1, 2, 4, ... 128 for each output channel. The last keeps one table for all
            neurons: the layer's integers are `w_int << shift[n]`, which a chip gets by shifting sums.
        scale: "mse", the scale of least squared error (found by search when the layer is built, then followed by one
            Lloyd step per training forward); "max", `max|w| / qmax` at every training forward; "learned", a parameter
            that starts at the "mse" scale and has the LSQ gradient (arXiv 1902.08153). In eval mode the stored one.

    Raises:
        TypeError, ValueError: an argument is not one of the above.

    Example:
        >>> IntWeight(4).qmax
        7
        >>> IntWeight(**{"bits": 2, "granularity": "channel"})
        IntWeight(bits=2, granularity='channel', scale='mse')
    """

    bits: int
    granularity: str = "tensor"
    scale: str = "mse"

    def __post_init__(self) -> None:
        check_int("bits", self.bits, 2, 8, "leave the weights in float with weight=None")
        check_choice("granularity", self.granularity, GRANULARITIES)
        check_choice("scale", self.scale, SCALE_RULES)
        if self.granularity == "shift" and self.scale == "learned":
            raise ValueError(
                "scale='learned' with granularity='shift': powers of two have no gradient, expected 'mse' or 'max'; or "
                "learn one scale for each channel with granularity='channel'"
            )

    @property
    def per_channel(self) -> bool:
        """Whether every output channel has a scale of its own."""
        return self.granularity != "tensor"

    @property
    def qmax(self) -> int:
        """Largest integer weight, `2^(bits-1) - 1`."""
        return 2 ** (self.bits - 1) - 1

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values; `squat.quant.spec.spec_from_json` reads it back.

        Example:
            >>> IntWeight(4).to_json()
            {'type': 'IntWeight', 'bits': 4, 'granularity': 'tensor', 'scale': 'mse'}
        """
        return {"type": "IntWeight", "bits": self.bits, "granularity": self.granularity, "scale": self.scale}


WEIGHT_SPECS: dict[str, type[IntWeight]] = {"IntWeight": IntWeight}
