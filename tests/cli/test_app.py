import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squat.data import DATASETS

VERBS = ("train", "ablate", "report", "calibrate", "run", "check", "lower", "inspect", "bench", "data")


def _refused(result, text):
    """Bad input: exit code 2, nothing on stdout, one line on stderr that starts with the command."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("squat")
    assert text in result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(squat, verb):
    result = squat(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: squat {verb}" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_help_lists_the_verbs(squat):
    result = squat("--help")
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in VERBS)


def test_version(squat):
    import squat as package

    assert squat("--version").stdout == f"squat {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing option '--out'"),
        (["train", "--out", "x", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["run"], "Missing argument 'NET'"),
        (["ablate", "--nonsense"], "No such option: --nonsense"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_usage_errors_are_one_line(squat, words, text):
    result = squat(*words)
    _refused(result, text)
    assert result.stderr.rstrip().endswith("--help)")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["data", "nope"], "data 'nope': expected one of spoken_digits"),
        (["data", "gone.npz"], "gone.npz"),
        (["data", "spoken_digits", "--data-option", "steps"], "--data-option 'steps': expected KEY=VALUE"),
        (["data", "spoken_digits", "--data-option", "speed=3"], "has no option speed"),
        (["run", "gone.safetensors"], "gone.safetensors: no such file"),
        (
            ["run", "gone.safetensors", "--split", "half"],
            "--split='half': expected one of 'train', 'validation', 'test', 'all'",
        ),
        (["run", "x", "--predictions", "p.txt"], "--predictions ending='.txt': expected one of '.csv', '.json', "),
        (["calibrate", "gone", "--out", "y", "--weights", "4"], "gone: no such file"),
        (["calibrate", "gone", "--out", "y", "--weights", "9"], "bits=9: expected an integer from 2 to 8"),
        (["calibrate", "gone", "--out", "y", "--states", "uniform"], "--states 'uniform': expected NAME:BITS"),
        (["train", "--out", "x", "--weights", "four"], "--weights 'four': expected BITS"),
        (
            ["train", "--out", "x", "--states", "uniform:4,lower=1"],
            "Uniform has no 'lower'; expected one of lower_limit",
        ),
        (["train", "--out", "x", "--hidden", "12x"], "--hidden '12x': expected integers separated by commas"),
        (["train", "--out", "x", "--beta", "1.5"], "beta=1.5"),
        (["train", "--out", "x", "--recurrent", "--conv"], "--recurrent and --conv: expected one of them"),
        (["train", "--out", "x", "--config", "gone.json"], "gone.json: no such file"),
        (["ablate", "--preset", "all"], "preset='all': expected one of 'demo', 'digits',"),
        (["ablate", "--cells", "qat,sqat"], "cell='sqat': expected one of"),
        (["ablate", "--schemes", "round"], "scheme='round': expected one of"),
        (["ablate", "--bits", "4x"], "--bits '4x': expected bits such as 4,2"),
        (["ablate", "--bits", "1"], "weight bits=1: expected an integer from 2 to 8"),
        (["ablate", "--seeds", "0"], "--seeds '0': expected their number, 1 to 1000"),
        (["ablate", "--seeds", "-1"], "--seeds '-1': expected their number"),
        (["ablate", "--seeds", "20261128"], "--seeds '20261128': expected their number, 1 to 1000"),
        (["ablate", "--seeds", "one"], "--seeds 'one': expected their number, 1 to 1000, for example 3, or"),
        (["ablate", "--budget", "soon"], "budget='soon': expected a time"),
        (["ablate", "--jobs", "0"], "n_jobs=0: expected an integer >= 1"),
        (["ablate", "--config", "gone.json"], "gone.json: no such file"),
        (["report", "gone"], "gone: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(squat, words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _refused(squat(*words), text)
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback_wherever_it_stands(squat):
    for words in (["--debug", "data", "nope"], ["data", "nope", "--debug"]):
        result = squat(*words)
        assert isinstance(result.exception, ValueError)


def test_a_bug_is_not_dressed_up_as_bad_input(squat, monkeypatch):
    from squat import data

    def broken():
        raise RuntimeError("a bug")

    monkeypatch.setattr(data, "catalogue", broken)
    assert isinstance(squat("data").exception, RuntimeError)


@pytest.mark.parametrize("content", ["{", '{"speed": 1}', "[1]"])
def test_a_damaged_config_is_refused(squat, tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    for words in (["train", "--out", tmp_path / "run"], ["ablate", "--folder", tmp_path / "results"]):
        result = squat(*words, "--config", path)
        _refused(result, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_the_process_ends_with_2_one_line_and_no_traceback():
    command = [sys.executable, "-m", "squat", "run", "gone.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "squat run: gone.safetensors: no such file\n"


def test_importing_the_command_line_loads_no_heavy_package():
    heavy = ("torch", "numba", "lightning", "pandas", "matplotlib", "scipy", "h5py", "pooch", "numpy", "joblib")
    code = f"import sys, squat.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_data_lists_every_data_set_and_what_to_put_where(squat, monkeypatch, tmp_path):
    monkeypatch.setenv("SQUAT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "nmnist_small").mkdir()
    (tmp_path / "nmnist_small" / "nmnist_small.npz").touch()
    lines = squat("data").stdout
    assert f"file: found, {tmp_path}/nmnist_small/nmnist_small.npz" in lines
    assert "spoken_digits/spoken_digits_700ch.npz is missing: put it at " in lines
    assert "or below a folder that SQUAT_DATA names" in lines
    assert "fashion_mnist/train-images-idx3-ubyte.gz is downloaded on first use" in lines
    rows = json.loads(squat("data", "--json").stdout)
    assert [row["name"] for row in rows] == list(DATASETS)


def test_data_shows_one_data_set(squat):
    assert "train 2100, validation 300, test 600" in squat("data", "spoken_digits").stdout
    assert json.loads(squat("data", "spoken_digits", "--json").stdout)["input_shape"] == [140]


def test_data_checks_a_file(squat, own_data, tmp_path):
    assert f"{own_data} is in order, every verb takes it as --data" in squat("data", own_data).stdout
    few = {"x": np.ones((3, 5, 2), np.uint8), "label": np.arange(3) % 2}
    np.savez(tmp_path / "few.npz", **few)
    text = (
        "is in order, without samples in the train and the validation part; squat run and other verbs that do not train"
    )
    assert text in squat("data", tmp_path / "few.npz").stdout
    np.savez(tmp_path / "trained.npz", **few, split=np.array([0, 0, 2]))
    text = "is in order, without samples in the validation part; verbs that do not read it take it"
    assert text in squat("data", tmp_path / "trained.npz").stdout
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(own_data.read_bytes()[:100])
    _refused(squat("data", damaged), str(damaged))


def test_training_names_the_option_that_leaves_it_no_sample(squat, own_data, tmp_path):
    result = squat("train", "--data", own_data, "--data-option", "whole=true", "--out", tmp_path / "run")
    _refused(result, "no sample in the train part; leave out the option `whole`, which makes all samples the test part")


def test_main_is_the_entry_point():
    from squat.cli import app, main

    assert callable(main)
    assert app.info.name == "squat"
    assert Path(sys.modules["squat.cli.app"].__file__).name == "app.py"
