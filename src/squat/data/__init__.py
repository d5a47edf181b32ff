"""Data: `load(name or file)` gives a `Dataset` of three fixed parts; `DATASETS` lists what comes with a name.

Names: "spoken_digits" (comes with the package), "fashion_mnist", "nmnist_small"; "shd", "ssc", "nmnist", "dvs_gesture"
and "cifar10_dvs", which are streamed from their original files; or the path of a user's own file.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from squat.data import cifar10_dvs, dvs_gesture, fashion_mnist, heidelberg, nmnist, nmnist_files, spoken_digits
from squat.data.dataset import Dataset, Entry, Split
from squat.data.sources import find
from squat.data.user_arrays import READERS
from squat.data.user_file import load_user_file

__all__ = ["DATASETS", "Dataset", "Entry", "Split", "catalogue", "load"]

DATASETS: dict[str, Entry] = {
    "spoken_digits": spoken_digits.ENTRY,
    "fashion_mnist": fashion_mnist.ENTRY,
    "nmnist_small": nmnist.ENTRY,
    "shd": heidelberg.SHD,
    "ssc": heidelberg.SSC,
    "nmnist": nmnist_files.ENTRY,
    "dvs_gesture": dvs_gesture.ENTRY,
    "cifar10_dvs": cifar10_dvs.ENTRY,
}
"""Data sets by name. Another one is a file with an `ENTRY` like these, and a row here."""


def load(name_or_path: str | Path, **options: Any) -> Dataset:
    """Load a data set by name, or the user's own from a file.

    Args:
        name_or_path: a key of `DATASETS`, or the path of an `.npz`, `.h5` or `.hdf5` file.
        options: keywords of the data set's own loader, such as `channels=700` or `mode="sequential"`.

    Returns:
        The data set, packed in memory or streamed from disk.

    Raises:
        TypeError: an option the data set does not have, or one of the wrong type.
        ValueError: an unknown name, an option out of range, a missing or damaged file.

    Example:
        >>> load("spoken_digits", split="take", steps=50).test.inputs.steps
        50
        >>> load("spoken_digit")
        Traceback (most recent call last):
        ValueError: data 'spoken_digit': expected one of spoken_digits, fashion_mnist, nmnist_small, shd, ...
    """
    name = str(name_or_path)
    if name in DATASETS:
        loader = DATASETS[name].load
    elif Path(name).suffix.lower() in READERS:
        loader = load_user_file
    else:
        raise ValueError(
            f"data {name!r}: expected one of {', '.join(DATASETS)}, or the path of a file ending in .npz, .h5 or .hdf5"
        )
    accepted = [key for key, one in inspect.signature(loader).parameters.items() if one.kind is one.KEYWORD_ONLY]
    if unknown := [key for key in options if key not in accepted]:
        raise TypeError(f"data {name!r} has no option {', '.join(unknown)}: expected {', '.join(accepted)}")
    return loader(**options) if name in DATASETS else load_user_file(name, **options)


def catalogue() -> list[dict[str, Any]]:
    """What can be loaded by name, as JSON values, without loading it: options with defaults, files and where they are.

    A file's `found` is its path, unchecked, or None; it is then downloaded from `url`, or refused if that is None too.

    Example:
        >>> [row["name"] for row in catalogue()][:3], catalogue()[0]["options"]["channels"]
        (['spoken_digits', 'fashion_mnist', 'nmnist_small'], 140)
    """
    return [
        {
            "name": name,
            "summary": entry.summary,
            "licence": entry.licence,
            "options": {key: one.default for key, one in inspect.signature(entry.load).parameters.items()},
            "files": [
                {"path": source.path, "found": str(path) if (path := find(source)) else None, "url": source.url}
                for source in entry.files
            ],
        }
        for name, entry in DATASETS.items()
    ]
