"""Random streams: each use of randomness has its own generator, a pure function of the seed and where it is used.

Nothing here depends on a global random state or moves it, so a resumed run draws what the uninterrupted one drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

ORDER, CHANNEL_SHIFT, TIME_SHIFT, TIME_JITTER, EVENT_DROP, FLIP, TIME_WARP, DROPOUT = range(8)
"""Names of the streams; the numbers are part of what makes runs repeatable."""


def generator(stream: int, *key: int) -> torch.Generator:
    """A CPU generator for a stream and a key such as `(seed, epoch, step, rank)`.

    Example:
        >>> draws = [torch.randperm(5, generator=generator(ORDER, 7, epoch)).tolist() for epoch in (0, 0, 1)]
        >>> draws[0] == draws[1], draws[0] == draws[2]
        (True, False)
    """
    state = np.random.SeedSequence((stream, *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@contextmanager
def drawing_from(source: torch.Generator) -> Iterator[None]:
    """Torch's global generator of the CPU in the state of `source`, for modules that draw from it; then put back.

    Example:
        >>> with drawing_from(generator(DROPOUT, 7, 0)):
        ...     first = torch.rand(3)
        >>> with drawing_from(generator(DROPOUT, 7, 0)):
        ...     print(torch.equal(torch.rand(3), first))
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(source.get_state())
        yield
