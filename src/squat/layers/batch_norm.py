"""`BatchNorm`: batch normalisation over time, folded into the weights and the bias of its layer before quantization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squat.operators import check_finite, operator
from squat.quant.weight_scale import learned_scale

EPS = 1e-5
MOMENTUM = 0.1
STATISTICS = ("mean", "variance")


class BatchNorm(nn.Module):
    """Batch normalisation of the currents `y = w x` of a layer, over time, batch and image; part of `Linear`, `Conv2d`.

        g = gain / sqrt(variance + eps)         w_folded = g * w         b_folded = b - g * mean

    The layer multiplies by the folded weights, quantized where it has a weight spec, in training as in use: `mean` and
    `variance` are running statistics of `y` over `T*B` (`T*B*H*W`) values a channel. So training runs on the very
    integers that are deployed, and needs no second product; `y` is read off the sums that the layer has computed. What
    makes it batch normalisation is the gradient, that of batch renormalisation with `r` and `d` not clipped: forward
    `(y - mean) / std`, backward through the statistics of the batch,

        dL/dy = g * (gi - mean(gi) - y_hat * mean(gi * y_hat)),      y_hat = (y - batch mean) / batch std

    The first batch sets the statistics, the next ones are averaged, from the tenth on with momentum 0.1.

    Args:
        channels: output channels of the layer, >= 1.

    Attributes:
        log_gain: parameter `[channels]`, the logarithm of the gain, which is positive by construction.
        mean, variance: buffers `[channels]`, at least float32.
        batches: buffer, how many batches the statistics have seen.

    Source: Ioffe 2017, "Batch renormalization", arXiv 1702.03275; folding before quantization: Jacob et al. 2018,
    arXiv 1712.05877, section 3.2; running statistics in the folded weights: Krishnamoorthi 2018, arXiv 1806.08342,
    section 3.2.2.

    Example:
        >>> from squat import Conv2d, IntWeight
        >>> layer = Conv2d(2, 8, 3, weight=IntWeight(4), batch_norm=True)
        >>> current = layer((torch.rand(5, 4, 2, 9, 9) < 0.3).float())  # in training mode: follows the batch
        >>> int(layer.norm.batches)
        1
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def factor(self) -> Tensor:
        """`g [channels]`, > 0, at least float32."""
        return learned_scale(self.log_gain.to(self.variance.dtype), "log_gain") * (self.variance + EPS).rsqrt()

    def fold(self, weight: Tensor) -> Tensor:
        """The folded weights, at least float32. In training the gain gets its gradient from `follow` instead."""
        factor = self.factor()
        factor = factor.detach() if self.training else factor
        return weight.to(torch.promote_types(weight.dtype, factor.dtype)) * _over(factor, weight.dim(), 0)

    def shift(self, bias: Tensor | None) -> Tensor:
        """The folded bias `[channels]`."""
        folded = -self.factor() * self.mean
        return folded if bias is None else bias + folded

    def follow(self, z: Tensor, unit: Tensor | float) -> Tensor:
        """In training: the same sums with the gradient of batch normalisation; the statistics follow them.

        Args:
            z: sums `[T, B, channels, ...]` with the folded weights.
            unit: what one unit of a sum is worth, 0-dim or `[channels]`: `z * unit = g * y`.

        Raises:
            ValueError: NaN or infinity, or a single value a channel, which has no variance.
        """
        if z.numel() // z.shape[2] < 2:
            raise ValueError(
                f"x: one value a channel in currents of shape {tuple(z.shape)}, expected at least 2 to normalise over "
                "in training; use more samples, or .eval()"
            )
        with torch.no_grad():
            mean, variance = _moments(z.detach().to(torch.promote_types(z.dtype, torch.float32)), self.mean.dtype)
            check_finite(mean)
            worth = (unit / self.factor()).to(mean.dtype)
            rate = (1.0 / (self.batches + 1)).to(mean.dtype).clamp(min=MOMENTUM)
            # New tensors: the backward pass needs the old ones.
            self.mean = self.mean.lerp(mean * worth, rate)
            self.variance = self.variance.lerp(variance * worth.square(), rate)
            self.batches = self.batches + 1
            inverse = (variance + EPS / worth.square()).rsqrt()
        corrected = _batch_gradient.registered if torch.compiler.is_compiling() else _BatchGradient.apply
        return corrected(z, self.log_gain, mean, inverse)

    def extra_repr(self) -> str:
        """The number of channels."""
        return str(len(self.mean))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BatchNorm:
        # Statistics in half precision would stop following.
        before = {name: getattr(self, name) for name in STATISTICS}
        super()._apply(fn, recurse)
        for name, wide in before.items():
            if getattr(self, name).dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, wide.to(getattr(self, name).device))
        return self


def _moments(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and variance `[channels]` of `z [T, B, channels, ...]`: image by image, then in float64."""
    rows, count = z.reshape(-1, z.shape[2], z.shape[3:].numel()), z.numel() // z.shape[2]
    mean = rows.sum(2).double().sum(0) / count
    square = torch.linalg.vector_norm(rows, dim=2).double().square().sum(0) / count
    return mean.to(dtype), (square - mean.square()).clamp(min=0).to(dtype)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    z, log_gain, mean, inverse = inputs
    ctx.save_for_backward(z, mean, inverse)
    ctx.gain_dtype = log_gain.dtype


def _differentiate(ctx: Any, gz: Tensor) -> tuple[Tensor, Tensor, None, None]:
    """Gradient through the batch's statistics, in units of the sums `z`.

    `z` grows with the gain, so the gain's share is `dL/d log_gain = sum gz * z`, besides what the bias gives.
    """
    z, mean, inverse = ctx.saved_tensors
    axes = [axis for axis in range(z.dim()) if axis != 2]
    count = z.numel() // z.shape[2]
    total = gz.sum(axes, dtype=mean.dtype)
    grown = (gz * z).sum(axes, dtype=mean.dtype)
    along = inverse.square() * (grown - mean * total) / count  # sum of gz * y_hat, per unit of z
    level = total / count - along * mean
    g_z = gz - _over(level, z.dim(), 2)
    g_z = g_z.addcmul_(z, _over(along, z.dim(), 2).to(g_z.dtype), value=-1)
    return g_z.to(gz.dtype), grown.to(ctx.gain_dtype), None, None


class _BatchGradient(torch.autograd.Function):
    """Forward the identity; backward `_differentiate`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        _save(ctx, inputs, inputs[0])
        return inputs[0].view_as(inputs[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return _differentiate(ctx, gz)


@operator(
    "(Tensor z, Tensor log_gain, Tensor mean, Tensor inverse) -> Tensor",
    lambda z, *_: torch.empty_like(z),
    (_save, _differentiate),
)
def _batch_gradient(z: Tensor, log_gain: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    return z.clone()  # results of operators share no memory with their inputs


def _over(values: Tensor, axes: int, channel_axis: int) -> Tensor:
    """`[channels]` in a shape that broadcasts along the channel axis of a tensor with so many axes."""
    return values.reshape(-1, *[1] * (axes - channel_axis - 1))
