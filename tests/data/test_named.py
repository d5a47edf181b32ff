"""The registry: what every named data set promises, and FashionMNIST and N-MNIST on small files made here."""

import gzip
import struct

import numpy as np
import pytest
import torch

from squat.data import DATASETS, catalogue, fashion_mnist, load, nmnist
from squat.data.inputs import Constant, Frames, PackedSpikes

VARIANTS = [
    ("spoken_digits", {}, (140,), (2100, 300, 600)),
    ("spoken_digits", {"split": "speaker"}, (140,), (1500, 500, 1000)),
    ("fashion_mnist", {}, (784,), (50_000, 10_000, 10_000)),
    ("fashion_mnist", {"mode": "sequential"}, (28,), (50_000, 10_000, 10_000)),
    ("nmnist_small", {"fold": 3}, (2312,), (770, 110, 220)),
    ("nmnist_small", {"layout": "image", "height": 17, "steps": 8}, (2, 17, 17), (770, 110, 220)),
]


@pytest.mark.parametrize(("name", "options", "shape", "sizes"), VARIANTS, ids=str)
def test_every_named_data_set_keeps_its_promises(data_file, name, options, shape, sizes):
    if name != "spoken_digits":
        for source in DATASETS[name].files:
            data_file(source.path)
    data = load(name, **options)
    assert data.input_shape == shape
    assert tuple(len(part) for part in data.parts.values()) == sizes
    for part in data.parts.values():
        x, y = part.batch(torch.tensor([0, len(part) - 1]))
        assert x.shape == (data.steps, 2, *shape)
        assert x.min() >= 0
        assert x.max() <= data.input_max
        assert torch.equal(x, x.round())
        assert 0 <= y.min() <= y.max() < data.classes
        assert len(part.labels.unique()) == data.classes
        assert 0 < part.inputs.density() < 1
    assert all((data.description, data.licence, data.source, data.split_rule))


def test_the_catalogue_lists_every_data_set_without_loading_it(no_data):
    rows = {row["name"]: row for row in catalogue()}
    assert rows.keys() == DATASETS.keys()
    assert rows["fashion_mnist"]["options"] == {"mode": "static", "steps": None, "layout": "flat"}
    assert all(file["found"] is None for row in rows.values() for file in row["files"])
    assert all(file["url"] for file in rows["fashion_mnist"]["files"])


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"data 'sdh': expected one of spoken_digits, .*, shd, .*, or the path of a"):
        load("sdh")


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(
        TypeError, match=r"data 'nmnist_small' has no option folds: expected steps, height, layout, fold"
    ):
        load("nmnist_small", folds=1)
    with pytest.raises(TypeError, match=r"mine.npz' has no option channels: expected steps, bin_ms, stream"):
        load(tmp_path / "mine.npz", channels=3)


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    return gzip.compress(header + values.tobytes())


