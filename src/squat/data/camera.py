"""What the event-camera data sets share: their options, and how pixels of two polarities become channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from squat.checks import check_choice, check_int, check_real
from squat.data.converted import Originals, converted, stream_converted
from squat.data.dataset import Dataset
from squat.data.events import check_steps
from squat.data.readers import unreadable
from squat.data.stream import Grid
from squat.text import brief

POLARITIES = 2


@dataclass(frozen=True)
class View:
    """How a camera of `side` x `side` pixels is looked at; checked when built.

    Args:
        side: pixels of the camera along each axis.
        steps: bins `T`; later events are left out.
        bin_ms: width of a bin in milliseconds.
        height: pixels of a frame along each axis, a divisor of `side`; any event in a block of the camera's is 1.
        layout: "flat" `[T, B, 2*height**2]` or "image" `[T, B, 2, height, height]`; the axis of 2 is polarity.
    """

    side: int
    steps: int
    bin_ms: float
    height: int
    layout: str

    __repr__ = brief

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_real("bin_ms", self.bin_ms, 0.0, open_low=True)
        check_int("height", self.height, 1, self.side)
        if self.side % self.height:
            raise ValueError(f"height={self.height}: expected a divisor of {self.side}, the pixels of the camera")
        check_choice("layout", self.layout, ("flat", "image"))

    @property
    def grid(self) -> Grid:
        """Its channels and cells."""
        block = self.side // self.height
        return Grid((POLARITIES, self.side, self.side), (block, block))


def camera_dataset(
    originals: Originals, view: View, *, classes: int, name: str, about: str, split_rule: str, licence: str
) -> Dataset:
    """Convert the recordings of a camera where that is not done yet, and stream them.

    Args:
        originals: the recordings.
        view: steps and pixels.
        classes: number of classes.
        name: of the data set.
        about: begins its description.
        split_rule: which samples are in which part.
        licence: of the data.
    """
    shape = view.grid.shape if view.layout == "image" else (POLARITIES * view.height**2,)
    pixels = f"2 x {view.height} x {view.height}"
    return stream_converted(
        converted(originals, POLARITIES * view.side**2),
        view.grid,
        shape,
        view.steps,
        view.bin_ms,
        classes=classes,
        name=name,
        description=f"{about}: {pixels}, {view.steps} steps of {view.bin_ms:g} ms, any event is 1.",
        split_rule=split_rule,
        licence=licence,
        source=str(originals.root),
    )


def files_by_class(root: Path, classes: Iterable[str], ending: str) -> list[list[Path]]:
    """Files of each class, sorted by name, from one folder per class.

    Raises:
        ValueError: a folder is missing, or has no such file.
    """
    found = []
    for name in classes:
        files = sorted((root / name).glob(f"*{ending}"))
        if not files:
            cause = f"no *{ending} file" if (root / name).is_dir() else "no such folder"
            raise unreadable(root / name, cause, "the data set has one folder per class, named after it")
        found.append(files)
    return found
