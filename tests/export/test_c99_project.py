"""The exported folder as a person uses it: make, CMake, sanitizers, cppcheck, and Cortex-M under QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import squat
from random_networks import random_network
from squat.export.c99.cortex_m import CORES, MISSING, measure
from squat.layers import MaxPool2d
from squat.models import READOUT_NAMES, NetworkConfig, build_network

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "c99.md"


def needs(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


def run(*command, folder):
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def network(bits, inputs=40, hidden=32, **options):
    config = NetworkConfig(
        "recurrent", inputs=inputs, hidden=(hidden,), weights=squat.IntWeight(bits), states=squat.Anchored(bits),
        input_gain=4.0, **options,
    )  # fmt: skip
    return squat.lower(build_network(config, seed=0))


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """Networks: recurrent, with a readout of membranes, signed spikes and bytes, images, maxima and more."""
    folder = tmp_path_factory.mktemp("projects")
    squat.export.c(network(4), folder / "recurrent", name="recurrent")
    squat.export.c(network(2, readout="mean_membrane"), folder / "membrane", name="membrane")
    squat.export.c(network(4, input_min=-1), folder / "signs", name="signs")
    audio = network(3, inputs=11, input_min=-128, input_max=127, input_scale=1 / 64)
    squat.export.c(audio, folder / "audio", name="audio")
    stack = squat.Sequential(squat.Linear(9, 3, weight=squat.IntWeight(4)))
    squat.export.c(squat.lower(stack), folder / "sums", name="bool")  # no neurons; a name that C has another use for
    torch.manual_seed(0)
    options = {"weight": squat.IntWeight(3), "input_scale": 1 / 32, "input_max": 255}
    layers = squat.Conv2d(1, 5, 3, padding=1, **options), MaxPool2d((2, 3), (2, 2))
    layers += (squat.ConvRLIF(5, 3, weight=squat.IntWeight(3), state=squat.Anchored(3)),)
    branch = squat.Conv2d(5, 5, 3, padding=1, weight=squat.IntWeight(2)), squat.LIF(state=squat.Uniform(2))
    block = squat.Residual(squat.Sequential(*branch))
    head = MaxPool2d(2), block, squat.Flatten(), squat.Linear(20, 4, weight=squat.IntWeight(4), input_max=2)
    squat.export.c(squat.lower(squat.Sequential(*layers, *head), (1, 9, 10)), folder / "maxima", name="maxima")
    states = {"state": squat.Anchored(4), "current_state": squat.Uniform(3, 0.5, 1.5), "initial": "code_of_zero"}
    cuba = squat.RCubaLIF(20, 12, weight=squat.IntWeight(4), threshold=0.2, **states)
    adaptive = squat.ALIF(state=squat.Anchored(4), adaptation_state=squat.Uniform(4, 0.0, 3.0), threshold=0.2)
    layers = cuba, squat.Linear(12, 9, weight=squat.IntWeight(4)), adaptive
    layers = squat.Sequential(*layers, squat.Linear(9, 4, weight=squat.IntWeight(4)), squat.CubaLIF(**states))
    net = squat.Network(layers, READOUT_NAMES["spike_count"]())
    squat.export.c(squat.lower(net), folder / "states", name="states")
    config = NetworkConfig(
        "conv", (1, 12, 12), (4, 6), 5, weights=squat.IntWeight(4), states=squat.Uniform(4), kernel_size=3,
        input_scale=1 / 255, input_max=255, input_gain=4.0,
    )  # fmt: skip
    squat.export.c(squat.lower(build_network(config, seed=0), (1, 12, 12)), folder / "images", name="images")
    return folder


NAMES = ["recurrent", "membrane", "signs", "audio", "images", "maxima", "states", "sums"]


@needs("make", "cc")
@pytest.mark.parametrize("name", NAMES)
def test_make_check_and_example(projects, name):
    text = run("make", "all", "check", folder=projects / name)
    assert "self-test: all codes equal" in text
    assert "warning" not in text
    assert ("steps done" if name in ("maxima", "sums") else "class ") in run("./build/example", folder=projects / name)


@needs("make", "cc")
def test_the_self_test_can_fail(projects, tmp_path):
    shutil.copytree(projects / "recurrent", tmp_path / "c")
    source = tmp_path / "c" / "recurrent.c"
    text = source.read_text()
    source.write_text(re.sub(r"(_0_table\[16\] = \{\n\s*)(-?\d+)", r"\g<1>99999", text, count=1))
    assert source.read_text() != text
    done = subprocess.run(["make", "check"], cwd=tmp_path / "c", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "self-test: FAILED, codes differ" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [pytest.param(name, marks=needs("make", name)) for name in ("gcc", "clang")])
def test_sanitizers(projects, compiler, tmp_path):
    for name in NAMES:
        shutil.copytree(projects / name, tmp_path / name, ignore=shutil.ignore_patterns("build"))
        flags = "-O1 -g -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"
        text = run("make", "check", f"CC={compiler}", f"CFLAGS={flags}", folder=tmp_path / name)
        assert "self-test: all codes equal" in text


@needs("cmake", "cc")
def test_cmake(projects, tmp_path):
    run("cmake", "-S", projects / "recurrent", "-B", tmp_path / "build", folder=tmp_path)
    run("cmake", "--build", tmp_path / "build", folder=tmp_path)
    assert "100% tests passed" in run("ctest", "--test-dir", tmp_path / "build", folder=tmp_path)


@needs("cppcheck")
def test_cppcheck_finds_only_the_listed_deviations(projects):
    sources = [
        "squat.c",
        "squat_sums.c",
        "squat_states.c",
        "squat_result.c",
        "squat_vectors.c",
        "images.c",
        "images_vectors.c",
    ]
    text = run("cppcheck", "--addon=misra", "--std=c99", "--enable=warning,style,performance,portability", "--quiet",
               *sources, folder=projects / "images")  # fmt: skip
    found = set(re.findall(r"\[([A-Za-z][\w.-]+)\]$", text, re.MULTILINE))
    listed = set(re.findall(r"^\| (\d+\.\d+) \|", REFERENCE.read_text(), re.MULTILINE))
    assert found <= {f"misra-c2012-{rule}" for rule in listed}, text


needs_cortex = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")


@needs_cortex
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", NAMES)
def test_cortex_m_gives_the_same_codes(projects, name, core):
    found = measure(projects / name, core)
    assert found.equal
    assert found.multiplications == 0
    assert 0 < found.instructions_per_step <= found.most_instructions
    assert 0 < found.stack < 2048
    assert found.flash > found.constants > 0


@needs_cortex
def test_long_steps_are_counted_with_a_slower_timer(tmp_path):
    torch.manual_seed(0)
    layers = squat.Conv2d(16, 16, 5, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4))
    squat.export.c(squat.lower(squat.Sequential(*layers), (16, 48, 48)), tmp_path / "c")
    assert measure(tmp_path / "c", "cortex-m3").instructions_per_step > 2**24 * 40 / 2**6


@needs_cortex
def test_fewer_bits_need_fewer_bytes_and_instructions(tmp_path):
    found = {}
    for bits in (8, 4, 2):
        squat.export.c(network(bits, inputs=64, hidden=128), tmp_path / str(bits))
        found[bits] = measure(tmp_path / str(bits), "cortex-m3")
    assert found[8].constants > 1.8 * found[4].constants > 3 * found[2].constants
    assert found[8].instructions_per_step > found[4].instructions_per_step > found[2].instructions_per_step


def test_random_networks_export(tmp_path):
    for seed in (0, 5, 11):
        net, x = random_network(seed)
        folder = squat.export.c(squat.lower(net, tuple(x.shape[2:])), tmp_path / str(seed), vectors=x)
        assert "Fingerprint" in (folder / "README.md").read_text()
        if shutil.which("make") and shutil.which("cc"):
            assert "all codes equal" in run("make", "check", folder=folder)
