"""A hostile suite: seeded, with uninitialised memory full of NaN, and every skip with its reason."""

from __future__ import annotations

import os
import random
import resource
import zlib
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, by the first test of the GPU backend

collect_ignore = ["ops/compile_for_gpu.py"]  # a script, which imports Triton

# Without a deadline: the first call of a compiled loop takes seconds. In CI the same examples every time.
hypothesis.settings.register_profile("squat", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("squat")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--slow`: which of the tests marked `slow` run."""
    parser.addoption(
        "--slow", default="none", metavar="none|all|K/N", help="slow tests to run: none, all, or the K-th part of N"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves slow tests out unless asked for, and skips, with the reason, what this machine cannot do or must not."""
    slow = config.option.slow
    if slow == "none" and "slow" in config.option.markexpr:
        slow = "all"  # pytest -m slow
    left = [item for item in items if item.get_closest_marker("slow") and not _wanted(slow, item.nodeid)]
    if out := set(left):
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=left)
    lacking = {
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
        "network": None if os.environ.get("SQUAT_NETWORK") == "1" else "downloads; set SQUAT_NETWORK=1 to run it",
    }
    for item in items:
        for marker, reason in lacking.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _wanted(slow: str, name: str) -> bool:
    """Whether a slow test runs. Its part of N follows from its name, so that it is the same on every machine."""
    if slow in ("none", "all"):
        return slow == "all"
    part, _, parts = slow.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--slow={slow}: expected none, all, or K/N with K from 1 to N, such as 1/4")
    return zlib.crc32(name.encode()) % int(parts) == int(part) - 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was left out, and what the run cost, since the time by the clock depends on what else the machine does."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(one.ru_utime + one.ru_stime for one in used)
    if config.option.slow != "all" and "slow" not in config.option.markexpr:
        terminalreporter.write_line("slow tests were left out; --slow=all runs them too")
    terminalreporter.write_line(f"processor time: {seconds:.0f} s ({seconds / 60:.1f} minutes)")


# Tensors in tests are small: threads would only wait for each other. What depends on their number sets it itself.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same global random states and leaves torch's switches as they were."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - guards against library code that reads the global state
    torch.manual_seed(0)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    torch.set_default_dtype(dtype)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _poisoned(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @wraps(make)
    def wrapper(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = make(*args, **kwargs)
        if tensor.device.type == "meta":
            return tensor
        with torch.no_grad():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.fill_(float("nan"))
            elif tensor.dtype != torch.bool:
                tensor.fill_(torch.iinfo(tensor.dtype).max)
        return tensor

    return wrapper


@pytest.fixture(autouse=True)
def _nan_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.empty` and its kin give NaN (integers: their maximum), so a loop that forgets to write a value fails."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, _poisoned(getattr(owner, name)))


@pytest.fixture
def rng() -> torch.Generator:
    """A seeded generator of the test's own."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """`data_file("folder/name")`: the path below SQUAT_DATA, or a skip that says what is missing."""

    def find(name: str) -> Path:
        root = os.environ.get("SQUAT_DATA")
        if not root:
            pytest.skip(f"needs {name}: set SQUAT_DATA to the folder that holds it")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"needs {name}, which SQUAT_DATA={root} does not hold")
        return path

    return find
