"""Checks of numpy arrays, in the shape of message of `squat.checks`."""

from __future__ import annotations

from typing import Any

import numpy as np

from squat.checks import check_int


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


def check_accumulator(codes: int, bound: Any, bias: Any, shift: Any) -> None:
    """Refuse what no accumulator is made of: boundaries of so many codes in rows, sorted, a bias or None, a shift.

    Raises:
        TypeError, ValueError: for another dtype, shape, order or range.
    """
    check_array("bound", bound, np.int32, (None, codes - 1))
    if bias is not None:
        check_array("bias", bias, np.int32, (None,))
    if (np.diff(bound.astype(np.int64), axis=1) < 0).any():
        raise ValueError("bound: expected every row in rising order")
    check_int("shift", shift, 0, 16)
