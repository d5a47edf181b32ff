"""Choosing beta and learning rates on validation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, report, tune
from squat.ablation.tools import Tools

QUIET = Options(progress=False)


def tools_with_an_optimum(read: list[str]) -> Tools:
    """Best: beta 0.8; learning rate 3e-3 for float, 1e-3 where weights or states are quantized."""

    def fit(config: Any, folder: Path, **_: Any) -> Any:
        best = 3e-3 if config.network.weights is None and config.network.states is None else 1e-3
        right = 30 - 5 * (config.network.beta != 0.8) - 5 * (config.train.learning_rate != best)
        return SimpleNamespace(network={"right": right}, history=[], seconds=0.0)

    def evaluate(network: Any, split: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(split.name)
        return TOOLS.evaluate(network, split, *args, **kwargs)

    return Tools(TOOLS.load_data, fit, evaluate, TOOLS.calibrate, TOOLS.measure, TOOLS.save, TOOLS.load)


def test_finds_the_optimum_on_validation_only(tmp_path: Path) -> None:
    read: list[str] = []
    config = small_config(cells=("float", "qat", "squat", "qat+squat"), seeds=(0,))
    tuned = tune(
        config, tmp_path, (1e-3, 3e-3, 1e-2), betas=(0.9, 0.8), options=QUIET, tools=tools_with_an_optimum(read)
    )
    assert tuned is not None
    assert tuned.beta == 0.8
    assert tuned.learning_rates == {"float": 3e-3, "qat": 1e-3, "squat": 1e-3, "qat+squat": 1e-3}
    assert set(read) == {"validation"}
    assert len(tuned.table) == 2 * 3 + 3 * 3
    runs = {row["cell"]: row["runs"] for row in tuned.table}
    assert runs == {"float": 1, "qat": 1, "squat": 2, "qat+squat": 2}  # the mean over both schemes
    assert json.loads((tmp_path / "tuned.json").read_text())["beta"] == 0.8
    applied = tuned.apply(config)
    assert applied.base.network.beta == 0.8
    assert applied.learning_rates == tuned.learning_rates

    count = len(read)
    assert tune(config, tmp_path, (1e-3, 3e-3, 1e-2), (0.9, 0.8), QUIET, tools_with_an_optimum(read)) == tuned
    assert len(read) == count  # everything was there
    with pytest.raises(ValueError, match=r"another experiment \(differs in learning_rate_grid\)"):
        tune(config, tmp_path, (1e-3,), (0.9, 0.8), QUIET, TOOLS)
    with pytest.raises(ValueError, match="holds a 'tune', not an ablation; nothing to report"):
        report(tmp_path)


def test_ends_early(tmp_path: Path) -> None:
    config = small_config(cells=("float", "qat"), seeds=(0,))
    with pytest.raises(ValueError, match="learning_rates: expected at least one value to try"):
        tune(config, tmp_path, ())
    (tmp_path / "slow.txt").write_text("0.6")
    assert tune(config, tmp_path, (1e-3, 1e-2, 1e-1), options=Options(budget="1s", progress=False), tools=TOOLS) is None
    (tmp_path / "slow.txt").unlink()
    (tmp_path / "break.txt").write_text("qat")
    with pytest.raises(ValueError, match=r"tune: .* failed .first: qat w4 seed 0: RuntimeError: no convergence"):
        tune(config, tmp_path, (1e-3, 1e-2, 1e-1), options=QUIET, tools=TOOLS)
