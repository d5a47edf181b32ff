"""What several files of these tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from squat import IntWeight, ThresholdCentered
from squat.train import FitResult, RunConfig, fit
from synthetic import run_config, spike_data


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path, FitResult]:
    """A run of six epochs, never interrupted: its config, folder and result."""
    specs = {"weights": IntWeight(4, scale="learned"), "states": ThresholdCentered(4)}
    config = run_config(epochs=6, network=specs)
    folder = tmp_path_factory.mktemp("whole")
    return config, folder, fit(config, folder, data=spike_data())
