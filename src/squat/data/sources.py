"""Where a data file is: in the folder `SQUAT_DATA`, in squat's cache folder, or at an address it is downloaded from.

Whatever was found is compared with its checksum before it is read: results on other data would not be comparable,
and a truncated download is named as such.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "SQUAT_DATA"


@dataclass(frozen=True)
class Source:
    """A file that is always the same.

    Args:
        path: where it lies below `SQUAT_DATA` or the cache folder, with `/`.
        sha256: its checksum, in hex.
        size: its length in bytes.
        url: public address, or None if it has none.
    """

    path: str
    sha256: str
    size: int
    url: str | None = None


def cache_folder() -> Path:
    """The platform's cache folder for squat, e.g. `~/.cache/squat` (not created here)."""
    import pooch

    return Path(pooch.os_cache("squat"))


def folders() -> list[Path]:
    """Folders in which data files are looked for: `SQUAT_DATA` if it is set, then the cache folder.

    Raises:
        ValueError: `SQUAT_DATA` is set to something that is not a folder.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return [cache_folder()]
    folder = Path(named).expanduser()
    if not folder.is_dir():
        remedy = "set it to the folder with the data files, or unset it"
        raise ValueError(f"{FOLDER_VARIABLE}={named!r}: not a folder; {remedy}")
    return [folder, cache_folder()]


def find(source: Source) -> Path | None:
    """The file where it lies now, unchecked, or None."""
    return next((path for folder in folders() if (path := folder / source.path).is_file()), None)


def locate(source: Source) -> Path:
    """The file, checked against its checksum; downloaded to the cache folder if need be.

    Args:
        source: which file.

    Returns:
        Its path.

    Raises:
        ValueError: it is damaged, or it is nowhere and cannot be downloaded. The message says which file belongs where.
    """
    found = find(source)
    if found is None:
        return _download(source)
    _check(found, source)
    return found


def _check(path: Path, source: Source) -> None:
    remedy = "delete it and it is downloaded again" if source.url else "copy it again from where it came from"
    size = path.stat().st_size
    if size != source.size:
        kind = "truncated" if size < source.size else "not the expected file"
        raise ValueError(f"{path}: {kind}: {size} bytes, expected {source.size}; {remedy}")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != source.sha256:
        raise ValueError(f"{path}: damaged: its SHA-256 is {got}, expected {source.sha256}; {remedy}")


def _download(source: Source) -> Path:
    looked = " and ".join(str(folder / source.path) for folder in folders())
    place = (
        f"put it at {cache_folder() / source.path}, or at {source.path} "
        f"below a folder of yours and set {FOLDER_VARIABLE} to that folder"
    )
    name = Path(source.path).name
    if source.url is None:
        raise ValueError(f"{name}: not found (looked at {looked}) and it has no public address; {place}")
    import pooch
    import requests

    target = cache_folder() / source.path
    try:
        # pooch writes to a temporary file, compares the checksum, and only then moves it to its place.
        pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=target.name,
            path=target.parent,
            progressbar=sys.stderr.isatty(),
        )
    except (OSError, ValueError, requests.RequestException) as error:
        raise ValueError(f"{name}: download from {source.url} failed ({error}); {place}") from error
    return target
