"""Weight quantization: the frozen spec `IntWeight` and the module that turns float weights into integers and a scale.

    w_int = clamp(round(w / scale), -qmax, qmax),    qmax = 2^(bits-1) - 1,    w is replaced by scale * w_int

Symmetric: no zero point, and -2^(bits-1) is not used, so 2 bits are {-1, 0, 1}. A layer multiplies by `w_int` and hands
the scale on, so its sums are integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_type
from squat.operators import operator
from squat.quant.rounding import lsq_factor, quantize_ste, scale_gradient
from squat.quant.weight_scale import learned_scale, lloyd_step, max_scale, power_of_two_multiples, search_scale
from squat.quant.weight_spec import GRANULARITIES, SCALE_RULES, WEIGHT_SPECS, IntWeight

__all__ = ["GRANULARITIES", "SCALE_RULES", "WEIGHT_SPECS", "IntWeight", "WeightQuantizer", "row_bound"]

HALVES = (torch.float16, torch.bfloat16)


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
    held: tuple[Tensor, Tensor] | None = None
    """What `forward` returns instead, while several calls must see the same weights."""

    def __init__(self, spec: IntWeight, weight_shape: Sequence[int]) -> None:
        super().__init__()
        check_type("spec", spec, IntWeight, "an IntWeight")
        self.spec = spec
        self.weight_shape = tuple(weight_shape)
        start = torch.full(self.weight_shape[:1] if spec.per_channel else (), 1.0 / spec.qmax)
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
            (0-dim or `[N]`). With shifts they are `w_int << shift` and the layer's scale, 0-dim.

        Raises:
            ValueError: NaN or infinity in the weights.
        """
        if self.held is not None:
            return self.held
        if torch.compiler.is_compiling():
            return self._traced(weight)
        wide = _widened(weight)
        _check_finite(wide)
        if self.training and self.spec.scale != "learned":
            with torch.no_grad():
                self.scale.copy_(_followed(_rows(wide, self.spec), self.scale, self.spec))
        scale = self.current_scale().to(wide.dtype)
        limit = self.spec.qmax + (0.0 if self.spec.scale == "learned" else 0.5)
        return self._shifted(quantize_ste(wide, self._broadcast(scale), self.spec.qmax, limit), scale)

    def current_scale(self) -> Tensor:
        """The scale in force: 0-dim or `[N]`, > 0; a new tensor, so that later training steps leave it alone."""
        if self.spec.scale != "learned":
            return self.scale.clone()
        shared_by = math.prod(self.weight_shape) // self.log_scale.numel()
        return scale_gradient(learned_scale(self.log_scale), lsq_factor(shared_by, self.spec.qmax))

    def shifts(self) -> Tensor | None:
        """How far each channel's integers are shifted, int64 `[N]`; None where the spec has no shifts."""
        if self.spec.granularity != "shift":
            return None
        return (self.scale / self.scale.min()).log2().round().long()

    def stored_scale(self) -> Tensor:
        """What the scale is kept as: the parameter `log_scale` where it is learned, else the buffer `scale`."""
        return self.log_scale if self.spec.scale == "learned" else self.scale

    @torch.no_grad()
    def rescale(self, weight: Tensor) -> None:
        """Sets the scale from these weights from scratch: `max|w| / qmax` for "max", the full search otherwise.

        Args:
            weight: `[N, ...]`, the float weights.

        Raises:
            ValueError: NaN or infinity in the weights.
        """
        wide = _widened(weight.detach())
        _check_finite(wide)
        find = max_scale if self.spec.scale == "max" else search_scale
        with torch.autocast(wide.device.type, enabled=False):
            rows = _rows(wide, self.spec)
            self._store(_in_shifts(find(rows, self.spec.qmax), rows, self.spec))

    def extra_repr(self) -> str:
        """The spec."""
        return repr(self.spec)

    def _traced(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The same as one operator: rounding, and the sums behind a scale, must not be compiled another way."""
        spec = self.spec
        w_int, scale = _quantize_weight.registered(
            weight, self.stored_scale(), spec.bits, spec.granularity, spec.scale, self.training
        )
        if self.training and spec.scale != "learned":
            with torch.no_grad():
                self.scale.copy_(scale)
        return self._shifted(w_int, scale)

    def _shifted(self, w_int: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """With shifts, integers in units of the layer's scale; exact, since the ratios are powers of two."""
        if self.spec.granularity != "shift":
            return w_int, scale
        base = scale.min()
        return w_int * self._broadcast(scale / base), base

    def _store(self, scale: Tensor) -> None:
        target = self.log_scale if self.spec.scale == "learned" else self.scale
        target.copy_((scale.log() if self.spec.scale == "learned" else scale).reshape(target.shape))

    def _broadcast(self, scale: Tensor) -> Tensor:
        return scale.reshape(-1, *[1] * (len(self.weight_shape) - 1)) if scale.dim() else scale

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        shifts = self.shifts()
        if shifts is not None and not torch.equal(self.scale, self.scale.min() * 2.0**shifts):
            rest[-1].append(
                f"{prefix}scale: expected powers of two times one scale, as granularity='shift' has them; the file is "
                "of a layer with scales of another kind, build the layer with granularity='channel'"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightQuantizer:
        # A half-precision scale could become 0; the conversion still moves the scale between devices.
        name = "log_scale" if self.spec.scale == "learned" else "scale"
        before = getattr(self, name).detach()
        super()._apply(fn, recurse)
        after = getattr(self, name)
        if after.dtype in HALVES:
            wide = before.to(after.device)
            if isinstance(after, nn.Parameter):
                after.data = wide
            else:
                self.scale = wide
        return self


def row_bound(w_int: Tensor, input_max: int, w_rec: Tensor | None = None) -> int | Tensor:
    """A certain upper bound of `|z|` for `z = w_int x + w_rec s`, integer inputs `|x| <= input_max` and spikes `s`.

        bound = max over outputs of (input_max * sum |w_int| + sum |w_rec|)

    Args:
        w_int: integer-valued weights, `[N, ...]`.
        input_max: largest absolute input.
        w_rec: recurrent integer-valued weights, `[N, ...]`, or None.

    Returns:
        The bound as a Python int; as an int64 tensor where code is traced.

    Example:
        >>> row_bound(torch.tensor([[1.0, -2.0], [0.0, 1.0]]), 255)
        765
    """
    if torch.compiler.is_compiling():
        return _row_bound.registered(w_int, input_max, w_rec)
    sums = _row_sums(w_int) * input_max
    return int((sums if w_rec is None else sums + _row_sums(w_rec)).max())


def _row_sums(w_int: Tensor) -> Tensor:
    magnitudes = w_int.detach().flatten(1).abs()
    sums = magnitudes.sum(1)
    # Sums of integers in float32 are exact as long as they stay far below 2^24.
    exact = sums.dtype == torch.float64 or bool(sums.max() < 2**23)
    return sums.double() if exact else magnitudes.sum(1, dtype=torch.float64)


@operator("(Tensor w_int, int input_max, Tensor? w_rec) -> Tensor", lambda w, *_: w.new_empty((), dtype=torch.int64))
def _row_bound(w_int: Tensor, input_max: int, w_rec: Tensor | None) -> Tensor:
    return torch.tensor(row_bound(w_int, input_max, w_rec), device=w_int.device)


def _save_weight(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    weight, _, ctx.bits, _, ctx.rule, _ = inputs
    ctx.save_for_backward(weight, output[1])


def _differentiate_weight(ctx: Any, g_w_int: Tensor, g_scale: Tensor) -> tuple[Tensor | None, ...]:
    weight, scale = ctx.saved_tensors
    learned, qmax = ctx.rule == "learned", 2 ** (ctx.bits - 1) - 1
    rows = scale.reshape(-1, *[1] * (weight.dim() - 1)) if scale.dim() else scale
    ratio, limit = weight.to(scale.dtype) / rows, qmax + (0.0 if learned else 0.5)
    g_weight = torch.ops.aten.hardtanh_backward(g_w_int, ratio, -limit, limit) / rows
    g_stored = None
    if learned:
        g_scale = g_scale - (g_weight * ratio).sum_to_size(rows.shape).reshape(scale.shape)
        g_stored = g_scale * scale * lsq_factor(weight.numel() // scale.numel(), qmax)
    return g_weight.to(weight.dtype), g_stored, None, None, None, None


def _weight_shapes(
    weight: Tensor, stored: Tensor, bits: int, granularity: str, rule: str, training: bool
) -> tuple[Tensor, Tensor]:
    kind = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return weight.new_empty(weight.shape, dtype=kind), stored.new_empty(stored.shape, dtype=kind)


@operator(
    "(Tensor weight, Tensor stored, int bits, str granularity, str rule, bool training) -> (Tensor, Tensor)",
    _weight_shapes,
    (_save_weight, _differentiate_weight),
)
def _quantize_weight(
    weight: Tensor, stored: Tensor, bits: int, granularity: str, rule: str, training: bool
) -> tuple[Tensor, Tensor]:
    spec = IntWeight(bits, granularity, rule)
    wide = _widened(weight.detach())
    _check_finite(wide)
    scale = learned_scale(stored.detach()) if rule == "learned" else stored.detach().clone()
    if training and rule != "learned":
        scale = _followed(_rows(wide, spec), scale, spec).to(stored.dtype)
    scale = scale.to(wide.dtype)
    ratio = wide / (scale.reshape(-1, *[1] * (weight.dim() - 1)) if scale.dim() else scale)
    return ratio.round_().clamp_(-spec.qmax, spec.qmax).contiguous(), scale


def _widened(weight: Tensor) -> Tensor:
    """Half precision as float32."""
    return weight.float() if weight.dtype in HALVES else weight


def _rows(weight: Tensor, spec: IntWeight) -> Tensor:
    """The weights that share a scale, `[scales, weights]`."""
    return weight.reshape(weight.shape[0] if spec.per_channel else 1, -1)


def _in_shifts(scale: Tensor, rows: Tensor, spec: IntWeight) -> Tensor:
    if spec.granularity != "shift":
        return scale
    # A row of zeros has no scale of its own: it takes the smallest, so that it moves nobody else's.
    filled = rows.abs().amax(1, keepdim=True) > 0
    smallest = torch.where(filled, scale, scale.max()).min() if bool(filled.any()) else scale.min()
    return power_of_two_multiples(torch.where(filled, scale, smallest))


def _followed(rows: Tensor, scale: Tensor, spec: IntWeight) -> Tensor:
    """The scale of the next training forward, in the shape of `scale`."""
    if spec.scale == "max":
        return _in_shifts(max_scale(rows, spec.qmax), rows, spec).reshape(scale.shape)
    with torch.autocast(rows.device.type, enabled=False):  # which would take the sums in half precision
        followed = lloyd_step(rows, scale.reshape(-1, 1).to(rows.dtype), spec.qmax)
        return _in_shifts(followed, rows, spec).reshape(scale.shape)


def _check_finite(weight: Tensor) -> None:
    # The sum is one cheap pass and catches every NaN and infinity; only then look closer (it may have overflowed).
    if not math.isfinite(weight.detach().sum().item()) and not bool(weight.isfinite().all()):
        raise ValueError(
            "weight: got NaN or infinity, expected finite values; the training has diverged (lower the learning rate "
            "or clip the gradients), or the weights that were loaded are damaged"
        )
