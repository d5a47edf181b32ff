"""Spoken digits as cochlear spikes: the Free Spoken Digit Dataset through the chain that made the SHD data set.

3,000 recordings: 6 speakers, 10 digits, 50 takes of each. At 140 channels and 10 ms they come with the package
(`embedded/`, about 1 MB); the full 700 channels, or other bins, need `spoken_digits/spoken_digits_700ch.npz`.
"""

from __future__ import annotations

import lzma
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from squat.checks import check_choice, check_int, check_real
from squat.data.coverage import Coverage, per_recording
from squat.data.dataset import Dataset, Entry, cut
from squat.data.events import bin_events, check_steps
from squat.data.inputs import PackedSpikes
from squat.data.readers import read_npz
from squat.data.sources import Source, locate
from squat.data.splits import TEST, TRAIN, VALIDATION
from squat.text import brief

CHANNELS, EMBEDDED_CHANNELS, EMBEDDED_BIN_MS, EMBEDDED_STEPS = 700, 140, 10.0, 100
EMBEDDED = "spoken_digits_140ch_10ms.safetensors.xz"
FULL = Source(
    "spoken_digits/spoken_digits_700ch.npz",
    sha256="66e665c5cdf89cd8577150fe9e593995aafdb25a050e8cee919d3553b0682407",
    size=29_204_914,
)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
VALIDATION_SPEAKERS = ("nicolas",)
TEST_SPEAKERS = ("theo", "yweweler")
LICENCE = "CC BY-SA 4.0; from the Free Spoken Digit Dataset (Z. Jackson and others)"
SUMMARY = "3,000 spoken digits as cochlear spikes, 6 speakers (140 channels come with the package, 700 from a file)"
SPLIT_RULES = {
    "take": "by take: 0-9 test, 10-14 validation, 15-49 training",
    "speaker": "by speaker: theo and yweweler test, nicolas validation, george, jackson and lucas training",
}


class Recordings(NamedTuple):
    """All 3,000 recordings in frames, in the order of the 700-channel file.

    `label`, `speaker` (position in `SPEAKERS`) and `take` (0-49) are uint8 `[3000]`; `counts`, `late` and `last` int32
    `[3000]`: events of a recording, those past the last step, and the step of the latest.
    """

    spikes: PackedSpikes
    label: Tensor
    speaker: Tensor
    take: Tensor
    counts: Tensor
    late: Tensor
    last: Tensor

    def __repr__(self) -> str:
        return brief(self)


def load_spoken_digits(
    *, channels: int = EMBEDDED_CHANNELS, bin_ms: float = EMBEDDED_BIN_MS, steps: int = 100, split: str = "take"
) -> Dataset:
    """Spoken digits as binary spikes `[T, B, channels]`, 10 classes.

    Args:
        channels: 700, or fewer: neighbouring channels are joined (140: five at a time). Must divide 700.
        bin_ms: duration of a time step in milliseconds.
        steps: time steps `T`; 100 steps of 10 ms hold all but 0.03 % of the spikes.
        split: "take" (every speaker in every part) or "speaker" (harder: unheard speakers).

    Returns:
        The data set; 2,100 / 300 / 600 recordings by take, 1,500 / 500 / 1,000 by speaker.

    Raises:
        TypeError, ValueError: an option out of range; the 700-channel file is needed and missing or damaged.

    Source: recordings, Free Spoken Digit Dataset; processing, B. Cramer et al. 2022, "The Heidelberg Spiking Data
    Sets", IEEE TNNLS (`lauscher`).

    Example:
        >>> digits = load_spoken_digits(split="speaker")
        >>> x, y = digits.test.batch(torch.tensor([0, 999]))
        >>> x.shape, len(digits.train), len(digits.validation), len(digits.test)
        (torch.Size([100, 2, 140]), 1500, 500, 1000)
    """
    check_int("channels", channels, 1, CHANNELS)
    if CHANNELS % channels:
        raise ValueError(f"channels={channels}: expected a divisor of {CHANNELS}, such as 140 or 700")
    bin_ms = check_real("bin_ms", bin_ms, 0.0, open_low=True)
    check_steps(steps)
    check_choice("split", split, SPLIT_RULES)
    if (channels, bin_ms) == (EMBEDDED_CHANNELS, EMBEDDED_BIN_MS) and steps <= EMBEDDED_STEPS:
        recordings, source = _embedded(), f"embedded in the package ({EMBEDDED})"
    else:
        path = locate(FULL)
        recordings, source = bin_recordings(path, channels, bin_ms, steps), str(path)
    covered = _coverage(recordings, steps, bin_ms)
    spikes = recordings.spikes if steps == recordings.spikes.steps else recordings.spikes.first(steps)
    part = by_take(recordings.take) if split == "take" else by_speaker(recordings.speaker)
    return Dataset(
        name="spoken_digits",
        **cut(spikes, recordings.label.long(), part),
        classes=10,
        input_max=1,
        input_min=0,
        input_scale=1.0,
        description=f"Spoken digits as cochlear spikes: {channels} channels, steps of {bin_ms:g} ms, any spike is 1.",
        split_rule=SPLIT_RULES[split],
        licence=LICENCE,
        source=source,
        coverage=covered,
    )


