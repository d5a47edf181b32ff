"""Argument checks with one shape of message: the argument, what came, what is accepted, the way out."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Collection
from typing import Any

LARGEST_COUNT = 2**31 - 1
"""Largest number of samples, steps or epochs that is taken seriously."""


def _message(name: str, value: Any, accepted: str, remedy: str) -> str:
    shown = repr(value)
    if len(shown) > 80 or "\n" in shown:  # a tensor, say
        shown = f"<{type(value).__name__}>"
    return f"{name}={shown}: expected {accepted}" + (f"; {remedy}" if remedy else "")


def check_dense(name: str, value: Any) -> None:
    """Refuse a sparse tensor of torch, in whose place a dense one is expected; anything else passes."""
    layout = getattr(value, "layout", None)
    if layout is not None and str(layout) != "torch.strided":
        raise ValueError(f"{name}: a tensor of layout {layout}, expected a dense one; use {name}.to_dense()")


def check_int(name: str, value: Any, low: int, high: int | None = None, remedy: str = "") -> int:
    """`value` as an int in `low .. high` (no upper end if None), else TypeError or ValueError."""
    accepted = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(_message(name, value, accepted, remedy))
    if value < low or (high is not None and value > high):
        raise ValueError(_message(name, value, accepted, remedy))
    return value


def check_input_range(input_max: Any, input_min: Any) -> tuple[int, int]:
    """Largest and smallest integer input, with 0 between them: silence, and what images are padded with."""
    remedy = "-1 for spikes of -1, 0 and 1, 0 where no input is negative"
    return check_int("input_max", input_max, 1), check_int("input_min", input_min, -(2**31), 0, remedy)


def check_real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    remedy: str = "",
) -> float:
    """`value` as a finite float in `[low, high]` (`(low, high]` with `open_low`), else TypeError or ValueError."""
    if low == -math.inf and high == math.inf:
        accepted = "a finite number"
    else:
        accepted = f"a finite number in {'(' if open_low else '['}{low:g}, {high:g}]"
        if high == math.inf:
            accepted = f"a finite number {'>' if open_low else '>='} {low:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(_message(name, value, accepted, remedy))
    if not math.isfinite(value) or value < low or value > high or (open_low and value == low):
        raise ValueError(_message(name, value, accepted, remedy))
    return float(value)


def check_choice(name: str, value: Any, choices: Collection[Any], remedy: str = "") -> Any:
    """`value` if it is one of `choices`, else ValueError."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(_message(name, value, f"one of {listed}", remedy))
    return value


def check_type(name: str, value: Any, types: type | tuple[type, ...], accepted: str, remedy: str = "") -> Any:
    """`value` if it is an instance of `types`, else TypeError."""
    if not isinstance(value, types):
        raise TypeError(_message(name, value, accepted, remedy))
    return value


def check_memory(what: str, needed: int, remedy: str) -> None:
    """Refuse what needs more bytes than this machine has, before any are asked for: ValueError."""
    available = _memory()
    if available is not None and needed > available:
        raise ValueError(
            f"{what}: needs {gigabytes(needed)} of memory, this machine has {gigabytes(available)}; {remedy}"
        )


def gigabytes(count: int) -> str:
    """Bytes in words."""
    return f"{min(count, 10**300) / 1e9:.3g} GB"


@functools.cache
def _memory() -> int | None:
    """Bytes of memory of this machine, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