@pytest.fixture
def small_fashion(monkeypatch, data_folder, source_of) -> dict[str, np.ndarray]:
    """60 + 10 images of FashionMNIST's shape, in its files' format."""
    rng = np.random.default_rng(0)
    arrays, sources = {}, {}
    for part, count in (("train", 60), ("test", 10)):
        arrays[f"{part} images"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[f"{part} labels"] = (np.arange(count) % 10).astype(np.uint8)
    for number, (name, array) in enumerate(arrays.items()):
        content = idx(array)
        (data_folder / f"{number}.gz").write_bytes(content)
        sources[name] = source_of(f"{number}.gz", content)
    monkeypatch.setattr(fashion_mnist, "FILES", sources)
    return arrays


def test_static_fashion_is_the_image_at_every_step(small_fashion):
    flat, image = load("fashion_mnist", steps=6), load("fashion_mnist", layout="image")
    assert isinstance(flat.train.inputs, Constant)
    assert (flat.input_max, flat.input_scale, flat.steps, image.steps) == (255, 1 / 255, 6, 25)
    assert [len(part) for part in flat.parts.values()] == [50, 10, 10]
    x, y = flat.validation.batch(torch.arange(10))
    assert np.array_equal(x[5].numpy(), small_fashion["train images"][50:].reshape(10, 784))
    assert y.tolist() == list(range(10))
    assert image.test.batch(torch.tensor([1]))[0].shape == (25, 1, 1, 28, 28)


def test_sequential_fashion_is_a_row_a_step(small_fashion):
    data = load("fashion_mnist", mode="sequential")
    assert isinstance(data.test.inputs, Frames)
    x, _ = data.test.batch(torch.tensor([3]))
    assert np.array_equal(x[:, 0].numpy(), small_fashion["test images"][3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "rows"}, r"mode='rows': expected one of 'static', 'sequential'"),
        ({"layout": "chw"}, r"layout='chw': expected one of 'flat', 'image'"),
        ({"steps": 0}, r"steps=0: expected an integer from 1 to 1000000"),
        ({"mode": "sequential", "steps": 27}, r"mode='sequential' shows 28 rows in 28 steps; leave out `steps`"),
        ({"mode": "sequential", "layout": "image"}, r"mode='sequential' shows 28 rows in 28 steps; leave out"),
    ],
)
def test_bad_fashion_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load("fashion_mnist", **options)


@pytest.fixture
def small_nmnist(monkeypatch, data_folder, source_of) -> None:
    """100 + 10 recordings of two events each: (0 ms, x 1, y 2, p 0) and (319 ms, x 33, y 0, p 1)."""
    arrays = {}
    for part, count in (("train", 100), ("test", 10)):
        arrays[f"{part}_x"] = np.tile(np.array([1, 33], dtype=np.uint8), count)
        arrays[f"{part}_y"] = np.tile(np.array([2, 0], dtype=np.uint8), count)
        arrays[f"{part}_p"] = np.tile(np.array([0, 1], dtype=np.uint8), count)
        arrays[f"{part}_t"] = np.tile(np.array([0, 319_000], dtype=np.uint32), count)
        arrays[f"{part}_offsets"] = np.arange(count + 1) * 2
        arrays[f"{part}_labels"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(data_folder / "small.npz", **arrays)
    content = (data_folder / "small.npz").read_bytes()
    monkeypatch.setattr(nmnist, "FILE", source_of("small.npz", content))


@pytest.mark.parametrize(
    ("height", "cells"), [(34, [[0, 0, 2, 1], [19, 1, 0, 33]]), (17, [[0, 0, 1, 0], [19, 1, 0, 16]])]
)
def test_nmnist_events_land_in_their_cells(small_nmnist, height, cells):
    data = load("nmnist_small", height=height, layout="image")
    assert isinstance(data.train.inputs, PackedSpikes)
    x, _ = data.test.batch(torch.tensor([7]))
    assert x.squeeze(1).nonzero().tolist() == cells
    flat, _ = load("nmnist_small", height=height).test.batch(torch.tensor([7]))
    assert torch.equal(flat, x.flatten(2))


def test_nmnist_folds_test_every_sample_once():
    labels = torch.arange(1100) % 10
    parts = torch.stack([nmnist.fold_parts(labels, fold) for fold in range(5)])
    assert torch.equal((parts == 2).sum(0), torch.ones(1100, dtype=torch.int64))
    for part in parts:
        assert torch.bincount(part).tolist() == [770, 110, 220]
        assert (torch.bincount(labels[part == 1]) == 11).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, r"fold=5: expected an integer from 0 to 4"),
        ({"height": 28}, r"height=28: expected one of 34, 17"),
        ({"layout": "chw"}, r"layout='chw': expected one of"),
        ({"steps": 0}, r"steps=0: expected an integer from 1 to 1000000"),
    ],
)
def test_bad_nmnist_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load("nmnist_small", **options)


def test_nmnist_without_its_file_says_which_file_goes_where(no_data):
    with pytest.raises(ValueError, match=r"nmnist_small.npz: not found .*; put it at .*set SQUAT_DATA"):
        load("nmnist_small")
