from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from squat.cli import app


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's file that a few neurons learn: 3 classes of 60 samples, each with its own channels."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    rate = np.where(np.arange(9) // 3 == label[:, None, None], 0.6, 0.05)
    path = tmp_path_factory.mktemp("data") / "mine.npz"
    np.savez(path, x=(rng.random((60, 10, 9)) < rate).astype(np.uint8), label=label)
    return path


@pytest.fixture(scope="session")
def squat() -> Callable[..., object]:
    """`squat("train", "--out", folder)` runs a verb in this process; the result has exit_code, stdout and stderr."""
    runner = CliRunner()

    def call(*words: object) -> object:
        return runner.invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="session")
def trained(own_data: Path, squat: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `squat train` wrote."""
    folder = tmp_path_factory.mktemp("run") / "own"
    options = ("--recurrent", "--hidden", "8", "--epochs", "2", "--batch-size", "16", "--learning-rate", "0.02")
    result = squat("train", "--data", own_data, *options, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder
