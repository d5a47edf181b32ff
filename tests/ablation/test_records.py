"""Records: which code made them, and old ones without that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ablation_fakes import TOOLS, small_config
from squat.ablation import AblationConfig, Options, run
from squat.ablation.records import Folder, claim_folder, config_in, versions, without_times
from squat.ablation.report import state_of
from squat.ablation.results import Results
from squat.kernels.sources import source_hash

QUIET = Options(progress=False)


def test_the_hash_of_the_source_tells_code_apart(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "inner" / "b.py").write_text("y = 1")
    (tmp_path / "notes.txt").write_text("no code")
    first = source_hash.__wrapped__(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", first)
    (tmp_path / "notes.txt").write_text("still none")
    assert source_hash.__wrapped__(tmp_path) == first
    (tmp_path / "inner" / "b.py").write_text("y = 2")
    second = source_hash.__wrapped__(tmp_path)
    (tmp_path / "inner" / "b.py").rename(tmp_path / "b.py")
    assert len({first, second, source_hash.__wrapped__(tmp_path)}) == 3
    assert versions()["source"] == source_hash()
    one, other = ({"seconds": 1.0, "versions": {"source": name}} for name in (first, second))
    assert without_times(one) != without_times(other)


def test_the_file_of_a_results_folder_holds_its_config(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    config = small_config(seeds=(0,))
    claim_folder(folder, "ablation", config.to_json())
    document = json.loads(folder.config.read_text())
    assert AblationConfig.from_json(config_in(document)) == config
    assert config_in(config.to_json()) == config.to_json()
    with pytest.raises(
        ValueError, match=r"choose another folder, or continue it: squat ablate --config .*ablation.json"
    ):
        claim_folder(folder, "ablation", small_config(seeds=(1,)).to_json())
    for change in ({"kind": "tune"}, {"version": 99}, {"config": None}):
        changed = {key: value for key, value in {**document, **change}.items() if value is not None}
        with pytest.raises(ValueError, match=r"expected an ablation config, or the ablation\.json of an ablation"):
            config_in(changed)


def test_records_without_the_hash_are_continued(tmp_path: Path) -> None:
    config = small_config(seeds=(0,))
    run(config, tmp_path, QUIET, TOOLS)
    paths = sorted((tmp_path / "records").iterdir())
    for path in paths[1:]:
        record = json.loads(path.read_text())
        del record["versions"]["source"]
        path.write_text(json.dumps(record))
    old = {path: path.read_bytes() for path in paths[1:]}
    paths[0].unlink()
    assert run(config, tmp_path, QUIET, TOOLS).complete
    assert {path: path.read_bytes() for path in paths[1:]} == old
    assert "source" in json.loads(paths[0].read_text())["versions"]
    assert len(Results.read(tmp_path).records) == len(paths)


def test_records_of_different_code_are_said(tmp_path: Path) -> None:
    run(small_config(seeds=(0,)), tmp_path, QUIET, TOOLS)
    assert state_of(Results.read(tmp_path)).count("code") == 0
    path, *others = sorted((tmp_path / "records").iterdir())
    record = json.loads(path.read_text())
    record["versions"]["source"] = "0123456789ab"
    path.write_text(json.dumps(record))
    text = state_of(Results.read(tmp_path))
    assert "Different code made them" in text
    assert "1 by 0123456789ab" in text
    assert f"{len(others)} by {source_hash()}" in text
