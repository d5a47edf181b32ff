"""The report: tables with the right numbers, figures that are there, refusals."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from ablation_fakes import TOOLS, small_config
from squat.ablation import Options, report, run
from squat.ablation.plots import accuracy_by_bits
from squat.ablation.presets import ALL_CELLS
from squat.ablation.results import Results
from squat.ablation.tables import summarise, to_csv
from squat.ablation.tools import bytes_of

QUIET = Options(progress=False)
CORNER = ("qat+squat", "uniform")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    run(small_config(cells=ALL_CELLS, schemes=("uniform", "threshold_centered", "anchored")), path, QUIET, TOOLS)
    shutil.rmtree(path / "networks")  # the stand-ins' networks are no files of squat
    return path


def test_report_writes_tables_and_figures(folder: Path, tmp_path: Path) -> None:
    path = report(folder, tmp_path / "out", formats=("png", "svg"))
    names = {file.name for file in path.parent.iterdir()}
    figures = {f"{name}.{end}" for name in ("accuracy_cells", "accuracy_bytes", "levels") for end in ("png", "svg")}
    assert names == {"results.md", "results.csv", "results.tex"} | figures
    text = path.read_text()
    assert "63 of 63 runs finished." in text
    assert "| QAT | " in text
    assert "| claim | first | against |" in text
    assert "![Level placement of the schemes.](levels.png)" in text
    assert str(folder) not in text
    latex = (path.parent / "results.tex").read_text()
    assert latex.count(r"\begin{tabular}") == 2
    assert r"threshold\_centered" in latex


def test_numbers_of_the_tables(folder: Path) -> None:
    results = Results.read(folder)
    rows = {(row.cell, row.at.scheme): row for row in summarise(results)}
    row = rows["qat+squat", "uniform"]
    runs = [r for r in results.records.values() if (r["cell"], r["scheme"]) == ("qat+squat", "uniform")]
    accuracies = [100 * record["test"]["accuracy"] for record in runs]
    mean = sum(accuracies) / 3
    assert row.mean == pytest.approx(mean)
    assert row.spread == pytest.approx((sum((a - mean) ** 2 for a in accuracies) / 2) ** 0.5)
    assert row.seeds == (0, 1, 2)
    assert row.bytes == 100 * 4 / 8 + 10 * 4 / 8
    assert rows["float", None].bytes == 110 * 4
    assert rows["state-ptq", "uniform"].state_ranges == ("calibrated",) * 3
    lines = list(csv.DictReader(to_csv("small", rows.values()).splitlines()))
    assert len(lines) == len(rows) == 1 + 1 + 1 + 6 * 3
    assert float(next(line for line in lines if line["cell"] == "float")["test_mean"]) == pytest.approx(
        rows["float", None].mean, abs=1e-3
    )


def test_bytes_at_real_bit_widths() -> None:
    size = {"weights": 1000, "states": 128}
    assert bytes_of(size, None, None) == 4512
    assert bytes_of(size, 2, 4) == 250 + 64


def test_an_unfinished_ablation_is_reported(tmp_path: Path) -> None:
    (tmp_path / "break.txt").write_text("squat.uniform")
    run(small_config(seeds=(0,)), tmp_path, QUIET, TOOLS)
    shutil.rmtree(tmp_path / "networks")
    for path in (tmp_path / "records").glob("qat+squat*"):
        path.unlink()
    text = report(tmp_path).read_text()
    assert "So few seeds (1) decide nothing" in text
    assert "## Failed runs" in text
    assert "RuntimeError: no convergence in FOLDER/work/squat.uniform" in text
    assert "undecided (no pair of finished runs)" in text
    assert "| undefined |" in text  # the t interval over one seed


def test_several_data_sets_and_a_secondary_beta(folder: Path, tmp_path: Path) -> None:
    config = small_config(name="other", cells=ALL_CELLS, seeds=(0, 1, 2))
    run(config, tmp_path / "other", QUIET, TOOLS)
    shutil.rmtree(tmp_path / "other" / "networks")
    text = report(folder, tmp_path / "out", more=[tmp_path / "other"], secondary=folder).read_text()
    assert "### Claim (4): on all data sets" in text
    beta = text.split("### With a beta per scheme and bits")[1].split("###")[0]
    assert "verdicts that can be compared are the same." in beta
    assert "squat threshold_centered against squat uniform, s4, other: not run" in beta
    assert ", small: " not in beta
    with pytest.raises(ValueError, match=r"holds 'other'; expected the same ablation as \['small'\]"):
        report(folder, tmp_path / "out", secondary=tmp_path / "other")
    assert (tmp_path / "out" / "levels_other.png").exists()
    lines = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert {line["experiment"] for line in lines} == {"small", "other"}


def test_accuracy_against_bits_where_there_are_several(tmp_path: Path) -> None:
    run(small_config(seeds=(0,), bits=((4, 4), (8, 8), (4, 2))), tmp_path, QUIET, TOOLS)
    shutil.rmtree(tmp_path / "networks")
    text = report(tmp_path).read_text()
    assert "![Mean test accuracy against bit widths; dashed: float.](accuracy_bits.png)" in text
    assert (tmp_path / "accuracy_bits.png").exists()
    results = Results.read(tmp_path)
    rows = list(summarise(results))
    axis = accuracy_by_bits(rows, results.config.schemes, results.config.pairs).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["8", "4", "w4 s2"]
    dashed = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [next(row.mean for row in rows if row.cell == "float")]
    assert len(axis.lines) == len({(row.cell, row.at.scheme) for row in rows})
    bits = {(row.at.weight_bits, row.at.state_bits): row.mean for row in rows if (row.cell, row.at.scheme) == CORNER}
    expected = [bits[pair] for pair in ((8, 8), (4, 4), (4, 2))]
    assert any(list(line.get_ydata()) == expected for line in axis.lines)


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"ablation.json: no such file; is the folder a results folder of `squat ablate`"
    ):
        report(tmp_path)
    with pytest.raises(ValueError, match="formats: 'jpeg' is unknown; expected some of png, svg, pdf"):
        report(folder, tmp_path, formats=("jpeg",))
    with pytest.raises(ValueError, match="expected a different experiment name in each"):
        report(folder, tmp_path, more=[folder])
