"""Event lists as input: which input spikes at which time step."""

from __future__ import annotations

from typing import Any

import numpy as np

from squat.checks import check_int


def event_steps(times: Any, units: Any, steps: int, channels: int, signs: Any = None) -> np.ndarray:
    """One sample's events as bytes `[steps, 1, channels]`; several equal events of a unit in a step are one spike.

    With signs the bytes are int8: -1, 0 or 1. A unit that has events of both signs in a step is 0: they cancel.

    Args:
        times: integers `[E]`, the time step of each event, in rising order.
        units: integers `[E]`, its input.
        steps: number of time steps.
        channels: number of inputs.
        signs: 1 or -1 `[E]` for each event, or None where all count 1.

    Raises:
        TypeError: for other than integers.
        ValueError: for lists of different lengths, unsorted times, times or units out of range, and other signs.

    Example:
        >>> event_steps([0, 0, 2], [1, 3, 0], steps=3, channels=4)[:, 0].tolist()
        [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
        >>> event_steps([0, 0, 1, 1], [1, 0, 1, 1], steps=2, channels=2, signs=[-1, 1, 1, -1])[:, 0].tolist()
        [[1, -1], [0, 0]]
    """
    check_int("steps", steps, 1)
    check_int("channels", channels, 1)
    when, where = (_integers(name, values) for name, values in (("times", times), ("units", units)))
    if len(when) != len(where):
        raise ValueError(f"units: {len(where)} entries for {len(when)} times, expected one for each event")
    falls = np.flatnonzero(np.diff(when) < 0)
    if len(falls):
        raise ValueError(f"times: {when[falls[0] + 1]} after {when[falls[0]]} at event {falls[0] + 1}; sort the events")
    for name, values, limit in (("times", when, steps), ("units", where, channels)):
        outside = np.flatnonzero((values < 0) | (values >= limit))
        if len(outside):
            raise ValueError(f"{name}: {values[outside[0]]} at event {outside[0]}, expected 0 to {limit - 1}")
    if signs is None:
        return _spikes(when, where, steps, channels)
    sign = _integers("signs", signs)
    if len(sign) != len(when):
        raise ValueError(f"signs: {len(sign)} entries for {len(when)} times, expected one for each event")
    other = np.flatnonzero(np.abs(sign) != 1)
    if len(other):
        raise ValueError(f"signs: {sign[other[0]]} at event {other[0]}, expected 1 or -1")
    up, down = (_spikes(when[sign == kind], where[sign == kind], steps, channels) for kind in (1, -1))
    return up.view(np.int8) - down.view(np.int8)


def _spikes(when: np.ndarray, where: np.ndarray, steps: int, channels: int) -> np.ndarray:
    out = np.zeros((steps, 1, channels), np.uint8)
    out[when, 0, where] = 1
    return out


def _integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name}: {array.dtype} of shape {array.shape}, expected a list of integers")
    return array.astype(np.int64)
