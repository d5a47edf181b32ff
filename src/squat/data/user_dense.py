"""Dense inputs `x` of a user's file: samples over time, or still samples that are shown at every step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from squat.checks import check_choice, check_int
from squat.data.inputs import Constant, Frames, Inputs, pack_spikes
from squat.data.user_arrays import NUMBERS, UserFile

LARGEST_INPUT = 255
OVER_TIME = "[N, T, C] or [N, T, C, H, W]"
STILL = "[N, C], [N, H, W] or [N, C, H, W]"
LAYOUTS = (None, "flat", "image")


def dense_inputs(file: UserFile, steps: int | None, layout: str | None) -> tuple[Inputs, int]:
    """Inputs from `x`, one bit per cell of spikes over time, else one byte, and the largest value (at least 1).

    Args:
        file: the user's.
        steps: how many steps still samples are shown for; None for samples over time.
        layout: `"flat"` for images as flat features, `"image"` to insist on images, None for what the file holds.
    """
    shapes = OVER_TIME if steps is None else f"still samples, with the option `steps`, in {STILL}"
    expected = f"integers from 0 to {LARGEST_INPUT} in {shapes}, no axis of length 0"
    x = file.array("x", NUMBERS, (2, 3, 4, 5), expected)
    if steps is None and x.ndim in (2, 4):
        way_out = f"the option `steps`, how many steps each sample is shown for, or samples over time in {OVER_TIME}"
        raise file.refuse("x", f"shape {x.shape}, as of still samples", way_out)
    if x.size == 0 or (steps is not None and x.ndim == 5):
        raise file.refuse("x", f"shape {x.shape}", expected)
    low, high = x.min(), x.max()
    if low < 0 or high > LARGEST_INPUT:
        raise file.refuse("x", f"values from {low} to {high}", expected)
    if x.dtype.kind == "f" and not (np.rint(x) == x).all():
        way_out = "scale and round them, and give the factor back as `input_scale`"
        raise file.refuse("x", "has values that are not whole", f"{expected} ({way_out})")
    values = torch.from_numpy(np.ascontiguousarray(x, dtype=np.uint8))
    frames = _laid_out(file, values, 2 if steps is None else 1, layout)
    inputs: Inputs
    if steps is not None:
        inputs = Constant(frames, check_int("steps", steps, 1))
    else:
        inputs = pack_spikes(frames) if high <= 1 else Frames(frames, frames.shape[1])
    return inputs, max(1, int(high))


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
