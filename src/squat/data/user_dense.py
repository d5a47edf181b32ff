"""Dense inputs `x` of a user's file: samples over time, or still samples that are shown at every step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from squat.checks import check_choice
from squat.data.events import check_steps
from squat.data.inputs import Constant, Frames, Inputs, pack_signs, pack_spikes
from squat.data.user_arrays import NUMBERS, UserFile

ACCEPTED = "integers from 0 to 255, or -128 to 127 where some are negative,"
OVER_TIME = "[N, T, C] or [N, T, C, H, W]"
STILL = "[N, C], [N, H, W] or [N, C, H, W]"
LAYOUTS = (None, "flat", "image")


def dense_inputs(file: UserFile, steps: int | None, layout: str | None) -> tuple[Inputs, int, int]:
    """Inputs from `x`, and their range, 0 and 1 within.

    One bit per cell of spikes over time, two if they are signed, else one byte, signed where one is negative.

    Args:
        file: the user's.
        steps: how many steps still samples are shown for; None for samples over time.
        layout: `"flat"` for images as flat features, `"image"` to insist on images, None for what the file holds.
    """
    shapes = OVER_TIME if steps is None else f"still samples, with the option `steps`, in {STILL}"
    expected = f"{ACCEPTED} in {shapes}, no axis of length 0"
    x = file.array("x", NUMBERS, (2, 3, 4, 5), expected)
    if steps is None and x.ndim in (2, 4):
        way_out = f"the option `steps`, how many steps each sample is shown for, or samples over time in {OVER_TIME}"
        raise file.refuse("x", f"shape {x.shape}, as of still samples", way_out)
    if len(x) == 0:
        raise file.refuse("x", f"shape {x.shape}, no recording", f"at least one recording, {expected}")
    if x.size == 0 or (steps is not None and x.ndim == 5):
        raise file.refuse("x", f"shape {x.shape}", expected)
    low, high = min(0, x.min().item()), max(1, x.max().item())
    kind = np.dtype(np.int8 if low < 0 else np.uint8)
    if low < np.iinfo(kind).min or high > np.iinfo(kind).max:
        raise file.refuse("x", f"values from {x.min()} to {x.max()}", expected)
    if x.dtype.kind == "f" and not (np.rint(x) == x).all():
        way_out = "scale and round them, and give the factor back as `input_scale`"
        raise file.refuse("x", "has values that are not whole", f"{expected} ({way_out})")
    values = torch.from_numpy(np.ascontiguousarray(x, dtype=kind))
    frames = _laid_out(file, values, 2 if steps is None else 1, layout)
    return _kept(frames, steps, (int(low), int(high))), int(low), int(high)


def _kept(frames: Tensor, steps: int | None, ends: tuple[int, int]) -> Inputs:
    if steps is not None:
        return Constant(frames, check_steps(steps))
    pack = {(0, 1): pack_spikes, (-1, 1): pack_signs}.get(ends)
    return Frames(frames, frames.shape[1]) if pack is None else pack(frames)


def _laid_out(file: UserFile, values: Tensor, lead: int, layout: str | None) -> Tensor:
    """The values with the axes `[C]` or `[C, H, W]` behind the `lead` first ones, as the layout wants them."""
    check_choice("layout", layout, LAYOUTS)
    if values.ndim == lead + 2:  # still images of one channel
        values = values.unsqueeze(lead)
    if layout == "flat":
        return values.flatten(lead)
    if layout == "image" and values.ndim == lead + 1:
        raise file.refuse("x", f"shape {tuple(values.shape)}, with the option layout=image", "images, or layout=flat")
    return values
