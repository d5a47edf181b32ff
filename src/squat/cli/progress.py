"""A progress bar over the batches that a verb reads from a split; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squat.data import Split


class Watched:
    """A split that calls `moved` for every batch read from it, and is else as before."""

    def __init__(self, split: Split, moved: Any) -> None:
        self._split, self._moved = split, moved

    def __len__(self) -> int:
        return len(self._split)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._split, name)

    def batch(self, indices: Any) -> Any:
        """The samples `indices`."""
        self._moved()
        return self._split.batch(indices)


@contextmanager
def bar(title: str, split: Split, total: int) -> Iterator[Any]:
    """The split, with a bar of `total` batches on stderr while it is read, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield split
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield Watched(split, lambda: progress.advance(task))
