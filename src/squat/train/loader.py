"""Batches for torch's DataLoader. Data in memory: a batch is one indexing call. Events on disk: a thread makes the next
batch while the present one trains. No worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from squat.data.stream import EventStream, Variation
from squat.train import streams
from squat.train.ahead import ahead
from squat.train.config import AugmentConfig

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


class EventBatches(Dataset[Any]):
    """Events on disk as a dataset that hands out whole batches, augmented by seed, epoch and sample, then binned."""

    def __init__(self, inputs: EventStream, labels: Tensor, augment: AugmentConfig, seed: int) -> None:
        self.inputs, self.labels, self.augment, self.seed = inputs, labels, augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        """The batch of these samples in this epoch."""
        chosen = torch.tensor(indices, dtype=torch.int64)
        variation = Variation(self.seed, epoch, **vars(self.augment))
        return self.inputs.gather(chosen, variation), self.labels.index_select(0, chosen)


class AheadLoader(DataLoader[Any]):
    """A DataLoader of `EventBatches` whose batches a thread makes ahead."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # Lightning tells the sampler its epoch, or the one it wraps around it for several devices, and does so after it
        # has asked for this iterator: nothing may be read before the first batch is wanted.
        batches, sampler, order = self.dataset, self.sampler, self.batch_sampler
        epoch: int = sampler.epoch  # type: ignore[attr-defined]
        yield from ahead(lambda indices: batches.batch(indices, epoch), order)  # type: ignore[attr-defined, arg-type]


def training_loader(split: Split, batch_size: int, seed: int, augment: AugmentConfig) -> DataLoader[Any]:
    """Loader of the training split in the order of `EpochSampler`; the last batch may be smaller.

    Events on disk come augmented; what lies in memory is augmented in the training step.
    """
    sampler, inputs = EpochSampler(len(split), seed), split.inputs
    if isinstance(inputs, EventStream):
        return AheadLoader(EventBatches(inputs, split.labels, augment, seed), batch_size=batch_size, sampler=sampler)
    return DataLoader(
        SplitBatches(split), batch_size=batch_size, sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator()
    )


def _as_it_is(batch: Any) -> Any:
    return batch
