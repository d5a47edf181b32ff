"""Atomic writing of files and folders, needed with torch and without: the one place that decides their modes.

What is new has the mode that the umask gives (666 or 777 without its bits), as with `open` and `mkdir`; a file that
is replaced keeps its mode, and its group where the user may give it. `tempfile` does neither: its files are private.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file beside `path` to write; flushed to disk and put in place in one step if the block ends without error.

    A symbolic link stays one: the file it points to is replaced.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "a.txt") as part:
        ...         _ = part.write_text("whole")
        ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
        [('a.txt', 'whole')]
    """
    path = path.resolve()
    temporary = _beside(path)
    # Made by us, not by the umask read and set back: that is one for all threads.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        mode = _take_over(path, temporary)
        yield temporary
        _flush(temporary, mode)  # once more, as a writer may have put a file of its own there
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to disk, then put it in place in one step."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill, put in place in one step if the block ends without error.

    Where `path` is a folder already, what was made moves into it, entry by entry, once all is there.
    """
    path = path.resolve()
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for made in temporary.rglob("*"):
            (_flush_folder if made.is_dir() else _flush)(made)
        if path.exists():
            for child in temporary.iterdir():
                os.replace(child, path / child.name)
            temporary.rmdir()
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_folder(path)
    _flush_folder(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def _take_over(path: Path, temporary: Path) -> int:
    """Give the new file the group of the one that it will replace, if there is one; returns the mode it should have."""
    if not path.exists():
        return stat.S_IMODE(temporary.stat().st_mode)
    old = path.stat()
    mode = stat.S_IMODE(old.st_mode)
    with contextlib.suppress(PermissionError):  # a group that the user is not in
        os.chown(temporary, -1, old.st_gid)
    temporary.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)  # while it is written, no wider than it will be
    return mode


def _flush(path: Path, mode: int | None = None) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(path: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut; some network file systems cannot."""
    with contextlib.suppress(OSError):
        _flush(path)
