"""Original files of an event data set: in a folder of the user's, in the usual places, or downloaded and unpacked."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from squat.checks import check_type
from squat.data import sources
from squat.data.sources import Original


def original_folder(files: tuple[Original, ...], folder: str | None) -> Path:
    """The folder with a data set's original files, downloaded where they have an address.

    Args:
        files: of the data set; their paths begin with its name.
        folder: the user's folder, which holds them without that name, or None to look in the usual places.

    Raises:
        TypeError: `folder` is no text.
        ValueError: `folder` is none or lacks a file; a file is nowhere and cannot be downloaded.
    """
    name = Path(files[0].path).parts[0]
    if folder is not None:
        root = Path(check_type("folder", folder, str, "the path of a folder, as text")).expanduser()
        for file in files:
            if not (wanted := root / Path(file.path).relative_to(name)).exists():
                raise ValueError(f"folder={folder!r}: no {wanted}; name the folder that holds the files of {name}")
        return root
    for parent in sources.folders():
        if all((parent / file.path).exists() for file in files):
            return parent / name
    for file in files:
        if not (sources.cache_folder() / file.path).exists():
            _download(file)
    return sources.cache_folder() / name


def _download(file: Original) -> None:
    """Fetch the archive of a file, unpack it beside its place, and move what is wanted there."""
    if file.url is None:
        raise sources.missing(file)
    target = sources.cache_folder() / file.path
    archive = target.with_name(f"{target.name}.zip")
    sources.retrieve(file, file.url, f"md5:{file.md5}", archive)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack.") as scratch:
        try:
            with zipfile.ZipFile(archive) as members:
                members.extractall(scratch)
            shutil.move(next(Path(scratch).rglob(target.name)), target)
        except (zipfile.BadZipFile, StopIteration) as error:
            raise ValueError(f"{archive}: holds no {target.name} ({error}); delete it and try again") from error
    archive.unlink()
