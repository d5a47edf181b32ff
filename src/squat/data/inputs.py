"""How the inputs of many samples lie in memory, and how a batch of them is unpacked to float32 `[T, B, ...]`.

Four layouts in memory, one interface: `Constant` (a still image, shown at every step), `Frames` (bytes per step),
`PackedSpikes` (one bit per step) and `SignedSpikes` (two). `gather` sits on the training hot path, so each is a few
torch calls. The fifth way, events that stay on disk, is `squat.data.stream.EventStream`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from squat.checks import check_memory
from squat.text import brief

STEPS_PER_BYTE = 8


class Inputs(ABC):
    """Inputs of `N` samples: how many steps `T` and of what shape, and any of them as a batch."""

    steps: int

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples `N`."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one step of one sample: `(C,)` or `(C, H, W)`."""

    @abstractmethod
    def gather(self, indices: Tensor) -> Tensor:
        """Inputs of the samples `indices` (int64 `[B]`) as float32 `[T, B, *shape]`."""

    @abstractmethod
    def density(self) -> float:
        """Share of non-zero cells over all samples, steps and channels; 0 without samples."""

    @abstractmethod
    def take(self, indices: Tensor) -> Self:
        """Only the samples `indices` (int64 `[M]`), in the same layout."""

    @property
    def _steps_in_memory(self) -> int:
        return self.steps

    def check_batch(self, size: int) -> None:
        """Refuse a batch of `size` samples that does not fit into memory: ValueError."""
        what = f"a batch of {size} samples of {self.steps} steps and {' x '.join(map(str, self.shape))} inputs"
        check_memory(
            what,
            4 * size * self._steps_in_memory * math.prod(self.shape),
            "use fewer steps, inputs or samples in a batch",
        )

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of memory that the samples take."""


@dataclass(frozen=True, eq=False)
class BytesInMemory(Inputs):
    """Inputs of `N` samples as bytes, the sample axis first.

    Args:
        values: uint8 (int8, of signed inputs), first axis the samples; what the other axes mean is the subclass's.
        steps: number of time steps `T` that `gather` returns.
    """

    values: Tensor
    steps: int

    __repr__ = brief

    def __len__(self) -> int:
        return self.values.shape[0]

    def take(self, indices: Tensor) -> Self:
        """The same layout with only the samples `indices`, copied."""
        return replace(self, values=self.values.index_select(0, indices))

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def _share(self, nonzero: int) -> float:
        cells = self.values.numel()
        return nonzero / cells if cells else 0.0


class Constant(BytesInMemory):
    """A still input of every sample: `values` uint8 `[N, *shape]`, the same at every step.

    Example:
        >>> x = Constant(torch.tensor([[0, 255], [7, 9]], dtype=torch.uint8), steps=25).gather(torch.tensor([1]))
        >>> x.shape, x.stride(0), x[24].tolist()
        (torch.Size([25, 1, 2]), 0, [[7.0, 9.0]])
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[1:])

    @property
    def _steps_in_memory(self) -> int:
        return 1

    def gather(self, indices: Tensor) -> Tensor:
        still = self.values.index_select(0, indices).to(torch.float32)
        return still.unsqueeze(0).expand(self.steps, *still.shape)

    def density(self) -> float:
        return self._share(int(torch.count_nonzero(self.values)))


