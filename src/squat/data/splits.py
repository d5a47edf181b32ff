"""Seeded, stratified parts that never change: they depend on nothing but the labels and the seed."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

TRAIN, VALIDATION, TEST = 0, 1, 2
AS_ASKED = "all samples are the test part, as asked for"
"""The rule of the option `whole`."""


def deal(labels: Tensor, parts: int, seed: int) -> Tensor:
    """Deal samples to `parts` parts of equal size (to one sample) with equal shares of each class (to one sample).

    Within a class, samples are ordered by a hash of `(seed, position)`; class after class they are then dealt in
    turn, like cards. A hash, because the streams of random number generators may change between versions.

    Args:
        labels: int64 `[N]`.
        parts: number of parts, at least 1.
        seed: another seed gives another deal.

    Returns:
        int64 `[N]`: part of each sample, `0 .. parts-1`.

    Example:
        >>> deal(torch.tensor([0] * 4 + [1] * 4), parts=2, seed=0).view(2, 4).sum(1).tolist()
        [2, 2]
    """
    keys = [blake2b(f"{seed}/{position}".encode(), digest_size=8).digest() for position in range(len(labels))]
    ranked = sorted(range(len(labels)), key=list(zip(labels.tolist(), keys, strict=True)).__getitem__)
    part = torch.empty(len(labels), dtype=torch.int64)
    part[torch.tensor(ranked, dtype=torch.int64)] = torch.arange(len(labels)) % parts
    return part
