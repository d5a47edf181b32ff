"""Data: `load(name or file)` gives a `Dataset` of three fixed parts; `DATASETS` lists what comes with a name.

Names: "spoken_digits" (comes with the package), "fashion_mnist", "nmnist_small"; "shd", "ssc", "nmnist", "dvs_gesture"
and "cifar10_dvs", which are streamed from their original files; or the path of a user's own file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from squat.checks import check_type
from squat.data import cifar10_dvs, dvs_gesture, fashion_mnist, heidelberg, nmnist, nmnist_files, spoken_digits
from squat.data.coverage import LARGEST_LOSS, Coverage
from squat.data.dataset import Dataset, Entry, Split
from squat.data.inputs import Constant
from squat.data.sources import find
from squat.data.user_arrays import READERS
from squat.data.user_file import load_user_file, options_for

__all__ = ["DATASETS", "INPUT_OPTIONS", "Coverage", "Dataset", "Entry", "Split", "catalogue", "load", "options_of"]

INPUT_OPTIONS = ("bin_ms", "steps", "channels", "height", "layout", "mode")
"""Options that fix what an input means, whatever data it comes from: a network needs those that it was trained with."""

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


def load(name_or_path: str | Path, *, accept_loss: bool = False, **options: Any) -> Dataset:
    """Load a data set by name, or the user's own from a file.

    Args:
        name_or_path: a key of `DATASETS`, or the path of an `.npz`, `.h5` or `.hdf5` file.
        accept_loss: take data of which binning leaves little. Otherwise a user's file of which more than a tenth of the
            events lies past the last step is refused, and any data of which more than half of the recordings are empty.
        options: keywords of the data set's own loader, such as `channels=700` or `mode="sequential"`.

    Returns:
        The data set, packed in memory or streamed from disk.

    Raises:
        TypeError: an option the data set does not have, or one of the wrong type.
        ValueError: an unknown name, an option out of range, a missing or damaged file, too many events cut.

    Example:
        >>> load("spoken_digits", split="take", steps=50).test.inputs.steps
        50
        >>> load("spoken_digit")
        Traceback (most recent call last):
        ValueError: data 'spoken_digit': expected one of spoken_digits, fashion_mnist, nmnist_small, shd, ...
    """
    name = str(name_or_path)
    accepted = _keywords(_loader(name))
    check_type("accept_loss", accept_loss, bool, "True or False")
    if unknown := [key for key in options if key not in accepted]:
        raise TypeError(
            f"data {name!r} has no option {', '.join(unknown)}: expected {', '.join(accepted)}, accept_loss"
        )
    own = name not in DATASETS
    dataset = load_user_file(name, **options) if own else DATASETS[name].load(**options)
    if dataset.coverage is not None and not accept_loss:
        dataset.coverage.check(name, LARGEST_LOSS if own else 1.0)
    return replace(dataset, options=_input_options(dataset, {**accepted, **options}))


def options_of(name_or_path: str | Path, *, still: bool = False) -> tuple[str, ...]:
    """The options that `load` takes for these data; for a user's file those that fit what it holds.

    Args:
        name_or_path: as for `load`.
        still: dense samples of a user's file are still ones, which their shape alone does not say.

    Raises:
        ValueError: an unknown name, a missing or damaged file.

    Example:
        >>> options_of("nmnist_small")
        ('steps', 'height', 'layout', 'fold')
    """
    name = str(name_or_path)
    loader = _loader(name)
    return options_for(name, still) if loader is load_user_file else tuple(_keywords(loader))


def are_still(name_or_path: str | Path, options: Mapping[str, Any]) -> bool:
    """Whether these data, with these options, are still samples, as far as can be told without reading them.

    A user's file that is not there counts as still where `steps` and nothing of events are given: what that makes of
    other data over time does not fit the network, and so is found, where still samples read over time may fit.

    Args:
        name_or_path: as for `load`.
        options: of the loader.

    Example:
        >>> are_still("fashion_mnist", {}), are_still("fashion_mnist", {"mode": "sequential"}), are_still("shd", {})
        (True, False, False)
    """
    name = str(name_or_path)
    loader = _loader(name)
    if loader is not load_user_file:
        return {**_keywords(loader), **options}.get("mode") == "static"
    known = options_for(name, still=False) if Path(name).is_file() else options
    return "steps" in options and "bin_ms" not in known and "stream" not in known


def _loader(name: str) -> Callable[..., Dataset]:
    if name in DATASETS:
        return DATASETS[name].load
    if Path(name).suffix.lower() in READERS:
        return load_user_file
    raise ValueError(
        f"data {name!r}: expected one of {', '.join(DATASETS)}, or the path of a file ending in .npz, .h5 or .hdf5"
    )


def _keywords(loader: Callable[..., Dataset]) -> dict[str, Any]:
    """Options of a loader with their defaults."""
    return {
        key: one.default for key, one in inspect.signature(loader).parameters.items() if one.kind is one.KEYWORD_ONLY
    }


def _input_options(dataset: Dataset, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that fix what an input means, as they were in the end."""
    found = {key: options[key] for key in INPUT_OPTIONS if options.get(key) is not None}
    still = {"mode": "static"} if isinstance(dataset.test.inputs, Constant) else {}
    binned = {} if dataset.coverage is None else {"bin_ms": float(dataset.coverage.bin_ms)}
    return {**found, **still, **binned, "steps": dataset.steps}


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
