"""Weight quantization: the frozen spec `IntWeight` and the module that turns float weights into integers and a scale.

    w_int = clamp(round(w / scale), -qmax, qmax),    qmax = 2^(bits-1) - 1,    w is replaced by scale * w_int

Symmetric: no zero point, and -2^(bits-1) is not used, so 2 bits are {-1, 0, 1}. A layer multiplies by `w_int` and hands
the scale on, so its sums are integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from squat.checks import check_choice, check_int, check_type
from squat.quant.rounding import lsq_factor, quantize_ste, scale_gradient
from squat.quant.weight_scale import lloyd_step, max_scale, search_scale

GRANULARITIES = ("tensor", "channel")
SCALE_RULES = ("mse", "max", "learned")


@dataclass(frozen=True)
class IntWeight:
    """Signed symmetric integer weights of 2 to 8 bits: `w ~ scale * w_int`, `|w_int| <= 2^(bits-1) - 1`.

    Args:
        bits: 2 to 8; 2 bits are the ternary set {-1, 0, 1}.
        granularity: "tensor", one scale for the layer, or "channel", one per output channel (the first weight axis).
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


class WeightQuantizer(nn.Module):
    """Turns float weights into integers and a scale by an `IntWeight` spec; keeps the scale.

    The scale is a buffer `scale` (or the parameter `log_scale` where it is learned, positive by construction), 0-dim
    per tensor and `[N]` per channel; it stays float32 or wider under `.half()` and `.bfloat16()`. It starts at
    `1 / qmax`; call `rescale(weight)` when the weights are there. Scales by "mse" and "max" are constants of the
    backward pass, learned ones get the LSQ gradient times `1 / sqrt(weights per scale * qmax)` (and, through the
    logarithm, times the scale).

    Args:
        spec: the frozen spec.
        weight_shape: shape of the weights, output channels first, at least two axes.

    Example:
        >>> quantizer = WeightQuantizer(IntWeight(3, scale="max"), (1, 3))
        >>> w_int, scale = quantizer(torch.tensor([[0.3, -0.2, 0.04]]))
        >>> w_int.tolist(), round(scale.item(), 4)
        ([[3.0, -2.0, 0.0]], 0.1)
    """

    scale: Tensor
    _kept_wide: ClassVar[tuple[torch.dtype, ...]] = (torch.float16, torch.bfloat16)

    def __init__(self, spec: IntWeight, weight_shape: Sequence[int]) -> None:
        super().__init__()
        check_type("spec", spec, IntWeight, "an IntWeight")
        self.spec = spec
        self.weight_shape = tuple(weight_shape)
        start = torch.full(self.weight_shape[:1] if spec.granularity == "channel" else (), 1.0 / spec.qmax)
        if spec.scale == "learned":
            self.log_scale = nn.Parameter(start.log())
        else:
            self.register_buffer("scale", start)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Integers and scale for these weights.

        Args:
            weight: `[N, ...]`, any float dtype.

        Returns:
            `w_int` (integer-valued, float32, or float64 for float64 weights; gradient as in `quantize_ste`) and `scale`
            (0-dim or `[N]`).

        Raises:
            ValueError: NaN or infinity in the weights.
        """
        wide = weight.float() if weight.dtype in self._kept_wide else weight
        _check_finite(wide)
        if self.training and self.spec.scale != "learned":
            self._follow(wide.detach())
        scale = self.current_scale().to(wide.dtype)
        limit = self.spec.qmax + (0.0 if self.spec.scale == "learned" else 0.5)
        return quantize_ste(wide, self._broadcast(scale), self.spec.qmax, limit), scale

    def current_scale(self) -> Tensor:
        """The scale in force: 0-dim or `[N]`, > 0; a new tensor, so that later training steps leave it alone."""
        if self.spec.scale != "learned":
            return self.scale.clone()
        shared_by = math.prod(self.weight_shape) // self.log_scale.numel()
        return scale_gradient(self.log_scale.exp(), lsq_factor(shared_by, self.spec.qmax))

    @torch.no_grad()
    def rescale(self, weight: Tensor) -> None:
        """Sets the scale from these weights from scratch: `max|w| / qmax` for "max", the full search otherwise.

        Args:
            weight: `[N, ...]`, the float weights.

        Raises:
            ValueError: NaN or infinity in the weights.
        """
        wide = weight.detach().float() if weight.dtype in self._kept_wide else weight.detach()
        _check_finite(wide)
        find = max_scale if self.spec.scale == "max" else search_scale
        self._store(find(self._rows(wide), self.spec.qmax))

    def extra_repr(self) -> str:
        """The spec."""
        return repr(self.spec)

    @torch.no_grad()
    def _follow(self, weight: Tensor) -> None:
        rows = self._rows(weight)
        if self.spec.scale == "max":
            self._store(max_scale(rows, self.spec.qmax))
        else:
            self._store(lloyd_step(rows, self.scale.reshape(-1, 1).to(rows.dtype), self.spec.qmax))

    def _store(self, scale: Tensor) -> None:
        target = self.log_scale if self.spec.scale == "learned" else self.scale
        target.copy_((scale.log() if self.spec.scale == "learned" else scale).reshape(target.shape))

    def _rows(self, weight: Tensor) -> Tensor:
        return weight.reshape(weight.shape[0] if self.spec.granularity == "channel" else 1, -1)

    def _broadcast(self, scale: Tensor) -> Tensor:
        return scale.reshape(-1, *[1] * (len(self.weight_shape) - 1)) if scale.dim() else scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightQuantizer:
        # A half-precision scale could become 0; the conversion still moves the scale between devices.
        name = "log_scale" if self.spec.scale == "learned" else "scale"
        before = getattr(self, name).detach()
        super()._apply(fn, recurse)
        after = getattr(self, name)
        if after.dtype in self._kept_wide:
            wide = before.to(after.device)
            if isinstance(after, nn.Parameter):
                after.data = wide
            else:
                self.scale = wide
        return self


def row_bound(w_int: Tensor, input_max: int) -> int:
    """A certain upper bound of `|z|` for `z = w_int x` and integer inputs `|x| <= input_max`.

        bound = input_max * max over outputs of sum |w_int|

    Args:
        w_int: integer-valued weights, `[N, ...]`.
        input_max: largest absolute input.

    Returns:
        The bound as a Python int.

    Example:
        >>> row_bound(torch.tensor([[1.0, -2.0], [0.0, 1.0]]), 255)
        765
    """
    rows = w_int.detach().flatten(1)
    # float32 counts exactly up to 2^24; weights have at most 8 bits.
    kind = torch.float32 if rows.shape[1] * 127 < 2**24 else torch.float64
    return int(rows.abs().sum(1, dtype=kind).max().item()) * input_max


def _check_finite(weight: Tensor) -> None:
    # The sum is one cheap pass and catches every NaN and infinity; only then look closer (it may have overflowed).
    if not math.isfinite(weight.detach().sum().item()) and not bool(weight.isfinite().all()):
        raise ValueError(
            "weight: got NaN or infinity, expected finite values; the training has diverged (lower the learning rate "
            "or clip the gradients), or the weights that were loaded are damaged"
        )
