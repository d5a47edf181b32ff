"""Random streams: each use of randomness has its own generator, a pure function of the seed and where it is used.

Nothing here reads or moves a global random state, so a resumed run draws what the uninterrupted one drew.
"""

from __future__ import annotations

import numpy as np
import torch

ORDER, CHANNEL_SHIFT, TIME_SHIFT, TIME_JITTER, EVENT_DROP, FLIP, TIME_WARP = range(7)
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
