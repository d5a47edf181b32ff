import doctest
import json
import textwrap
from pathlib import Path

import pytest

from squat.cli import bench as verb

pytest.importorskip("snntorch")
pytest.importorskip("brevitas")
cases, report, run, targets = (verb._benchmarks(name) for name in ("cases", "report", "run", "targets"))


def refused(result, text):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("squat bench: ")
    assert text in result.stderr


def test_a_smoke_run_writes_a_record_a_table_and_a_figure_and_says_what_it_is(squat, tmp_path):
    options = ("--case", "recurrent-4,curve-recurrent-batch", "--quick", "--threads", "1", "--out", tmp_path)
    result = squat("bench", *options, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record == json.loads((tmp_path / "benchmark.json").read_text())
    assert record["smoke_run"] is True
    (case,), (curve,) = record["cases"], record["curves"]
    assert all(case["equal"].values())
    assert set(case["seconds"]) == {"training step", "inference"}
    timed = case["seconds"]["training step"]
    assert set(timed) | set(case["skipped"]) == set(cases.STACKS) - {cases.COPY, cases.EXPORTED_C}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in timed.values())
    assert list(curve["seconds"]) == ["1", "4"]
    assert all(judged["reached"] is None for judged in record["targets"])
    page = (tmp_path / "benchmark.md").read_text()
    assert report.SMOKE in page
    assert "| recurrent-4 | training step |" in page
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(report.FILES)
    refused(squat("bench", *options), "benchmark.json exists: nothing is overwritten without --overwrite")


COARSER = """
    from benchmarks import cases, quantizer

    build, faithful = quantizer.build, quantizer.quantizer


    def check(settings):
        quantizer.quantizer = lambda bits, stack: faithful(bits - (stack == cases.SQUAT), stack)
        return quantizer.check(settings)
"""


def test_stacks_that_do_not_compute_the_same_are_not_reported(squat, tmp_path, monkeypatch):
    (tmp_path / "coarser.py").write_text(textwrap.dedent(COARSER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stacks = (cases.SQUAT, cases.FLOAT)
    case = cases.Case("coarser", "coarser", {"bits": 4, "values": 1000}, stacks, ("forward and backward",))
    monkeypatch.setattr(cases, "CASES", [case])
    out = tmp_path / "out"
    for options in (("--quick",), ()):
        result = squat("bench", "--no-curves", "--out", out, *options)
        refused(result, "coarser: nothing is reported, as an equality test failed: values equal snnTorch's")
    assert not out.exists()


def test_a_worker_that_fails_is_one_line(squat, tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "CASES", [cases.Case("gone", "no_such_family", {}, (cases.SQUAT,), ("nothing",))])
    result = squat("bench", "--quick", "--no-curves", "--out", tmp_path / "out")
    refused(result, "gone: the measuring process failed (check): ModuleNotFoundError: No module named 'no_such_family'")


def test_profile_prints_where_the_time_goes_and_writes_nothing(squat, tmp_path):
    result = squat("bench", "--case", "quantizer-4", "--profile", "--threads", "1", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("quantizer-4\n")
    assert "Self CPU" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--case", "recurent*"], "--case 'recurent*': no such case; expected names or patterns (feedforward*) of"),
        (["--repetitions", "0"], "--repetitions=0: expected an integer >= 1"),
        (["--threads", "0"], "--threads=0: expected an integer from 1 to"),
        (["--threads", "two"], "--threads 'two': expected integers"),
        (["--case", "curve*", "--no-curves"], "--case 'curve*': no such case"),
    ],
)
def test_bad_options_are_one_line(squat, tmp_path, words, text):
    refused(squat("bench", *words, "--out", tmp_path / "out"), text)
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_what_to_install(squat, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    result = squat("bench", "--case", "stream-4", "--out", tmp_path)
    refused(result, "brevitas and snntorch not installed: the cases compare with them; pip install 'squat-snn[dev]'")


def test_without_the_folder_the_verb_says_where_it_looked(squat, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "HOMES", (tmp_path,))
    refused(squat("bench"), f"there is no folder {tmp_path / 'benchmarks'}: install squat from a wheel, or run it from")


def record(name, seconds, memory=None):
    step = "training step"
    kept = {step: {stack: {"added": added} for stack, added in memory.items()}} if memory else {}
    return {"name": name, "seconds": {step: seconds}, "memory": kept}


def test_a_target_is_judged_by_the_median_of_the_ratios_within_each_turn():
    target = targets.Target("ours", "net-*", "theirs", "squat", 3)
    judged = targets.judge(target, [record("net-4", {"squat": [1.0, 2.0, 1.0], "theirs": [2.0, 8.0, 4.0]})])
    assert judged["measured"] == {"median": 4.0, "lowest": 2.0, "highest": 4.0}
    assert judged["reached"] is True
    assert targets.target_cells(judged) == ["ours", "3 times faster", "4.00 (2.00 to 4.00)", "yes"]


def test_the_worst_case_counts_and_a_missed_target_is_shown():
    slow, fast = (record(f"net-{n}", {"squat": [float(n)], "floor": [1.0]}) for n in (2, 1))
    target = targets.Target("loop", "net-*", "squat", "floor", 1.5, at_least=False)
    judged = targets.judge(target, [slow, fast])
    assert (judged["reached"], judged["where"]) == (False, "net-2, training step")
    assert targets.target_cells(judged) == ["loop", "at most 1.5", "2.00", "no"]
    assert targets.judge(target, [slow, fast], smoke_run=True)["reached"] is None


def test_memory_targets_and_cases_that_were_not_run():
    target = targets.Target("memory", "net", "squat", "theirs", 1 / 4, at_least=False, memory=True)
    judged = targets.judge(target, [record("net", {}, {"squat": 2.0, "theirs": 10.0})])
    assert (judged["measured"]["median"], judged["reached"], judged["required"]) == (0.2, True, "at most 1/4")
    cells = targets.target_cells(targets.judge(target, []))
    assert cells == ["memory", "at most 1/4", "not measured", "not judged"]


def test_every_target_names_a_case_stacks_and_a_measure_that_there_are():
    by_name = {case.name: case for case in cases.CASES}
    assert len(by_name) == len(cases.CASES)
    for target in targets.TARGETS:
        matched = [case for name, case in by_name.items() if targets.fnmatch.fnmatchcase(name, target.cases)]
        assert matched, target
        for case in matched:
            assert {target.over, target.under} <= set(case.stacks)
            measures = case.memory if target.memory else case.measures
            assert any(targets.fnmatch.fnmatchcase(measure, target.measure) for measure in measures)


@pytest.mark.parametrize("module", [report, targets], ids=["report", "targets"])
def test_examples(module):
    assert doctest.testmod(module) == (0, doctest.testmod(module).attempted)
    assert doctest.testmod(module).attempted


def test_the_wheel_holds_the_benchmarks_where_the_verb_looks():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"benchmarks" = "squat/{verb.HOMES[0].name}/benchmarks"' in project
