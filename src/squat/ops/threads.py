"""How many threads the compiled loops use: torch's number."""

from __future__ import annotations

import torch

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
