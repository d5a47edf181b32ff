"""Augmentation of spike data: mirroring, shifts of channels and of time, stretched time, jittered and dropped events.

This is for frames in memory; events on disk are varied in the same ways before they are binned (`squat.data.stream`).

Every kind has its own random stream of `(seed, epoch, step, rank)`, so switching one on leaves the others' draws alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from squat.train import streams
from squat.train.config import AugmentConfig


@dataclass(frozen=True)
class Place:
    """Where a batch stands in a run; with the seed it fixes the batch's augmentation."""

    seed: int
    epoch: int
    step: int
    rank: int = 0

    def generator(self, stream: int) -> torch.Generator:
        """The generator of one kind of augmentation here."""
        return streams.generator(stream, self.seed, self.epoch, self.step, self.rank)


def augment(x: Tensor, config: AugmentConfig, place: Place) -> Tensor:
    """The batch with all active kinds of augmentation: in space, then in time, then event by event.

    Args:
        x: `[T, B, C]` or `[T, B, C, H, W]`, events as positive numbers, 0 elsewhere; left as it is.
        config: which kinds, and how strong.
        place: seed, epoch, step and rank of the batch.

    Returns:
        The augmented batch; events that leave the frame are lost, of events that meet the largest stays.

    Raises:
        ValueError: for an input that is constant over time: shifting it in time means nothing, and it holds no events.

    Example:
        >>> x = torch.zeros(4, 1, 6)
        >>> x[1, 0, 2] = 1.0
        >>> augment(x, AugmentConfig(channel_shift=1), Place(seed=3, epoch=0, step=0)).sum()
        tensor(1.)
    """
    if not config.active:
        return x
    if x.shape[0] > 1 and x.stride(0) == 0:
        raise ValueError("augment: expected spike data, got a batch that is constant over time; leave augmentation off")
    if config.flip:
        chosen = torch.randint(2, (x.shape[1],), generator=place.generator(streams.FLIP))
        x = mirror(x, chosen.bool())
    if config.channel_shift:
        generator = place.generator(streams.CHANNEL_SHIFT)
        for axis in (-1,) if x.dim() == 3 else (-1, -2):
            x = shift(x, axis, _offsets(config.channel_shift, x.shape[1], generator))
    if config.time_warp:
        x = warp(x, config.time_warp, place.generator(streams.TIME_WARP))
    if config.time_shift:
        x = shift(x, 0, _offsets(config.time_shift, x.shape[1], place.generator(streams.TIME_SHIFT)))
    if config.time_jitter:
        x = jitter(x, config.time_jitter, place.generator(streams.TIME_JITTER))
    if config.event_drop:
        x = drop_events(x, config.event_drop, place.generator(streams.EVENT_DROP))
    return x


def mirror(x: Tensor, chosen: Tensor) -> Tensor:
    """`x [T, B, ...]` with the last axis of the samples `chosen` (bool `[B]`) turned round.

    Example:
        >>> mirror(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([True, False]))
        tensor([[[2., 1.],
                 [3., 4.]]])
    """
    mirrored = x.clone()
    mirrored[:, chosen] = x[:, chosen].flip(-1)
    return mirrored


def warp(x: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Each sample of `x [T, B, ...]` with its times multiplied by a factor in `[1 - reach, 1 + reach]`.

    What is in step t counts as at t + 1/2; of events that meet the largest stays, what falls past the end is lost.

    Example:
        >>> warp(torch.ones(4, 1, 1), 0.5, torch.Generator().manual_seed(0)).flatten()
        tensor([1., 0., 1., 1.])
    """
    steps, samples = x.shape[:2]
    factors = 1 + reach * (2 * torch.rand(samples, generator=generator, dtype=torch.float64) - 1)
    target = ((torch.arange(steps)[:, None] + 0.5) * factors).long().clamp(max=steps).to(x.device)
    target = target.view(steps, samples, *[1] * (x.dim() - 2)).expand_as(x)
    return x.new_zeros(steps + 1, *x.shape[1:]).scatter_reduce_(0, target, x, "amax")[:steps]


def shift(x: Tensor, axis: int, offsets: Tensor) -> Tensor:
    """Each sample of `x [T, B, ...]` moved along `axis` by its offset; what enters is 0.

    Example:
        >>> shift(torch.tensor([[[1.0, 2.0, 3.0]]]), -1, torch.tensor([1]))
        tensor([[[0., 1., 2.]]])
    """
    shifted = torch.zeros_like(x)
    size = x.shape[axis]
    for sample, offset in enumerate(offsets.tolist()):
        length = max(size - abs(offset), 0)
        source, target = x[:, sample : sample + 1], shifted[:, sample : sample + 1]
        target.narrow(axis, max(offset, 0) if length else 0, length).copy_(
            source.narrow(axis, max(-offset, 0) if length else 0, length)
        )
    return shifted


def jitter(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each event of `x [T, ...]`, moved in time by up to `reach` steps; of two that meet the larger stays.

    Example:
        >>> jitter(torch.eye(3)[:, None], 1, torch.Generator()).shape
        torch.Size([3, 1, 3])
    """
    flat = x.reshape(-1)
    events = flat.bool().nonzero().squeeze(1)
    row = x[0].numel()
    moved = events + row * _offsets(reach, len(events), generator).to(events.device)
    kept = (moved >= 0) & (moved < len(flat))
    jittered = torch.zeros_like(flat)
    values = flat[events[kept]]
    return jittered.scatter_reduce_(0, moved[kept], values, "amax").view(x.shape)


def drop_events(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """`x` with each event removed with the given probability (in multiples of 2**-16).

    Example:
        >>> float(drop_events(torch.ones(10, 10, 10), 0.5, torch.Generator().manual_seed(0)).mean().round(decimals=1))
        0.5
    """
    # Four 16-bit draws from one 64-bit number: a float draw per cell would take longer than a small layer's step.
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    draws = words.view(torch.int16)[: x.numel()].view(x.shape)
    return x * (draws >= round(probability * 2**16) - 2**15).to(x.device)


def _offsets(reach: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-reach, reach + 1, (count,), generator=generator)
