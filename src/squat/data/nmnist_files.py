"""N-MNIST in its original files: handwritten digits seen by an event camera that moves in three saccades."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from squat.data.aer import read_atis
from squat.data.camera import View, camera_dataset, files_by_class
from squat.data.converted import Originals, Recording
from squat.data.dataset import Dataset, Entry
from squat.data.originals import original_folder
from squat.data.sources import Original
from squat.data.splits import TEST, TRAIN, deal

FILES = (Original("nmnist/Train"), Original("nmnist/Test"))
PARTS = {"Train": TRAIN, "Test": TEST}
SIDE, CLASSES = 34, 10
VALIDATION_SHARE, VALIDATION_SEED = 12, 0
LICENCE = "CC BY-SA 4.0; N-MNIST, G. Orchard and others"
SUMMARY = "70,000 event-camera recordings of handwritten digits, from the original files"


def load_nmnist_files(
    *, steps: int = 20, bin_ms: float = 15.0, height: int = SIDE, layout: str = "flat", folder: str | None = None
) -> Dataset:
    """N-MNIST from `Train/0..9/*.bin` and `Test/0..9/*.bin`, streamed from disk, 10 classes.

    Args:
        steps: time steps `T`; later events are left out.
        bin_ms: duration of a step in milliseconds; the recordings last about 300 ms.
        height: 34, or a divisor of it: any event in a block is 1.
        layout: "flat" `[T, B, 2*height**2]` or "image" `[T, B, 2, height, height]`; the axis of 2 is polarity.
        folder: with `Train` and `Test`; by default `nmnist` below `SQUAT_DATA` or the cache folder.

    Returns:
        The data set. A twelfth of the training files, by class, is validation.

    Raises:
        TypeError, ValueError: an option out of range; a file is missing or damaged, or holds what N-MNIST cannot.

    Source: G. Orchard et al. 2015, "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades",
    Frontiers in Neuroscience 9.

    Example:
        >>> digits = load_nmnist_files(height=17, folder="/data/N-MNIST")  # doctest: +SKIP
        >>> digits.train.batch(torch.arange(8))[0].shape                   # doctest: +SKIP
        torch.Size([20, 8, 578])
    """
    view = View(SIDE, steps, bin_ms, height, layout)
    root = original_folder(FILES, folder)
    files = {part: files_by_class(root / part, map(str, range(CLASSES)), ".bin") for part in PARTS}

    def recordings() -> Iterator[Recording]:
        for part, by_class in files.items():
            for label, paths in enumerate(by_class):
                for path in paths:
                    events = read_atis(path, SIDE)
                    yield Recording(events.t, events.units(SIDE), label, PARTS[part])

    def held_out(labels: Tensor, _groups: Tensor) -> Tensor:
        return deal(labels, VALIDATION_SHARE, VALIDATION_SEED) == 0

    return camera_dataset(
        Originals(
            root, [path for by_class in files.values() for paths in by_class for path in paths], recordings, held_out
        ),
        view,
        classes=CLASSES,
        name="nmnist",
        about="Handwritten digits seen by an event camera",
        split_rule="the published test files; a twelfth of the training files, dealt by class with a fixed seed, "
        "is validation",
        licence=LICENCE,
    )


ENTRY = Entry(load_nmnist_files, SUMMARY, LICENCE, FILES)
