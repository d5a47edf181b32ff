"""Random defects of a user's files and random options: each ends with exit code 0, or 2 and a sentence; none hangs.

`SQUAT_FUZZ=5000` tries as many in the slow part.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
from collections import Counter

import pytest

import data_mutations
from data_mutations import arrays, damaged, data_options, training_options, write

QUICK, LONG, CHUNK = 30, int(os.environ.get("SQUAT_FUZZ", "330")), 50
SECONDS, MEGABYTES = 120, 700
PARTS = [pytest.param(range(QUICK), id="quick")] + [
    pytest.param(range(first, min(first + CHUNK, LONG)), id=f"from {first}", marks=pytest.mark.slow)
    for first in range(QUICK, LONG, CHUNK)
]
SMALL = ("--epochs", "1", "--hidden", "4", "--threads", "1")


def _too_long(*_):
    raise TimeoutError(f"took more than {SECONDS} seconds")


@pytest.fixture
def survives(squat):
    """`survives(words, about)` runs a verb and judges how it ended; the result is its exit code."""
    before = signal.signal(signal.SIGALRM, _too_long)

    def call(words, about):
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS)
        try:
            done = squat(*words)
        finally:
            signal.alarm(0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024
        assert done.exception is None or isinstance(done.exception, SystemExit), (about, words, done.exception)
        assert done.exit_code in (0, 2), (about, words, done.output)
        assert grown < MEGABYTES, (about, words, grown)
        if done.exit_code == 2:
            last = done.stderr.rstrip("\n").rpartition("\n")[2]
            assert last.startswith(f"squat {words[0]}: "), (about, words, done.stderr)
            assert len(last) < 1500, (about, words, last)
        return done.exit_code

    yield call
    signal.signal(signal.SIGALRM, before)


def own_file(folder, seed):
    """A user's file with up to two defects, and the generator that made it."""
    rng = random.Random(seed)
    content = arrays(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        content = damaged(content, rng)
    return write(folder / f"mine-{seed}", content, rng), rng


@pytest.mark.parametrize("seeds", PARTS)
def test_files_and_options_of_data_and_train(survives, tmp_path, seeds):
    ends = Counter()
    for seed in seeds:
        path, rng = own_file(tmp_path, seed)
        words = ["data", path, *data_options(rng)]
        if rng.random() < 0.5:
            words = ["train", "--data", *words[1:], *SMALL, *training_options(rng), "--out", tmp_path / f"run-{seed}"]
        ends[words[0], survives(words, seed)] += 1
    print(ends)
    assert {code for _, code in ends} == {0, 2}


@pytest.fixture(scope="module")
def networks(squat, tmp_path_factory):
    """A float and a quantized network, trained on such a file in order."""
    folder = tmp_path_factory.mktemp("networks")
    rng = random.Random(4)
    content = next(found for found in iter(lambda: arrays(rng), None) if "times" in found)
    path = write(folder / "mine", content, random.Random(1))
    for name, words in (("float", ()), ("quantized", ("--weights", "4", "--states", "anchored:4"))):
        done = squat("train", "--data", path, *SMALL, *words, "--out", folder / name)
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("seeds", PARTS)
def test_files_and_options_of_verbs_on_a_network(survives, networks, tmp_path, seeds):
    ends = Counter()
    for seed in seeds:
        path, rng = own_file(tmp_path, seed)
        verb = rng.choice(("run", "calibrate", "check", "inspect"))
        words = [verb, networks / ("quantized" if verb in ("check", "inspect") else "float"), "--data", path]
        words += data_options(rng)
        if verb == "calibrate":
            words += ["--states", "uniform:4", "--out", tmp_path / f"out-{seed}.safetensors"]
        if verb != "inspect" and rng.random() < 0.4:
            words += ["--batch-size", rng.choice(data_mutations.SIZES)]
        ends[verb, survives(words, seed)] += 1
    print(ends)
    assert {code for _, code in ends} == {0, 2}


VALUES = (
    0,
    -1,
    1,
    2,
    3,
    0.5,
    -0.5,
    1e300,
    float("nan"),
    float("inf"),
    None,
    True,
    "4",
    "",
    [],
    {},
    [1],
    2**31,
    2**62,
    10**30,
)


def changed(document, rng):
    """A JSON document with a value somewhere replaced, lost or added."""
    document = json.loads(json.dumps(document))
    place, key = document, rng.choice(list(document))
    while isinstance(place[key], dict | list) and len(place[key]) and rng.random() < 0.85:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    if rng.random() < 0.1:
        del place[key]
    elif isinstance(place, dict) and rng.random() < 0.05:
        place["more"] = rng.choice(VALUES)
    else:
        place[key] = rng.choice(VALUES)
        if key == "devices" and place[key] in (2, 3):
            place[key] = 1  # Lightning starts the other processes by this one's command, which is pytest
    return document


@pytest.mark.parametrize("seeds", PARTS)
def test_configs_of_train_and_ablate(survives, networks, tmp_path, seeds):
    from squat.ablation import AblationConfig
    from squat.train import RunConfig

    run = json.loads((networks / "quantized" / "config.json").read_text())
    plain = json.loads((networks / "float" / "config.json").read_text())
    experiment = AblationConfig("small", RunConfig.from_json(plain), ("float",), ("anchored",)).to_json()
    ends = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        path = tmp_path / f"config-{seed}.json"
        if rng.random() < 0.6:
            path.write_text(json.dumps(changed(run, rng)))
            words = ["train", "--config", path, "--epochs", 1, "--out", tmp_path / f"run-{seed}"]
        else:
            path.write_text(json.dumps(changed(experiment, rng)))
            only = ("--cells", "float", "--schemes", "anchored", "--bits", 4, "--seeds", 1, "--jobs", 1, "--epochs", 1)
            words = ["ablate", "--config", path, *only, "--folder", tmp_path / f"results-{seed}"]
        ends[words[0], survives(words, seed)] += 1
    print(ends)
    assert {code for _, code in ends} == {0, 2}


@pytest.fixture(scope="module")
def results(squat, networks, tmp_path_factory):
    """A results folder of two runs."""
    folder = tmp_path_factory.mktemp("ablation") / "results"
    path = next(networks.glob("mine.*"))
    only = ("--cells", "float,qat", "--bits", "4", "--seeds", "1", "--jobs", "1", "--epochs", "1", "--threads", "1")
    done = squat("ablate", "--preset", "digits", "--data", path, *only, "--folder", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("seeds", PARTS)
def test_results_folders_of_report(survives, results, tmp_path, seeds):
    ends = Counter()
    for seed in seeds[::3]:  # a report takes a second
        rng = random.Random(seed)
        folder = tmp_path / f"results-{seed}"
        shutil.copytree(results, folder)
        path = rng.choice(sorted(found for found in folder.rglob("*") if found.suffix in (".json", ".jsonl")))
        if path.suffix == ".json" and rng.random() < 0.8:
            path.write_text(json.dumps(changed(json.loads(path.read_text()), rng)))
        else:
            content = path.read_bytes()
            path.write_bytes(rng.choice((b"", b"{}", b"[]", b"\xff\x00", content[: rng.randrange(len(content) + 1)])))
        ends["report", survives(["report", folder], (seed, path.name))] += 1
        shutil.rmtree(folder)
    print(ends)
    assert {code for _, code in ends} == {0, 2}
