"""What `squat.data.load` returns: a `Dataset` of three `Split`s, whatever the data were read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from squat.data.coverage import Coverage
from squat.data.inputs import Constant, Inputs
from squat.data.labels import UNLABELLED, unseen
from squat.data.sources import Original, Source
from squat.data.splits import AS_ASKED
from squat.data.stream import EventStream
from squat.text import brief


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and labels of one part of a data set, packed in memory or, events, on disk.

    Args:
        inputs: the packed or streamed inputs of `N` samples.
        labels: int64 `[N]`, class of each sample, `UNLABELLED` where it is not known.
        index: int64 `[N]`, where each sample stands in the file that it was read from; by default in this order.

    Raises:
        ValueError: `labels` or `index` has another dtype, or another length than `inputs`.

    Example:
        >>> from squat.data.inputs import pack_spikes
        >>> split = Split(pack_spikes(torch.ones(4, 100, 3)), torch.tensor([0, 1, 0, 1]))
        >>> x, y = split.batch(torch.tensor([2, 3]))
        >>> len(split), split.steps, x.shape, y.tolist()
        (4, 100, torch.Size([100, 2, 3]), [0, 1])
    """

    inputs: Inputs
    labels: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    __repr__ = brief

    def __post_init__(self) -> None:
        if len(self.index) == 0:
            object.__setattr__(self, "index", torch.arange(len(self.inputs)))
        for name, values in (("labels", self.labels), ("index", self.index)):
            if values.dtype != torch.int64 or values.shape != (len(self.inputs),):
                raise ValueError(
                    f"{name} of dtype {values.dtype} and shape {tuple(values.shape)}: "
                    f"expected torch.int64 and ({len(self.inputs)},), one per sample"
                )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def steps(self) -> int:
        """Number of time steps `T`."""
        return self.inputs.steps

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return len(self) == 0 or not bool((self.labels == UNLABELLED).all())

    @property
    def streamed(self) -> bool:
        """Whether the inputs stay on disk, so that making a batch takes a while."""
        return isinstance(self.inputs, EventStream)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of some samples.

        Args:
            indices: int64 `[B]`, positions in this split, in any order, repeats allowed.

        Returns:
            `x` float32 `[T, B, C]` or `[T, B, C, H, W]` (an expanded view of time stride 0 where the input is the
            same at every step, else contiguous) and `y` int64 `[B]`.

        Raises:
            ValueError: no index, an index out of range, or `indices` not a vector of integers.
        """
        if indices.dtype != torch.int64 or indices.ndim != 1 or indices.numel() == 0:
            raise ValueError(
                f"indices of dtype {indices.dtype} and shape {tuple(indices.shape)}: "
                "expected a non-empty vector of torch.int64 positions in the split"
            )
        low, high = torch.aminmax(indices)
        if low < 0 or high >= len(self):
            raise ValueError(f"indices from {int(low)} to {int(high)}: expected 0 to {len(self) - 1}, one per sample")
        self.inputs.check_batch(len(indices))
        return self.inputs.gather(indices), self.labels.index_select(0, indices)

    def take(self, indices: Tensor) -> Split:
        """A split of only the samples `indices` (int64 `[M]`), copied: for calibration sets and quick trials."""
        chosen = (values.index_select(0, indices) for values in (self.labels, self.index))
        return Split(self.inputs.take(indices), *chosen)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in three fixed parts, with what a network and a reader need to know of it.

    Args:
        name: the name it was loaded by.
        train, validation, test: its parts. Choices are made on validation; test is read once.
        classes: number of classes; labels are `0 .. classes-1`. 0 where there are no labels and nothing says it.
        input_max: largest input value: 1 for spikes, 255 for pixels. Layers bound their integer sums with it.
        input_scale: what an input value is multiplied by inside the first layer: 1, or 1/255 for pixels.
        description: what the data are and how they were made.
        split_rule: which samples are in which part.
        licence: licence of the data.
        source: the file they were read from.
        coverage: what binning left of the recordings; None where nothing was binned.
        options: options of the loader that fix what an input means, such as `steps` and `bin_ms`, defaults included;
            a network keeps those it was trained with.
        input_min: smallest input value: 0, or negative for signed spikes and signed bytes.

    Example:
        >>> from squat.data import load
        >>> digits = load("spoken_digits")
        >>> len(digits.train), len(digits.validation), len(digits.test), digits.input_shape, digits.steps
        (2100, 300, 600, (140,), 100)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    input_max: int
    input_scale: float
    description: str
    split_rule: str
    licence: str
    source: str
    coverage: Coverage | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    input_min: int = 0

    __repr__ = brief

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one step of one sample: `(C,)` or `(C, H, W)`."""
        return self.train.inputs.shape

    @property
    def steps(self) -> int:
        """Number of time steps `T`, the same in every part."""
        return self.train.steps

    @property
    def parts(self) -> dict[str, Split]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def notes(self) -> list[str]:
        """Sentences on what was cut and what a reader may not expect; every verb that reads the data says them."""
        found = [] if self.coverage is None else [str(self.coverage)]
        if isinstance(self.test.inputs, Constant):
            found.append(f"still samples, each shown at every one of {self.steps} steps")
        if not self.labelled:
            return [*found, "no labels, so there are predictions and no accuracy"]
        return found + unseen(self.train.labels, self.classes)

    def require(self, *parts: str) -> None:
        """Raise ValueError if one of the named parts has no samples (a user's file may leave some out)."""
        for part in parts:
            if len(self.parts[part]) == 0:
                code = list(self.parts).index(part)
                remedy = (
                    f"give some samples `split` = {code}, or leave `split` out: samples with labels, ten or more, are "
                    "dealt to the three parts by class"
                )
                if self.split_rule == AS_ASKED:
                    remedy = "leave out the option `whole`, which makes all samples the test part"
                raise ValueError(f"{self.source}: no sample in the {part} part; {remedy}")

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return all(split.labelled for split in self.parts.values())

    def require_labels(self) -> None:
        """Raise ValueError if the classes are not known (a user's file may leave them out)."""
        if not self.labelled:
            raise ValueError(
                f"{self.source}: no labels; add `label`, the class of each sample, which is needed for this (squat run "
                "predicts the classes of data without)"
            )

    def describe(self) -> dict[str, Any]:
        """Everything about the data set but its samples, as JSON values.

        `density` is the share of non-zero cells over samples, steps and channels, by part.
        """
        return {
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "source": self.source,
            "split_rule": self.split_rule,
            "samples": {part: len(split) for part, split in self.parts.items()},
            "classes": self.classes,
            "labelled": self.labelled,
            "steps": self.steps,
            "input_shape": list(self.input_shape),
            "input_max": self.input_max,
            "input_min": self.input_min,
            "input_scale": self.input_scale,
            "density": {part: round(split.inputs.density(), 6) for part, split in self.parts.items()},
            "bytes_in_memory": sum(split.inputs.nbytes for split in self.parts.values()),
            "coverage": None if self.coverage is None else self.coverage.to_json(),
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Entry:
    """A row of the registry `DATASETS`: how one data set is loaded, and what can be said without loading it.

    Args:
        load: keyword options -> `Dataset`.
        summary: one sentence.
        licence: licence of the data.
        files: files it is read from; none if what the default options need comes with the package.
    """

    load: Callable[..., Dataset]
    summary: str
    licence: str
    files: tuple[Source | Original, ...] = ()

    __repr__ = brief


def cut(inputs: Inputs, labels: Tensor, part: Tensor) -> dict[str, Any]:
    """Cut samples into the three parts.

    Args:
        inputs: all `N` samples.
        labels: int64 `[N]`.
        part: integer `[N]`: 0 training, 1 validation, 2 test.

    Returns:
        `{"train": Split, "validation": Split, "test": Split}`, samples in their order.

    Example:
        >>> from squat.data.inputs import pack_spikes
        >>> parts = cut(pack_spikes(torch.ones(3, 4, 2)), torch.tensor([0, 1, 1]), torch.tensor([0, 2, 0]))
        >>> {name: split.labels.tolist() for name, split in parts.items()}
        {'train': [0, 1], 'validation': [], 'test': [1]}
    """
    whole = Split(inputs, labels)
    return {
        name: whole.take(torch.nonzero(part == code).flatten())
        for code, name in enumerate(("train", "validation", "test"))
    }