def _coverage(recordings: Recordings, steps: int, bin_ms: float) -> Coverage:
    """What the first steps leave of the recordings, in events, or in spikes where events have been binned before."""
    whole = recordings.spikes
    if steps == whole.steps:
        return Coverage.of(recordings.counts, recordings.late, recordings.last, steps=steps, bin_ms=bin_ms)
    counts = whole.counts()
    late = counts - whole.first(steps).counts()
    return Coverage.of(counts, late, recordings.last, steps=steps, bin_ms=bin_ms, counted="spikes")


def bin_recordings(path: Path, channels: int, bin_ms: float, steps: int) -> Recordings:
    """Frames from the 700-channel file; the embedded file is `bin_recordings(path, 140, 10.0, 100)`."""
    names = ("times", "units", "offsets", "time_unit_s", "label", "speaker", "index")
    arrays, _ = read_npz(path, names)
    times, offsets, ticks = arrays["times"], arrays["offsets"], bin_ms / 1000 / float(arrays["time_unit_s"])
    units = arrays["units"] // (CHANNELS // channels)
    spikes = bin_events(times, units, offsets, steps=steps, channels=channels, ticks_per_bin=ticks)
    about = (torch.from_numpy(arrays[name]) for name in ("label", "speaker", "index"))
    counted = (torch.from_numpy(array).int() for array in per_recording(times, offsets, steps, ticks))
    return Recordings(spikes, *about, *counted)


def by_take(take: Tensor) -> Tensor:
    """Part of each recording from its take: 0-9 test, 10-14 validation, the others training."""
    part = torch.full(take.shape, TRAIN)
    part[take < 15] = VALIDATION
    part[take < 10] = TEST
    return part


def by_speaker(speaker: Tensor) -> Tensor:
    """Part of each recording from its speaker; the last three names by alphabet were set aside, before any result."""
    part_of = torch.tensor(
        [TEST if name in TEST_SPEAKERS else VALIDATION if name in VALIDATION_SPEAKERS else TRAIN for name in SPEAKERS]
    )
    return part_of[speaker.long()]


def _embedded() -> Recordings:
    from safetensors.torch import load

    content = files("squat.data").joinpath("embedded", EMBEDDED).read_bytes()
    try:
        stored = load(lzma.decompress(content))
    except lzma.LZMAError as error:
        raise ValueError(f"{EMBEDDED}: damaged ({error}); it is part of the package: reinstall squat-snn") from error
    return Recordings(PackedSpikes(stored.pop("spikes"), EMBEDDED_STEPS), **stored)


ENTRY = Entry(load_spoken_digits, SUMMARY, LICENCE, (FULL,))
