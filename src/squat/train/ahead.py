"""`ahead`: what comes next is made by a thread while the present is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

DEPTH = 2
"""Batches that are ready or in the making beside the one in use: one would do, two even out a slow read."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def ahead(make: Callable[[Key], Value], keys: Iterable[Key]) -> Iterator[Value]:
    """`map(make, keys)`, in order, with up to `DEPTH` values made ahead in a thread; errors come with their value.

    Example:
        >>> list(ahead(lambda number: number * number, [1, 2, 3]))
        [1, 4, 9]
    """
    with ThreadPoolExecutor(1, "squat-ahead") as worker:
        waiting: deque[Future[Value]] = deque()
        for key in keys:
            waiting.append(worker.submit(make, key))
            if len(waiting) > DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
