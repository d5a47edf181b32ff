"""Files of other formats are called by what they are, with the way out, and none of them is unpickled."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import squat
from squat.cli import app
from squat.foreign import foreign_format
from squat.integer import load as load_integers


class Trap:
    """Unpickling this fails the test."""

    def __reduce__(self):
        return pytest.fail, ("the file was unpickled",)


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


def saved(write, *arguments, **options):
    buffer = io.BytesIO()
    write(buffer, *arguments, **options)
    return buffer.getvalue()


def torch_file(value, **options):
    return saved(lambda file: torch.save(value, file, **options))


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(200)
ONNX = b"\x08\x07\x12\x07pytorch\x1a\x051.0.0" + bytes(50)
FILES = {
    "state.pt": (
        torch_file({"weight": torch.ones(2), "trap": Trap()}),
        "a PyTorch file, .*never reads one.*squat.save",
    ),
    "module.pth": (torch_file(torch.nn.Linear(2, 2)), r"a PyTorch file, .*squat\.from_snntorch"),
    "old.pt": (torch_file({"trap": Trap()}, _use_new_zipfile_serialization=False), "a Python pickle: .*squat.from_snn"),
    "last.ckpt": (torch_file({"trap": Trap()}), "a PyTorch file, .* take network.safetensors beside it"),
    "net.pkl": (pickle.dumps({"trap": Trap()}), "a Python pickle: squat never reads one, since it may run code"),
    "graph.nir": (HDF5, r"an HDF5 .*NIR graph.*import_from_nir.*squat\.from_snntorch"),
    "data.h5": (HDF5, "an HDF5 file, which holds no network of squat; if it holds data, give it as --data"),
    "net.onnx": (ONNX, r"an ONNX graph; .*squat\.from_snntorch"),
    "data.npz": (saved(np.savez, x=np.ones(3)), "a NumPy archive, which holds no network"),
    "data.npy": (saved(np.save, np.ones(3)), "a NumPy array, which holds no network"),
    "any.zip": (zipped("readme.txt"), "a zip archive; unpack it first"),
    "cut.pt": (torch_file({"weight": torch.ones(2)})[:100], "a damaged zip archive, as PyTorch and NumPy write them"),
    "net.gz": (gzip.compress(b"x"), "a compressed file; unpack it first"),
    "config.json": (json.dumps({"network": {}}).encode(), "a file of text"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_called_by_their_name(tmp_path, name):
    data, text = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    for load, expected in ((squat.load, "squat.save"), (load_integers, "an integer network")):
        with pytest.raises(ValueError, match=rf"{name}: not a file of {expected} but {text}"):
            load(path)
    for words in (("run",), ("inspect",), ("lower",), ("export", "c")):
        out = [str(tmp_path / "out")] if words[0] in ("lower", "export") else []
        result = CliRunner().invoke(app, [*words, str(path), *out])
        assert result.exit_code == 2
        assert " ".join(result.stderr.split()).count("not a file of squat.save but") == 1
    assert path.read_bytes() == data


def test_the_two_kinds_of_network_are_told_apart(tmp_path):
    net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
    squat.save(net, tmp_path / "net")
    squat.lower(net).save(tmp_path / "machine")
    with pytest.raises(ValueError, match=r"holds a trained network; squat\.load reads it, squat lower makes integers"):
        load_integers(tmp_path / "net")
    with pytest.raises(
        ValueError, match=r"holds an integer network; squat\.integer\.load, squat inspect and squat exp"
    ):
        squat.load(tmp_path / "machine")


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x80", b"\x00" * 9, b"PK", b"\x89HDF", bytes(range(256))])
def test_what_cannot_be_told_is_left_to_the_reader(tmp_path, data):
    assert foreign_format(tmp_path, data) is None
    (tmp_path / "net").write_bytes(data)
    for load in (squat.load, load_integers):
        with pytest.raises(ValueError, match="damaged or no safetensors file"):
            load(tmp_path / "net")
