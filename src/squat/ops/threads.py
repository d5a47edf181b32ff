"""How many threads the compiled loops use: torch's number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from squat.ops.pool import on_threads

SERIAL_WORK = 2**14
"""Up to this many updates (steps x samples x neurons) starting threads costs more than they save."""


def use_torch_threads(work: int) -> None:
    """torch's number of threads for the numba kernels too, one for little work (streaming, say)."""
    from numba import config, set_num_threads

    threads = torch.get_num_threads()
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS) if work > SERIAL_WORK else 1)  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        # numba's first start of an OpenMP layer sets the process's thread number to all cores, torch's included.
        torch.set_num_threads(threads)


def in_threads(kernel: Callable[..., Any], tasks: int, work: int, *arguments: Any) -> list[Any]:
    """`kernel(begin, end, *arguments)` on equal ranges of tasks in torch's number of threads, one for little work.

    For kernels without the global lock. A parallel loop of numba would do the same and compile three times as long.
    """
    return on_threads(torch.get_num_threads() if work > SERIAL_WORK else 1, kernel, tasks, *arguments)