class Frames(BytesInMemory):
    """One byte per cell: `values` uint8, or int8 for signed inputs, `[N, T, *shape]`.

    Example:
        >>> Frames(torch.arange(6, dtype=torch.uint8).view(1, 3, 2), steps=3).gather(torch.tensor([0])).tolist()
        [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[2:])

    def gather(self, indices: Tensor) -> Tensor:
        chosen = self.values.index_select(0, indices).transpose(0, 1)
        return chosen.to(torch.float32, memory_format=torch.contiguous_format)

    def density(self) -> float:
        return self._share(int(torch.count_nonzero(self.values)))


class PackedSpikes(BytesInMemory):
    """Binary spikes, eight steps to the byte: `values` uint8 `[N, ceil(T/8), *shape]`.

    Bit `t % 8` of byte `t // 8` is step `t`; bits past the last step are 0. Steps are packed rather than channels
    because then any number of channels fits and the unpacked steps need no cropping within a row.

    Example:
        >>> spikes = pack_spikes(torch.tensor([[[1, 0], [0, 0], [1, 1]]]))
        >>> spikes.values.tolist(), spikes.gather(torch.tensor([0])).squeeze(1).tolist()
        ([[[5, 4]]], [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[2:])

    def gather(self, indices: Tensor) -> Tensor:
        packed = self.values.index_select(0, indices).transpose(0, 1).contiguous().unsqueeze(1)
        masks = _bit_masks(packed.ndim)
        # `out=` writes 0 and 1 straight as float32: half the time of a boolean that is converted afterwards.
        unpacked = torch.empty(packed.shape[0], STEPS_PER_BYTE, *packed.shape[2:])
        torch.ne(packed & masks, 0, out=unpacked)
        return unpacked.flatten(0, 1)[: self.steps]

    def counts(self) -> Tensor:
        """Spikes of each sample, int64 `[N]`."""
        flat = self.values.flatten(1)
        return torch.stack([torch.count_nonzero(flat & mask, dim=1) for mask in _bit_masks(1)]).sum(0)

    def density(self) -> float:
        cells = self.values.numel() // max(self.values.shape[1], 1) * self.steps
        return int(self.counts().sum()) / cells if cells else 0.0

    def first(self, steps: int) -> PackedSpikes:
        """The same samples cut after `steps` steps (1 to `self.steps`)."""
        values = self.values[:, : -(-steps // STEPS_PER_BYTE)].clone()
        if used := steps % STEPS_PER_BYTE:
            values[:, -1] &= (1 << used) - 1
        return PackedSpikes(values, steps)


@dataclass(frozen=True, eq=False)
class SignedSpikes(Inputs):
    """Spikes of -1, 0 and 1, two bits per cell: those that are 1, less those that are -1.

    Args:
        up, down: packed spikes of the same samples, steps and shape.

    Example:
        >>> spikes = pack_signs(torch.tensor([[[1, 0], [-1, 0]]]))
        >>> spikes.gather(torch.tensor([0])).squeeze(1).tolist()
        [[1.0, 0.0], [-1.0, 0.0]]
    """

    up: PackedSpikes
    down: PackedSpikes

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.up)

    @property
    def steps(self) -> int:  # type: ignore[override]
        return self.up.steps

    @property
    def shape(self) -> tuple[int, ...]:
        return self.up.shape

    def gather(self, indices: Tensor) -> Tensor:
        return self.up.gather(indices).sub_(self.down.gather(indices))

    def density(self) -> float:
        return self.up.density() + self.down.density()

    def take(self, indices: Tensor) -> Self:
        """The same layout with only the samples `indices`, copied."""
        return replace(self, up=self.up.take(indices), down=self.down.take(indices))

    @property
    def nbytes(self) -> int:
        return self.up.nbytes + self.down.nbytes


def _bit_masks(axes: int) -> Tensor:
    """1, 2, 4 ... 128 as uint8 along axis 1 of `axes` axes (along axis 0 if there is only one)."""
    masks = torch.tensor([1 << bit for bit in range(STEPS_PER_BYTE)], dtype=torch.uint8)
    return masks.view(1, STEPS_PER_BYTE, *[1] * (axes - 2)) if axes > 1 else masks


def pack_spikes(frames: Tensor) -> PackedSpikes:
    """Pack binary frames, non-zero meaning a spike, to one bit per cell.

    Args:
        frames: `[N, T, *shape]`, any dtype.

    Returns:
        `PackedSpikes` with the same samples and steps.

    Example:
        >>> pack_spikes(torch.ones(2, 100, 140, dtype=torch.uint8)).values.shape
        torch.Size([2, 13, 140])
    """
    samples, steps = frames.shape[:2]
    packed = torch.zeros(samples, -(-steps // STEPS_PER_BYTE), *frames.shape[2:], dtype=torch.uint8)
    for bit in range(STEPS_PER_BYTE):
        plane = frames[:, bit::STEPS_PER_BYTE] != 0
        packed[:, : plane.shape[1]] |= plane.to(torch.uint8) << bit
    return PackedSpikes(packed, steps)


def pack_signs(frames: Tensor) -> SignedSpikes:
    """Pack frames `[N, T, *shape]` of -1, 0 and 1 to two bits per cell, as `pack_spikes` does to one."""
    return SignedSpikes(pack_spikes(frames > 0), pack_spikes(frames < 0))
