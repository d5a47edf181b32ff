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

from squat.atomic import atomic_path

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


@dataclass(frozen=True)
class Original:
    """A file or folder of a data set in its authors' format, which may be a cut or an own recording: no checksum.

    Args:
        path: where it lies below `SQUAT_DATA` or the cache folder, with `/`; the first part is the data set's name.
        url: public address of a zip archive that holds it, or None.
        md5: the archive's published MD5.
    """

    path: str
    url: str | None = None
    md5: str | None = None


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


def find(source: Source | Original) -> Path | None:
    """The file or folder where it lies now, unchecked, or None."""
    return next((path for folder in folders() if (path := folder / source.path).exists()), None)


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
    if source.url is None:
        raise missing(source)
    target = cache_folder() / source.path
    retrieve(source, source.url, f"sha256:{source.sha256}", target)
    return target


def missing(source: Source | Original) -> ValueError:
    """The error for a file that is nowhere and has no address."""
    looked = " and ".join(str(folder / source.path) for folder in folders())
    name = Path(source.path).name
    return ValueError(f"{name}: not found (looked at {looked}) and it has no public address; {_place(source)}")


def retrieve(source: Source | Original, url: str, checksum: str, target: Path) -> None:
    """Download an address to a file, which appears only once its checksum (`"sha256:..."` or `"md5:..."`) is right.

    Raises:
        ValueError: the download failed or has another checksum; the message says where to put `source` by hand.
    """
    import pooch
    import requests

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().info("Downloading %s to %s", url, target)
        with atomic_path(target) as part:
            pooch.HTTPDownloader(progressbar=sys.stderr.isatty())(url, part, None)
            _compare(part, *checksum.split(":"))
    except (OSError, ValueError, requests.RequestException) as error:
        name = Path(source.path).name
        raise ValueError(f"{name}: download from {url} failed ({error}); {_place(source)}") from error


def _compare(path: Path, algorithm: str, expected: str) -> None:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, algorithm).hexdigest()
    if got != expected:
        raise ValueError(f"its {algorithm} hash is {got}, expected {expected}")


def _place(source: Source | Original) -> str:
    return (
        f"put it at {cache_folder() / source.path}, or at {source.path} "
        f"below a folder of yours and set {FOLDER_VARIABLE} to that folder"
    )
