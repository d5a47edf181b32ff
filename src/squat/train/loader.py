"""Batches for torch's DataLoader: the data lie in memory, so a batch is one indexing call and no worker process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from squat.train import streams

if TYPE_CHECKING:
    from squat.data import Split


class EpochSampler(Sampler[int]):
    """Every index once, in an order that is a function of seed and epoch alone.

    Lightning calls `set_epoch` at the start of every epoch, and shards the order where there are several devices.

    Example:
        >>> sampler = EpochSampler(4, seed=0)
        >>> sampler.set_epoch(3)
        >>> list(sampler) == list(sampler), sorted(sampler)
        (True, [0, 1, 2, 3])
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration yields."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.size, generator=streams.generator(streams.ORDER, self.seed, self.epoch))
        return iter(order.tolist())

    def __len__(self) -> int:
        return self.size


class SplitBatches(Dataset[Any]):
    """A split as a dataset that hands out whole batches `(x [T, B, ...], y [B])`."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """The batch of these samples; the DataLoader prefers this method to item by item."""
        return self.split.batch(torch.tensor(indices, dtype=torch.int64))


def training_loader(split: Split, batch_size: int, seed: int) -> DataLoader[Any]:
    """Loader of the training split in the order of `EpochSampler`; the last batch may be smaller."""
    sampler = EpochSampler(len(split), seed)
    return DataLoader(
        SplitBatches(split), batch_size=batch_size, sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator()
    )


def _as_it_is(batch: Any) -> Any:
    return batch
