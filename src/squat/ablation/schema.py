"""What the documents of a results folder must hold, so that a report never meets half of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Check = Callable[[Any], bool]


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_count(value: Any, low: int = 0) -> bool:
    return isinstance(value, int) and _is_number(value, low, 2**53)


def _is_share(value: Any) -> bool:
    return _is_number(value, 0, 1)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_labels(value: Any) -> bool:
    return isinstance(value, list) and all(_is_count(label) for label in value)


def _dict_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


EVALUATION: dict[str, Check] = {
    "accuracy": _is_share,
    "tied_share": _is_share,
    "predictions": _is_labels,
    "spike_rates": _dict_of(_is_number),
}
RECORD: dict[str, Check] = {"id": _is_text, "cell": _is_text, "seconds": lambda value: _is_number(value, 0, 1e12)}
DATA: dict[str, Check] = {
    "name": _is_text,
    "classes": lambda value: _is_count(value, 1),
    "steps": lambda value: _is_count(value, 1),
    "samples": _dict_of(_is_count),
    "test_labels": lambda value: _is_labels(value) or _dict_of(_is_labels)(value),
}


def check_data(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """`found` if it says what `data.json` must: name, classes, steps, samples of each part, labels of the test part.

    Raises:
        ValueError: naming file and key.
    """
    return _checked(path, "", found, DATA)


def check_record(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """`found` if it is the record of a run: of one that failed, or with its evaluations and size.

    Raises:
        ValueError: naming file and key.
    """
    _checked(path, "", found, RECORD)
    if found.get("status") == "failed":
        return _checked(path, "", found, {"error": _is_text})
    _checked(path, "", found, {"status": lambda status: status == "ok", "size": lambda size: isinstance(size, dict)})
    _checked(path, "size.", found["size"], {"weights": _is_count, "states": _is_count})
    for part in ("validation", "test"):
        evaluation = found.get(part)
        if part == "test" and evaluation is None:  # the runs of a search do not read it
            continue
        if not isinstance(evaluation, dict):
            raise _damaged(path, part, evaluation)
        _checked(path, f"{part}.", evaluation, EVALUATION)
    return found


def _checked(path: Path, where: str, found: dict[str, Any], checks: dict[str, Check]) -> dict[str, Any]:
    for key, check in checks.items():
        if not check(found.get(key)):
            raise _damaged(path, where + key, found.get(key))
    return found


def _damaged(path: Path, key: str, value: Any) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
    return ValueError(f"{path}: damaged, {key}={shown} is not what `squat ablate` writes; delete it to run it again")
