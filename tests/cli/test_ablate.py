import json
from dataclasses import replace

import pytest

from squat.ablation import preset
from squat.cli.ablate import _committed_columns


@pytest.fixture(scope="module")
def results(squat, own_data, tmp_path_factory):
    """A finished ablation of 3 runs, and what the command printed."""
    folder = tmp_path_factory.mktemp("ablation") / "results"
    options = ("--cells", "float,ptq,qat+squat", "--schemes", "uniform", "--seeds", "1", "--epochs", "1")
    words = ("ablate", "--data", own_data, *options, "--bits", "4", "--folder", folder, "--jobs", 1)
    result = squat(*words)
    assert result.exit_code == 0, result.output
    return folder, words, result


def test_ablate_ends_in_a_table_verdicts_and_figures(results):
    folder, _, result = results
    assert "demo-mine: test accuracy" in result.stdout
    assert "qat+squat" in result.stdout
    assert "3 of 3 runs done" in result.stdout
    assert "This is a demonstration: its preset seeds and epochs are too few to decide anything." in result.stdout
    assert f"report: {folder / 'results.md'}" in result.stdout
    assert f"figure: {folder / 'levels.png'}" in result.stdout
    assert (folder / "levels.png").is_file()


def test_ablate_again_changes_nothing_and_gives_json(squat, results):
    folder, words, _ = results
    before = {path.name: path.read_bytes() for path in (folder / "records").iterdir()}
    result = squat(*words, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {row["cell"] for row in document["results"]} == {"float", "ptq", "qat+squat"}
    assert [row["experiment"] for row in document["results"]] == ["demo-mine"] * 3
    assert document["verdicts"] == []  # neither of these cells has its rival here
    assert {path.name: path.read_bytes() for path in (folder / "records").iterdir()} == before


def test_ablate_refuses_the_folder_of_another_experiment(squat, results):
    _, words, _ = results
    result = squat(*words, "--epochs", "2")
    assert result.exit_code == 2
    assert "holds the results of another experiment" in result.stderr


def test_ablate_takes_a_config_file(squat, results, tmp_path):
    folder, _, _ = results
    config = json.loads((folder / "ablation.json").read_text())["config"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    result = squat("ablate", "--config", path, "--folder", folder, "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert "3 of 3 runs done" in result.stdout
    assert "This is a demonstration" not in result.stdout


def test_report_shows_a_folder(squat, results, tmp_path):
    folder, _, _ = results
    result = squat("report", folder, "--out", tmp_path, "--formats", "svg")
    assert result.exit_code == 0, result.output
    assert f"report: {tmp_path / 'results.md'}" in result.stdout
    assert f"figure: {tmp_path / 'levels.svg'}" in result.stdout
    assert json.loads(squat("report", folder, "--out", tmp_path, "--json").stdout)["report"] == str(
        tmp_path / "results.md"
    )
    result = squat("report", folder, "--formats", "bmp")
    assert result.exit_code == 2
    assert "formats: 'bmp' is unknown" in result.stderr
    result = squat("report", tmp_path)
    assert result.exit_code == 2
    assert "no such file; is the folder a results folder of `squat ablate`?" in result.stderr


def test_the_demo_without_arguments_is_the_preset(squat, monkeypatch, tmp_path):
    import squat.ablation as ablation

    seen = {}

    def stop(config, folder, options):
        seen.update(config=config, folder=folder, options=options)
        raise ValueError("enough")

    monkeypatch.setattr(ablation, "run", stop)
    monkeypatch.chdir(tmp_path)
    result = squat("ablate")
    assert result.exit_code == 2
    note = result.stderr.splitlines()[0]
    assert note.startswith("This is a demonstration: its preset seeds and epochs are too few to decide anything.")
    assert "2 seeds" not in note  # --seeds may say otherwise
    assert "docs/results" not in note  # printed only where results are committed
    assert seen["config"] == preset("demo")
    assert str(seen["folder"]) == "squat-results/demo"
    assert seen["options"] == ablation.Options(n_jobs=-1)
    squat("ablate", "--preset", "digits", "--seeds", "4,7", "--bits", "8,4x2", "--jobs", "2", "--budget", "100m")
    assert seen["config"] == replace(preset("digits"), seeds=(4, 7), bits=((8, 8), (4, 2)))
    assert seen["options"] == ablation.Options(n_jobs=2, budget="100m")


def test_failed_runs_end_in_exit_code_1(squat, monkeypatch, results):
    import squat.ablation as ablation

    _, words, _ = results
    summary = ablation.Summary(3, (("qat seed 0", "ValueError: loss"),), ())
    monkeypatch.setattr(ablation, "run", lambda *_: summary)
    result = squat(*words)
    assert result.exit_code == 1
    assert "2 of 3 runs done, 1 failed (first: qat seed 0: ValueError: loss)" in result.stdout


def test_committed_results_stand_beside_the_demo(tmp_path):
    header = "experiment,cell,scheme,weight_bits,state_bits,test_mean,test_std,seeds"
    lines = [header, "digits,float,,,,81.5,0.5,3", "digits,qat+squat,uniform,4,4,77.25,,3"]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    columns = _committed_columns([tmp_path / "results.md"])
    expected = {("float", "-", "float", "float"): "81.50 ± 0.50", ("qat+squat", "uniform", "4", "4"): "77.25"}
    assert columns == {"digits, full (3 seeds)": expected}
