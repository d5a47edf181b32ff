"""Checks of numpy arrays, in the shape of message of `squat.checks`."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_array(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` if it is an array of this dtype and shape (None stands for any size of at least 1), else an error.

    Raises:
        TypeError: for no array, or one of another dtype.
        ValueError: for another shape.

    Example:
        >>> check_array("table", np.zeros((1, 4), np.int32), np.int32, (None, 4)).shape
        (1, 4)
    """
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        came = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{name}: {came}, expected an array of {np.dtype(dtype)}")
    fits = value.ndim == len(shape) and all(
        size == wanted or (wanted is None and size > 0) for size, wanted in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted_text = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
        raise ValueError(f"{name}: shape {value.shape}, expected ({wanted_text})")
    return value
