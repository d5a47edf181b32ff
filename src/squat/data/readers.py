"""Readers of the file formats: arrays out of `.npz`, `.h5` and gzipped idx files, nothing executed on the way."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

AGAIN = "copy it again from where it came from, or write it anew"


def unreadable(path: Path, problem: str, remedy: str) -> ValueError:
    """The error for a file that cannot be used: which file, what is wrong, the way out."""
    return ValueError(f"{path}: {problem}; {remedy}")


def read_npz(path: Path, names: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays of an `.npz` file. Pickled objects are refused, so a file cannot run code.

    Args:
        path: the file.
        names: the arrays to read, where the file has them.

    Returns:
        Those arrays by name, and the names of all arrays in the file.

    Raises:
        ValueError: the file is missing, damaged, no `.npz` file, or one of `names` holds Python objects.
    """
    _require_file(path)
    if not zipfile.is_zipfile(path):
        raise unreadable(path, "truncated, or not an .npz file", AGAIN)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in names}, list(archive.files)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise unreadable(path, f"damaged ({error})", AGAIN) from error
    except ValueError as error:
        remedy = "save plain arrays of numbers with numpy.savez_compressed"
        raise unreadable(path, f"holds something that is not a plain array ({error})", remedy) from error


def read_h5(path: Path, names: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Data sets at the root of an HDF5 file; arguments and result as for `read_npz`.

    Raises:
        ValueError: the file is missing, damaged or no HDF5 file.
    """
    import h5py

    _require_file(path)
    try:
        with h5py.File(path, "r") as file:
            stored = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return {name: np.asarray(item[()]) for name, item in stored.items() if name in names}, list(stored)
    except (OSError, RuntimeError) as error:
        raise unreadable(path, f"truncated, damaged, or not an HDF5 file ({error})", AGAIN) from error


def read_idx(path: Path) -> np.ndarray:
    """The bytes of a gzipped idx file (MNIST's format): magic number, sizes of the axes as big-endian int32, values.

    The caller has compared the file with its checksum, so its content is not questioned here.

    Source: Y. LeCun, C. Cortes, "The MNIST database of handwritten digits", section on file formats.
    """
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise unreadable(path, "no such file", "check the path")
