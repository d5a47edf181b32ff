"""Compiled loops without the global lock on several threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def on_threads(threads: int, kernel: Callable[..., Any], tasks: int, *arguments: Any) -> list[Any]:
    """`kernel(begin, end, *arguments)` on equal ranges of tasks, in at most so many threads."""
    threads = min(threads, tasks)
    if threads <= 1:
        return [kernel(0, tasks, *arguments)]
    cuts = [tasks * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda i: kernel(cuts[i], cuts[i + 1], *arguments), range(threads)))
