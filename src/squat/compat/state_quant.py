"""A drop-in for snnTorch's `state_quant`: the same function of the membrane, linear in memory, and a module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_int, check_real
from squat.operators import check_finite, operator
from squat.quant import levels as level_sets
from squat.quant.boundaries import nearest_level_boundaries
from squat.quant.encoder import checked_values, has_kernel, look_up, refuse_not_finite
from squat.quant.spec import StateSpec, ThresholdCentered, Uniform, ZeroCentered

_BITS_REMEDY = (
    "beyond 8 bits the published levels merge in float32, and snnTorch's rule depends on rounding; use 8 bits, or "
    "snnTorch's own state_quant"
)


def state_quant(
    num_bits: int = 8,
    uniform: bool = True,
    thr_centered: bool = True,
    threshold: float = 1,
    lower_limit: float = 0,
    upper_limit: float = 0.2,
    multiplier: float | None = None,
) -> StateQuant:
    """snnTorch's `state_quant`, for `snn.Leaky(..., state_quant=...)` and every other neuron of snnTorch.

        q(x) = the level nearest to x (at a tie the lower one), dq/dx = 1

    Values equal snnTorch 1.0.0's bit for bit, as do their gradients, with these differences: memory and time do not
    grow with the number of levels; the result is a module whose levels are in the `state_dict` (a checkpoint without
    them loads too), that can be pickled and compiled; float64 gives float64; NaN and infinity are refused; and values
    so far outside that snnTorch's rounded distances are all equal (beyond about 1e5 thresholds in float32) go to the
    end level, not to the lowest.

    Args:
        num_bits: bits of a state, 1 to 8.
        uniform: equally spaced levels; `thr_centered` and `multiplier` then mean nothing.
        thr_centered: whether other levels gather at the threshold, or at zero.
        threshold: firing threshold of the neuron, > 0.
        lower_limit: reach of the levels below `-threshold`, as a share of the threshold.
        upper_limit: reach above the threshold, as a share of it; with 0 the neuron can never fire, which is warned of.
        multiplier: ratio of successive gaps, in (0, 1); None for the published one of `num_bits`.

    Returns:
        A `StateQuant`, to be called with a tensor.

    Raises:
        TypeError, ValueError: for values outside these ranges, and for levels that come out of order in float32.

    Source: arXiv 2404.19668; snnTorch 1.0.0 `snntorch.functional.quant.state_quant`.

    Example:
        >>> quantize = state_quant(num_bits=2)
        >>> quantize(torch.tensor([-3.0, 0.2, 0.5]))
        tensor([-1.0000,  0.4667,  0.4667])
        >>> list(quantize.state_dict())
        ['levels']
    """
    return StateQuant(num_bits, uniform, thr_centered, threshold, lower_limit, upper_limit, multiplier)


class StateQuant(nn.Module):
    """What `state_quant` returns, with its arguments; the buffer `levels` is float32 whatever the module is cast to.

    Example:
        >>> StateQuant(num_bits=4, uniform=False).spec
        ThresholdCentered(bits=4, lower_limit=0.0, upper_limit=0.2, base=None)
    """

    levels: Tensor
    bounds: Tensor
    wide_bounds: Tensor
    _encoder: Any

    def __init__(
        self,
        num_bits: int = 8,
        uniform: bool = True,
        thr_centered: bool = True,
        threshold: float = 1,
        lower_limit: float = 0,
        upper_limit: float = 0.2,
        multiplier: float | None = None,
    ) -> None:
        super().__init__()
        self.num_bits = check_int("num_bits", num_bits, 1, 8, _BITS_REMEDY)
        self.uniform, self.thr_centered = bool(uniform), bool(thr_centered)
        self.threshold = check_real("threshold", threshold, 0.0, open_low=True)
        self.lower_limit = check_real("lower_limit", lower_limit, -1.0, open_low=True)
        self.upper_limit = check_real("upper_limit", upper_limit, 0.0)
        self.multiplier = multiplier
        if multiplier is not None and check_real("multiplier", multiplier, 0.0, 1.0, open_low=True) == 1.0:
            raise ValueError("multiplier=1.0: expected a number in (0, 1); for equal gaps use uniform=True")
        levels = self._published_levels()
        if bool((levels.diff() < 0).any()):
            raise ValueError(
                f"multiplier={multiplier}: expected one whose levels are in order in float32; use one nearer to 1"
            )
        if not bool((levels > torch.tensor(self.threshold, dtype=torch.float32)).any()):
            warnings.warn(
                f"state_quant(upper_limit={upper_limit}): no level lies above the threshold, so a neuron with this "
                "quantizer never fires; raise upper_limit",
                UserWarning,
                stacklevel=3,
            )
        self.register_buffer("levels", levels)
        self._follow_levels()

    @property
    def spec(self) -> StateSpec:
        """The same levels as a state spec of squat, in units of the threshold.

        Raises:
            ValueError: where squat has no such spec (no level above the threshold).
        """
        if self.uniform:
            return Uniform(self.num_bits, self.lower_limit, self.upper_limit)
        scheme = ThresholdCentered if self.thr_centered else ZeroCentered
        return scheme(self.num_bits, self.lower_limit, self.upper_limit, self.multiplier)

    def forward(self, x: Tensor) -> Tensor:
        """The nearest level of each value.

        Args:
            x: float values of any shape.

        Returns:
            Levels in the shape of `x`, float64 for float64 and else float32: in half precision levels would merge.

        Raises:
            TypeError: if `x` is not a floating-point tensor.
            ValueError: for NaN or infinity.
        """
        if torch.compiler.is_compiling():
            check_finite(x)
            return _nearest_level.registered(x, self.levels, self._bounds_for(x))
        return _Nearest.apply(x, self)

    def extra_repr(self) -> str:
        """The arguments."""
        names = ("num_bits", "uniform", "thr_centered", "threshold", "lower_limit", "upper_limit", "multiplier")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def _published_levels(self) -> Tensor:
        limits = (self.num_bits, self.threshold, self.lower_limit, self.upper_limit)
        if self.uniform:
            return level_sets.uniform(*limits)
        scheme = level_sets.threshold_centered if self.thr_centered else level_sets.zero_centered
        return scheme(*limits, self.multiplier)

    def _bounds_for(self, x: Tensor) -> Tensor:
        return self.wide_bounds if x.dtype == torch.float64 else self.bounds

    def _quantized(self, x: Tensor) -> Tensor:
        values = checked_values(x)
        if has_kernel(values):
            from squat.ops.encoder import make_encoder

            if self._encoder is None:
                self._encoder = make_encoder(self.bounds.numpy())
            return look_up(values, self.bounds, self.levels, self._encoder)
        refuse_not_finite(bool(torch.isfinite(values).all()))
        return _nearest_level(values, self.levels, self._bounds_for(values))

    def _follow_levels(self) -> None:
        """Boundaries for float32 and float64 values, and the compiled encoder, from the levels."""
        for name, dtype in (("bounds", torch.float32), ("wide_bounds", torch.float64)):
            bounds = nearest_level_boundaries(self.levels.cpu(), dtype).to(self.levels.device)
            self.register_buffer(name, bounds, persistent=False)
        self._encoder = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # A checkpoint written with snnTorch's own quantizer holds no levels: those of the arguments stay.
        if f"{prefix}levels" in state_dict:
            super()._load_from_state_dict(state_dict, prefix, *rest)
            self._follow_levels()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StateQuant:
        levels = self.levels
        super()._apply(fn, recurse)
        self.levels = levels.to(self.levels.device)  # never narrowed: in half precision 8-bit levels would merge
        self._follow_levels()
        return self


class _Nearest(torch.autograd.Function):
    """Saves nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantizer: StateQuant) -> Tensor:
        return quantizer._quantized(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _result(x: Tensor, levels: Tensor, bounds: Tensor) -> Tensor:
    return x.new_empty(x.shape, dtype=bounds.dtype)


def _no_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.dtype = inputs[0].dtype


def _pass_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return grad.to(ctx.dtype), None, None


@operator("(Tensor x, Tensor levels, Tensor bounds) -> Tensor", _result, (_no_context, _pass_gradient))
def _nearest_level(x: Tensor, levels: Tensor, bounds: Tensor) -> Tensor:
    codes = torch.bucketize(x.to(bounds.dtype).contiguous(), bounds.to(x.device), out_int32=True)
    return levels.to(x.device, bounds.dtype)[codes]
