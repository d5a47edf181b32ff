"""Calibration data: a split, a data set or plain batches, as inputs `[T, B, ...]` that can be walked several times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_int


class CalibrationBatches:
    """Inputs `[T, B, ...]` in batches; every walk gives the same ones.

    Args:
        data: a `Dataset` (its training split), a `Split` (samples spread evenly over it), or an iterable of
            inputs or `(inputs, labels)`; of an iterator at most `batches` batches are kept in memory.
        batches: number of batches at most.
        batch_size: samples of a batch; of an iterable its own batches are taken.

    Raises:
        TypeError: for data of another kind.
        ValueError: if the data are empty; on walking, for batches with too few axes, without samples or steps, of a
            dtype other than float or uint8, or with NaN or infinity.

    Example:
        >>> len(list(CalibrationBatches([torch.zeros(5, 2, 3)] * 4, batches=2, batch_size=1)))
        2
    """

    def __init__(self, data: Any, batches: int, batch_size: int) -> None:
        check_int("batches", batches, 1)
        check_int("batch_size", batch_size, 1)
        split = getattr(data, "train", data)
        self._split: Any = None
        if hasattr(split, "batch") and hasattr(split, "__len__"):
            self._split = split
            self._chosen = _spread(len(split), batches * batch_size).split(batch_size)
        elif isinstance(data, Iterable) and not isinstance(data, (Tensor, str, bytes)):
            self._kept = list(islice(data, batches))
            if not self._kept:
                raise ValueError("data is empty: expected at least one batch to calibrate on")
        else:
            raise TypeError(
                f"data is a {type(data).__name__}: expected a Dataset, a Split or an iterable of batches [T, B, ...]; "
                "wrap a single batch in a list"
            )

    def __iter__(self) -> Iterator[Tensor]:
        if self._split is not None:
            items: Iterable[Any] = (self._split.batch(indices) for indices in self._chosen)
        else:
            items = self._kept
        for number, item in enumerate(items):
            x = item[0] if isinstance(item, (tuple, list)) and item else item
            yield _checked(x, number)


def _spread(available: int, wanted: int) -> Tensor:
    if available == 0:
        raise ValueError("data is empty: expected a split with at least one sample to calibrate on")
    if wanted >= available:
        return torch.arange(available)
    return torch.linspace(0, available - 1, wanted, dtype=torch.float64).round().long()


def _checked(x: Any, number: int) -> Tensor:
    where = f"batch {number} of data"
    if not isinstance(x, Tensor):
        raise TypeError(f"{where} is a {type(x).__name__}: expected inputs [T, B, ...] or (inputs, labels)")
    if x.dim() < 3 or 0 in x.shape:
        raise ValueError(f"{where} has shape {tuple(x.shape)}: expected [T, B, ...] with at least one step and sample")
    if x.dtype == torch.uint8:
        return x.float()
    if not x.is_floating_point():
        raise TypeError(f"{where} has dtype {x.dtype}: expected a float dtype or uint8; convert it with x.float()")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{where} contains NaN or infinity: expected finite values; clean the data first")
    return x
