"""`threads`: the number of CPU threads of torch, which the compiled loops follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from squat.checks import check_int

MOST_THREADS = 1024
"""More end the process in the libraries below, without a word."""


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run with `count` CPU threads, then with as many as before; None leaves the number alone.

    Example:
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(check_int("threads", count, 1, MOST_THREADS))
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
