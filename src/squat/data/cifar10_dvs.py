"""CIFAR10-DVS: pictures of CIFAR-10 that move on a screen, seen by an event camera."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from squat.data.aer import DVS128_SIDE, read_aedat2
from squat.data.camera import View, camera_dataset, files_by_class
from squat.data.converted import Originals, Recording
from squat.data.dataset import Dataset, Entry
from squat.data.originals import original_folder
from squat.data.sources import Original
from squat.data.splits import TEST, TRAIN, deal

ADDRESS = "https://ndownloader.figshare.com/files"
ARCHIVES = {
    "airplane": ("7712788", "0afd5c4bf9ae06af762a77b180354fdd"),
    "automobile": ("7712791", "8438dfeba3bc970c94962d995b1b9bdd"),
    "bird": ("7712794", "a9c207c91c55b9dc2002dc21c684d785"),
    "cat": ("7712812", "52c63c677c2b15fa5146a8daf4d56687"),
    "deer": ("7712815", "b6bf21f6c04d21ba4e23fc3e36c8a4a3"),
    "dog": ("7712818", "f379ebdf6703d16e0a690782e62639c3"),
    "frog": ("7712842", "cad6ed91214b1c7388a5f6ee56d08803"),
    "horse": ("7712851", "e7cbbf77bec584ffbf913f00e682782a"),
    "ship": ("7712836", "41c7bd7d6b251be82557c6cce9a7d5c9"),
    "truck": ("7712839", "89f3922fd147d9aeff89e76a2b0b70a7"),
}
"""Classes in the order of their labels: number of the archive at that address, and its MD5."""
FILES = tuple(Original(f"cifar10_dvs/{name}", f"{ADDRESS}/{at}", md5) for name, (at, md5) in ARCHIVES.items())
PARTS, TEST_SEED, VALIDATION_SEED = 10, 0, 1
LICENCE = "CC BY 4.0; H. Li, H. Liu, X. Ji, G. Li, L. Shi"
SUMMARY = "10,000 event-camera recordings of moving CIFAR-10 pictures, 10 classes"


def load_cifar10_dvs(
    *, steps: int = 20, bin_ms: float = 60.0, height: int = 64, layout: str = "image", folder: str | None = None
) -> Dataset:
    """CIFAR10-DVS from `airplane/*.aedat` to `truck/*.aedat`, streamed from disk, 10 classes.

    Args:
        steps: time steps `T`; later events are left out.
        bin_ms: duration of a step in milliseconds, from the first event on.
        height: 128, or a divisor of it: any event in a block is 1.
        layout: "flat" `[T, B, 2*height**2]` or "image" `[T, B, 2, height, height]`; the axis of 2 is polarity.
        folder: with a folder per class; by default `cifar10_dvs` below `SQUAT_DATA` or the cache folder, or downloaded.

    Returns:
        The data set, 80 / 10 / 10 % by class: there is no published split.

    Raises:
        TypeError, ValueError: an option out of range; a file is missing or damaged, or not of a DVS128.

    Source: H. Li et al. 2017, "CIFAR10-DVS: An Event-Stream Dataset for Object Classification", Frontiers in
    Neuroscience 11.

    Example:
        >>> pictures = load_cifar10_dvs(height=32, folder="/data/CIFAR10DVS")  # doctest: +SKIP
        >>> pictures.train.batch(torch.arange(8))[0].shape                     # doctest: +SKIP
        torch.Size([20, 8, 2, 32, 32])
    """
    view = View(DVS128_SIDE, steps, bin_ms, height, layout)
    root = original_folder(FILES, folder)
    by_class = files_by_class(root, ARCHIVES, ".aedat")
    files = [(path, label) for label, paths in enumerate(by_class) for path in paths]
    tested = deal(torch.tensor([label for _, label in files]), PARTS, TEST_SEED) == 0

    def recordings() -> Iterator[Recording]:
        for (path, label), test in zip(files, tested.tolist(), strict=True):
            events = read_aedat2(path)
            start = events.t[0] if len(events.t) else 0
            yield Recording(events.t - start, events.units(DVS128_SIDE), label, TEST if test else TRAIN)

    def held_out(labels: Tensor, _groups: Tensor) -> Tensor:
        return deal(labels, PARTS - 1, VALIDATION_SEED) == 0

    return camera_dataset(
        Originals(root, [path for path, _ in files], recordings, held_out),
        view,
        classes=len(ARCHIVES),
        name="cifar10_dvs",
        about="Moving pictures of CIFAR-10 seen by an event camera",
        split_rule="dealt by class with fixed seeds: a tenth test, a ninth of the rest validation",
        licence=LICENCE,
    )


ENTRY = Entry(load_cifar10_dvs, SUMMARY, LICENCE, FILES)
