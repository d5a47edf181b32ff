"""The whole chain with squat's own training, calibration and files, on a tiny data set of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squat.ablation import AblationConfig, Options, Results, report, run
from squat.ablation.records import Folder, read_records, without_times
from squat.models.config import NetworkConfig
from squat.train.config import DataConfig, RunConfig, TrainConfig

QUIET = Options(progress=False)


def tiny(tmp_path: Path) -> AblationConfig:
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    rates = np.where(label[:, None, None] == 0, [0.6, 0.6, 0.1, 0.1], [0.1, 0.1, 0.6, 0.6])
    x = (rng.random((200, 8, 4)) < rates).astype(np.uint8)
    np.savez(tmp_path / "tiny.npz", x=x, label=label)
    base = RunConfig(
        DataConfig(str(tmp_path / "tiny.npz")),
        NetworkConfig("feedforward", inputs=4, hidden=(12,), classes=2, input_gain=3.0),
        TrainConfig(epochs=3, batch_size=16, learning_rate=2e-2),
    )
    cells = ("float", "state-ptq", "squat+weight-ptq", "qat+squat")
    return AblationConfig("tiny", base, cells, ("anchored",), seeds=(0,), calibration_samples=32)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[AblationConfig, Path]:
    path = tmp_path_factory.mktemp("tiny")
    config = tiny(path)
    summary = run(config, path / "results", QUIET)
    assert summary.complete, summary.message
    return config, path / "results"


def test_records_of_real_runs(done: tuple[AblationConfig, Path]) -> None:
    _, folder = done
    records = {record["cell"]: record for record in read_records(Folder(folder)).values()}
    assert set(records) == {"float", "squat", "state-ptq", "squat+weight-ptq", "qat+squat"}
    for record in records.values():
        assert record["size"] == {"weights": 4 * 12 + 12 * 2, "states": 12}
        assert len(record["test"]["predictions"]) == 40
    assert len(records["float"]["history"]) == 3
    assert records["float"]["test"]["accuracy"] > 0.7
    assert set(records["state-ptq"]["state_ranges"]) == {"published", "calibrated"}
    assert records["squat+weight-ptq"]["state_range"] is None
    assert not list((folder / "work").iterdir())


def test_the_saved_network_is_the_one_in_the_record(done: tuple[AblationConfig, Path]) -> None:
    from squat.ablation.tools import default_tools

    config, folder = done
    tools, data = default_tools(), None
    data = tools.load_data(config.base.data)
    for name, record in read_records(Folder(folder)).items():
        network = tools.load(folder / "networks" / f"{name}.safetensors")
        found = tools.evaluate(network, data.test, 256, 1)
        assert found.predictions == record["test"]["predictions"], name


def test_a_second_run_elsewhere_gives_the_same(done: tuple[AblationConfig, Path], tmp_path: Path) -> None:
    config, folder = done
    run(config, tmp_path, QUIET)
    assert without_times(read_records(Folder(tmp_path))) == without_times(read_records(Folder(folder)))


def test_report_with_a_membrane_trace(done: tuple[AblationConfig, Path], tmp_path: Path) -> None:
    _, folder = done
    text = report(folder, tmp_path).read_text()
    assert "![Membrane of a hidden neuron on its levels, one validation sample.](membrane.png)" in text
    assert (tmp_path / "membrane.png").stat().st_size > 10_000


def test_trace_lives_on_the_levels(done: tuple[AblationConfig, Path]) -> None:
    import torch

    from squat.ablation.tools import default_tools
    from squat.ablation.trace import traces

    config, folder = done
    tools = default_tools()
    sample = tools.load_data(config.base.data).validation.batch(torch.tensor([0]))[0]
    found = traces(Results.read(folder), sample, tools.load)
    assert [trace.label for trace in found] == ["qat+squat, anchored, 4-bit states", "float"]
    levels = found[0].levels
    assert levels is not None
    assert set(found[0].membrane) <= set(levels)
    assert found[1].levels is None


def test_an_ablation_without_the_float_cell_is_reported(done: tuple[AblationConfig, Path], tmp_path: Path) -> None:
    config = replace(done[0], cells=("qat+squat",))
    assert run(config, tmp_path / "results", QUIET).complete
    assert "qat+squat" in report(tmp_path / "results").read_text(encoding="utf-8")
