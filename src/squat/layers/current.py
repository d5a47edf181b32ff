"""`Current`: what a layer with integer weights hands its neuron, an integer sum and what it is worth."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from squat.text import brief


class Current(NamedTuple):
    """Input current kept as integers: `i = z * scale + bias`.

    Args:
        z: `[T, B, N, ...]` integer-valued, float32 (float64 in a float64 network). Time stride 0 if the input was
            constant over time.
        scale: 0-dim, or `[N]` per output channel; > 0.
        bias: `[N]`, in the units of the membrane, or None.
        bound: a certain upper bound of `|z|`, an int; an int64 tensor where code is traced.
        checked: `z` itself, where it comes straight from a product that has checked it; another `z` in its place is
            checked again.

    Example:
        >>> import torch
        >>> Current(torch.tensor([[[3.0, -4.0]]]), torch.tensor(0.5), torch.tensor([1.0, 0.0]), 10).dense()
        tensor([[[ 2.5000, -2.0000]]])
    """

    z: Tensor
    scale: Tensor
    bias: Tensor | None
    bound: int | Tensor
    checked: Tensor | None = None

    def __repr__(self) -> str:
        return brief(self)

    @property
    def exact(self) -> bool:
        """Whether `z` is known to be integers within the bound."""
        return self.checked is self.z

    def dense(self) -> Tensor:
        """The current as a float tensor `[T, B, N, ...]`; keeps a time stride of 0."""
        steps = self.z.shape[0]
        if steps > 1 and self.z.stride(0) == 0:
            return self._replace(z=self.z[:1]).dense().expand(steps, *[-1] * (self.z.dim() - 1))
        current = self.z * self._over_channels(self.scale)
        return current if self.bias is None else current + self._over_channels(self.bias)

    def _over_channels(self, values: Tensor) -> Tensor:
        # Channels are axis 2, for [T, B, N] as for [T, B, N, H, W].
        return values.reshape(-1, *[1] * (self.z.dim() - 3)) if values.dim() else values
