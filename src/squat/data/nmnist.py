"""A small part of N-MNIST: handwritten digits seen by an event camera that moves in three saccades."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from squat.checks import check_choice, check_int
from squat.data.coverage import Coverage, coverage
from squat.data.dataset import Dataset, Entry, cut
from squat.data.events import bin_events, check_steps
from squat.data.inputs import PackedSpikes
from squat.data.readers import read_npz
from squat.data.sources import Source, locate
from squat.data.splits import TEST, TRAIN, VALIDATION, deal

FILE = Source(
    "nmnist_small/nmnist_small.npz",
    sha256="91b36e8773ff3ef1573f4f953704b2dcca59452d885234e96d97005fe0dc6f7f",
    size=14_552_105,
)
SIDE, POLARITIES, WINDOW_US = 34, 2, 320_000
FOLDS, VALIDATION_PARTS = 5, 8
FOLD_SEED, VALIDATION_SEED = 0, 1
LICENCE = "CC BY-SA 4.0; N-MNIST, G. Orchard and others"
SUMMARY = "1,100 event-camera recordings of handwritten digits, in five fixed folds"


def load_nmnist(*, steps: int = 20, height: int = SIDE, layout: str = "flat", fold: int = 0) -> Dataset:
    """Small N-MNIST as binary frames over 320 ms, 10 classes.

    Args:
        steps: time steps `T`, each of 320 ms / `steps`.
        height: 34 (every pixel) or 17 (any event in a 2 x 2 block).
        layout: "flat" `[T, B, 2*height**2]` or "image" `[T, B, 2, height, height]`; the axis of 2 is polarity.
        fold: 0 to 4, which fifth of the 1,100 recordings is the test part.

    Returns:
        The data set: 770 / 110 / 220 recordings.

    Raises:
        TypeError, ValueError: an option out of range; the file is missing or damaged.

    Source: G. Orchard et al. 2015, "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades",
    Frontiers in Neuroscience 9.

    Example:
        >>> torch.bincount(fold_parts(torch.arange(1100) % 10, fold=2)).tolist()  # training, validation, test
        [770, 110, 220]
        >>> digits = load_nmnist(height=17, fold=2)          # doctest: +SKIP
        >>> digits.test.batch(torch.arange(8))[0].shape      # doctest: +SKIP
        torch.Size([20, 8, 578])
    """
    check_steps(steps)
    check_choice("height", height, (SIDE, SIDE // 2))
    check_choice("layout", layout, ("flat", "image"))
    check_int("fold", fold, 0, FOLDS - 1)
    path = locate(FILE)
    spikes, labels, covered = _frames(path, steps, height)
    if layout == "image":
        spikes = PackedSpikes(spikes.values.unflatten(2, (POLARITIES, height, height)), steps)
    return Dataset(
        name="nmnist_small",
        **cut(spikes, labels, fold_parts(labels, fold)),
        classes=10,
        input_max=1,
        input_min=0,
        input_scale=1.0,
        description=f"Handwritten digits seen by an event camera, 2 x {height} x {height}, {steps} steps over "
        f"{WINDOW_US // 1000} ms, any event is 1.",
        split_rule=f"all 1,100 pooled; fold {fold} of {FOLDS} stratified folds is test, 1/8 of the rest validation",
        licence=LICENCE,
        source=str(path),
        coverage=covered,
    )


def fold_parts(labels: torch.Tensor, fold: int) -> torch.Tensor:
    """Part of each sample: fold `fold` is test; an eighth of the others, by class, is validation."""
    part = torch.full(labels.shape, TRAIN)
    tested = deal(labels, FOLDS, FOLD_SEED) == fold
    part[tested] = TEST
    others = torch.nonzero(~tested).flatten()
    part[others[deal(labels[others], VALIDATION_PARTS, VALIDATION_SEED) == 0]] = VALIDATION
    return part


def _frames(path: Path, steps: int, height: int) -> tuple[PackedSpikes, torch.Tensor, Coverage]:
    names = ("x", "y", "p", "t", "offsets", "labels")
    arrays, _ = read_npz(path, [f"{part}_{name}" for part in ("train", "test") for name in names])
    x, y, p, t, labels = (
        np.concatenate([arrays[f"train_{name}"], arrays[f"test_{name}"]]) for name in ("x", "y", "p", "t", "labels")
    )
    offsets = np.concatenate([arrays["train_offsets"], arrays["test_offsets"][1:] + len(arrays["train_t"])])
    block = SIDE // height
    units = (p.astype(np.int64) * height + y // block) * height + x // block
    width = WINDOW_US / steps
    spikes = bin_events(t, units, offsets, steps=steps, channels=POLARITIES * height**2, ticks_per_bin=width)
    covered = coverage(t, offsets, steps=steps, ticks_per_bin=width, bin_ms=width / 1000)
    return spikes, torch.from_numpy(labels).long(), covered


ENTRY = Entry(load_nmnist, SUMMARY, LICENCE, (FILE,))
