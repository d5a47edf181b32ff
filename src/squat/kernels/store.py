"""Compiled functions on disk: one file for each, written in one step, so that any number of processes may share them.

    <folder>/<module>.<function>/<slot>-<sources>

`slot` is what it is compiled for (signature, processor, settings, versions), `sources` what it is made from. A slot
keeps the `KEPT` entries used last, the folder `MOST_BYTES`.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from squat.atomic import atomic_write

KEPT = 3
"""Entries of a slot: those of other revisions are kept for a while, as branches are changed to and fro."""
MOST_BYTES = 2**30
MOST_SECONDS = 3600
"""A file that is still being written after an hour belongs to a process that was ended."""
DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """Where compiled functions lie: below `NUMBA_CACHE_DIR`, else in squat's cache folder (`~/.cache/squat`)."""
    from numba import config

    if named := config.CACHE_DIR:  # type: ignore[attr-defined]
        return Path(named) / "squat"
    import pooch

    return Path(pooch.os_cache("squat")) / "kernels"


def load(name: str, slot: str, sources: str) -> bytes | None:
    """An entry, or None where there is none, or none that is whole."""
    path = folder() / name / f"{slot}-{sources}"
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    with suppress(OSError):  # a folder that cannot be written still serves
        os.utime(path)
    return content[DIGEST:]


def save(name: str, slot: str, sources: str, content: bytes) -> None:
    """Keep an entry, and remove what it replaces; where that cannot be, it is said once."""
    root = folder()
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        atomic_write(root / name / f"{slot}-{sources}", hashlib.sha256(content).digest() + content)
    except OSError as error:
        _say_unwritable(root, str(error))
        return
    for old, _ in _latest((root / name).glob(f"{slot}-*"))[KEPT:]:
        _remove(old)
    _trim(root)


def clear(name: str) -> None:
    """Remove all entries of a function."""
    for path in (folder() / name).glob("*-*"):
        _remove(path)


@cache
def _say_unwritable(root: Path, reason: str) -> None:
    remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
    warnings.warn(
        f"compiled functions cannot be kept in {root} ({reason}), every process compiles them again: {remedy}",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def _trim(root: Path) -> None:
    """Hold the folder below `MOST_BYTES`, once in a process: what was used longest ago goes."""
    room = MOST_BYTES
    for path, about in _latest(root.glob("*/*-*")):
        room -= about.st_size
        if room < 0:
            _remove(path)
    for path, about in _latest(root.glob("*/.*.tmp")):
        if about.st_mtime < time.time() - MOST_SECONDS:
            _remove(path)


def _latest(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    """The files that are there, those used last first; other processes remove some meanwhile."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return sorted(found, key=lambda entry: entry[1].st_mtime_ns, reverse=True)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
