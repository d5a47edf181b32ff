"""Still samples of a user's file: shown at every step, read once, and never taken for samples over time."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import squat as package
from squat.cli import app
from squat.data import load
from squat.data.inputs import Constant

N = 20
LABEL = np.arange(N) % 2


@pytest.fixture
def squat():
    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result

    return call


def _file(folder, shape, high=255, **arrays):
    path = folder / "still.npz"
    x = np.random.default_rng(1).integers(0, high + 1, (N, *shape))
    x.flat[0] = high
    np.savez(path, x=x, label=LABEL, **arrays)
    return path, x


@settings(max_examples=30, deadline=None)
@given(
    shape=st.one_of(*(st.tuples(*[st.integers(1, 5)] * axes) for axes in (1, 2, 3))),
    steps=st.integers(1, 9),
    layout=st.sampled_from([None, "flat"]),
    high=st.sampled_from([1, 255]),
)
def test_still_samples_are_the_same_at_every_step(tmp_path_factory, shape, steps, layout, high):
    path, x = _file(tmp_path_factory.mktemp("still"), shape, high, input_scale=0.5)
    data = load(path, steps=steps, layout=layout)
    expected = shape if len(shape) != 2 else (1, *shape)
    expected = expected if layout is None else (int(np.prod(shape)),)
    assert (data.input_shape, data.steps, data.input_max, data.input_scale) == (expected, steps, high, 0.5)
    for part in data.parts.values():
        assert isinstance(part.inputs, Constant)
        batch = part.batch(torch.arange(len(part)))[0]
        assert batch.shape == (steps, len(part), *expected)
        assert steps == 1 or batch.stride(0) == 0  # read once: the network computes its current once
        assert torch.equal(batch[-1], torch.from_numpy(x[part.index.numpy()]).float().reshape(-1, *expected))


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ((6,), {}, r"`x`: shape \(20, 6\), as of still samples; expected the option `steps`, how many steps each"),
        ((1, 4, 4), {}, r"`x`: shape \(20, 1, 4, 4\), as of still samples; expected the option `steps`"),
        (
            (3, 1, 4, 4),
            {"steps": 5},
            r"`x`: shape \(20, 3, 1, 4, 4\); expected integers .* in \[N, C\], \[N, H, W\] or",
        ),
        ((6,), {"steps": 0}, "steps=0: expected an integer from 1 to 1000000"),
        ((6,), {"steps": 5, "bin_ms": 2.0}, "`x`: dense, with the option `bin_ms`; expected events"),
        ((6,), {"steps": 5, "layout": "image"}, r"`x`: shape \(20, 6\), with the option layout=image; expected images"),
        ((6,), {"steps": 5, "layout": "rows"}, "layout='rows': expected one of None, 'flat', 'image'"),
    ],
)
def test_what_is_no_still_sample_is_refused_with_the_way_out(tmp_path, shape, options, text):
    path, _ = _file(tmp_path, shape)
    with pytest.raises(ValueError, match=text):
        load(path, **options)


def test_fractions_are_refused_as_ever(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.full((N, 4), 0.5), label=LABEL)
    with pytest.raises(ValueError, match=r"`x`: has values that are not whole; .* factor back as `input_scale`"):
        load(tmp_path / "x.npz", steps=3)


def test_images_over_time_can_be_taken_as_flat_features(tmp_path):
    path, x = _file(tmp_path, (5, 2, 3, 4), 1)
    part = load(path, layout="flat").test
    found = part.batch(torch.arange(len(part)))[0]
    assert torch.equal(found, torch.from_numpy(x[part.index.numpy()]).float().flatten(2).transpose(0, 1))
    assert load(path, layout="image").input_shape == (2, 3, 4)


@pytest.mark.parametrize(("shape", "architecture"), [((6,), "feedforward"), ((4, 6), "conv"), ((1, 4, 6), "conv")])
def test_still_samples_train_and_new_ones_are_predicted(squat, tmp_path, shape, architecture):
    path, x = _file(tmp_path, shape, input_scale=1 / 255)
    words = ("--data", path, "--data-option", "steps=4", "--hidden", "3", "--epochs", "1")
    result = squat("train", *words, "--out", tmp_path / "run")
    assert "still samples, each shown at every one of 4 steps" in result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())["network"]
    assert (config["architecture"], config["input_max"]) == (architecture, 255)
    np.savez(tmp_path / "new.npz", x=x[:3], input_scale=1 / 255)  # three axes of it might be features over time
    result = squat("run", tmp_path / "run", "--data", tmp_path / "new.npz", "--json")
    net = package.load(tmp_path / "run" / "network.safetensors")
    still = torch.from_numpy(x[:3]).float().reshape(3, *load(path, steps=4).input_shape)
    with torch.no_grad():
        expected = net(still.expand(4, *still.shape))
    assert torch.allclose(torch.tensor(json.loads(result.stdout)["scores"]), expected)


def test_steps_of_samples_over_time_make_no_still_ones(squat, tmp_path):
    path, _ = _file(tmp_path, (4, 6), 1)  # 4 steps of 6 features
    squat("train", "--data", path, "--hidden", "3", "--epochs", "1", "--out", tmp_path / "run")
    document = json.loads(squat("run", tmp_path / "run", "--data", path, "--json").stdout)
    assert document["samples"] == 4
