"""Recurrence by convolution, and its gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from squat.ops.product import integer_conv2d
from squat.quant.weight import row_bound
from squat.text import brief


class Recurrence(NamedTuple):
    """Currents `conv(w, s) * scale + bias` of spikes, padded so that images keep their size.

    Attributes:
        weight: `[C, C, kh, kw]`, kernels of odd sizes; integer-valued if there is a scale.
        bias: `[C]`, or None.
        scale: what an integer weight is worth, 0-dim or `[C]`; None for float weights.
        image: `(C, H, W)`.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None
    image: tuple[int, ...]

    def __repr__(self) -> str:
        return brief(self)

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns of zeros on each side."""
        return self.weight.shape[2] // 2, self.weight.shape[3] // 2

    def currents(self, s: Tensor) -> Tensor:
        """Currents `[B, N]` of spikes `[B, N]`; sums of integers are exact."""
        images = s.reshape(-1, *self.image)
        if self.scale is None:
            return F.conv2d(images, self.weight, self.bias, padding=self.padding).flatten(1)
        z = integer_conv2d(images, self.weight, (1, 1), self.padding, row_bound(self.weight, 1))
        current = z.to(s.dtype) * self._over_channels(self.scale)
        return (current if self.bias is None else current + self._over_channels(self.bias)).flatten(1)

    def of_spikes(self, g: Tensor) -> Tensor:
        """Gradient of the spikes `[B, N]`, from that of the currents."""
        weight = self.weight if self.scale is None else self.weight * self.scale.reshape(-1, 1, 1, 1)
        return F.conv_transpose2d(g.reshape(-1, *self.image), weight, padding=self.padding).flatten(1)

    def of_parameters(self, g: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients of weight, bias and scale, from those of the currents and from the spikes, `[R, N]` both."""
        images = g.reshape(-1, *self.image)
        _, g_weight, g_bias = torch.ops.aten.convolution_backward(
            images, s.reshape(-1, *self.image), self.weight.to(g.dtype), [self.image[0]], [1, 1], self.padding, [1, 1],
            False, [0, 0], 1, [False, True, True],
        )  # fmt: skip
        if self.scale is None:
            return g_weight, g_bias, None
        by_channel = (g_weight * self.weight).flatten(1).sum(1)
        g_scale = by_channel if self.scale.numel() > 1 else by_channel.sum().reshape(self.scale.shape)
        return g_weight * self.scale.reshape(-1, 1, 1, 1), g_bias, g_scale

    @staticmethod
    def _over_channels(values: Tensor) -> Tensor:
        return values.reshape(-1, 1, 1)
