"""Seeds that are folds: each replicate has data of its own, and is judged by its own labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation_fakes import TOOLS, load_data, small_config
from squat.ablation import AblationConfig, Options, Results, run
from squat.ablation.grid import Coordinates, expand
from squat.ablation.presets import preset
from squat.ablation.verdicts import verdicts
from squat.train import DataConfig

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def load_fold(config: Any) -> Any:
    """Fake data whose labels turn with the fold."""
    data = load_data(config)
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        split.labels = (split.labels + config.arguments["fold"]) % 4
    return data


def test_every_seed_has_its_fold() -> None:
    config = small_config(seed_option="fold")
    jobs = [job for group in expand(config) for job in group.jobs]
    assert all(job.run.data == DataConfig("fake", {"fold": job.seed}) for job in jobs)
    assert {job.seed for job in jobs} == {0, 1, 2}
    assert AblationConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_records_are_judged_by_the_labels_of_their_fold(tmp_path: Path) -> None:
    config = small_config(seed_option="fold")
    tools = TOOLS.__class__(**{**TOOLS.__dict__, "load_data": load_fold})
    assert run(config, tmp_path, Options(progress=False), tools).complete
    results = Results.read(tmp_path)
    assert [results.test_labels(seed)[0] for seed in (0, 1, 2)] == [0, 1, 2]
    at = Coordinates(None, None, None)
    found = results.correct("float", at, [0, 1, 2])
    accuracies = [record["test"]["accuracy"] for record in results.runs("float", at).values()]
    np.testing.assert_allclose(found.mean(1), accuracies)
    assert len(verdicts([results])) > 0


def test_the_preset_of_folds() -> None:
    config = preset("nmnist")
    assert (config.seeds, config.seed_option, config.pairs) == ((0, 1, 2, 3, 4), "fold", ((4, 4), (2, 2)))
    arguments = [config.data(seed).arguments for seed in config.seeds]
    assert arguments == [{"steps": 20, "height": 17, "layout": "image", "fold": fold} for fold in range(5)]


def test_refusals() -> None:
    with pytest.raises(TypeError, match="seed_option=3: expected the name of an option of the data, or None"):
        small_config(seed_option=3)
    config = preset("nmnist")
    fixed = config.base.__class__(config.data(2), config.base.network, config.base.train)
    with pytest.raises(ValueError, match=r"seed_option='fold': base.data fixes this option already"):
        AblationConfig("fixed", fixed, config.cells, config.schemes, seed_option="fold")


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_committed_records_keep_their_ids(name: str) -> None:
    """New fields of configs may not rename what has been run."""
    folder = RESULTS / name
    if not folder.is_dir():
        pytest.skip("needs docs/results, which only the source tree has")
    config = AblationConfig.from_json(json.loads((folder / "ablation.json").read_text())["config"])
    assert config.to_json() == json.loads((folder / "ablation.json").read_text())["config"]
    jobs = {job.id for group in expand(config) for job in group.jobs}
    assert jobs == {path.stem for path in (folder / "records").glob("*.json")}
    results = Results.read(folder)
    assert (results.test_labels(1) == results.test_labels(0)).all()
