"""Files that are missing, truncated, damaged, of another format, or hold code: each refused by name."""

import gzip
import struct

import h5py
import numpy as np
import pytest

from squat.data.readers import read_h5, read_idx, read_npz


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, a=np.arange(1000), b=np.ones(3))
    return path


def test_npz_gives_the_arrays_asked_for_and_all_names(npz):
    arrays, names = read_npz(npz, ("a", "z"))
    assert list(arrays) == ["a"]
    assert names == ["a", "b"]
    assert arrays["a"].tolist() == list(range(1000))


def test_h5_gives_the_arrays_at_the_root(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(4)
        file["scalar"] = 2.5
        file["group/a"] = np.arange(5)
    arrays, names = read_h5(path, ("a", "scalar", "group"))
    assert arrays["a"].tolist() == [0, 1, 2, 3]
    assert arrays["scalar"].shape == ()
    assert names == ["a", "scalar"]


@pytest.mark.parametrize("reader", [read_npz, read_h5])
def test_a_missing_file_is_named(reader, tmp_path):
    with pytest.raises(ValueError, match=r"gone.bin: no such file; check the path"):
        reader(tmp_path / "gone.bin", ())


@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "truncated"])
def test_npz_truncated_or_of_another_format(npz, content):
    npz.write_bytes(npz.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=r"data.npz: truncated, or not an .npz file; copy it again"):
        read_npz(npz, ("a",))


def test_npz_with_a_flipped_bit(npz):
    content = bytearray(npz.read_bytes())
    content[1000] ^= 1
    npz.write_bytes(content)
    with pytest.raises(ValueError, match=r"data.npz: damaged \(.*CRC.*\); copy it again"):
        read_npz(npz, ("a",))


def test_npz_with_pickled_objects_is_not_executed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, a=np.array([{"code": "runs"}], dtype=object), b=np.ones(2))
    with pytest.raises(ValueError, match=r"data.npz: holds something that is not a plain array \(Object arrays"):
        read_npz(path, ("a",))
    assert list(read_npz(path, ("b",))[0]) == ["b"]


@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "truncated"])
def test_h5_truncated_or_of_another_format(tmp_path, content):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(10_000)
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(ValueError, match=r"data.h5: truncated, damaged, or not an HDF5 file \(.*\); copy it again"):
        read_h5(path, ("a",))


def test_idx_keeps_shape_and_bytes(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">iii", 2, 3, 4) + values.tobytes()))
    assert np.array_equal(read_idx(path), values)
