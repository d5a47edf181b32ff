"""The parts of the slow tests that `.ci/run` takes in turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def collected(*arguments: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/train/test_resume.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):  # 5: nothing collected
        raise ValueError(done.stderr)
    return {line for line in done.stdout.splitlines() if "::" in line}


@pytest.mark.slow  # four collections
def test_the_parts_hold_every_slow_test_once():
    one, other, every = (collected(f"--slow={which}") for which in ("1/2", "2/2", "all"))
    assert one | other == every
    assert one & other < every  # those that are not slow
    assert collected("-m", "slow", "--slow=1/2") == one - other


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match=r"--slow=3/2: expected none, all, or K/N with K from 1 to N"):
        collected("--slow=3/2")
