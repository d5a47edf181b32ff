"""Files of other formats, told by their first bytes: what they are, and the way from them to squat. None is opened.

A pickle is never read: it may run code. Of a zip archive only the names in it are listed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

CONVERT = (
    "make its network with snnTorch, load the weights, convert it with squat.from_snntorch and keep it with squat.save"
)
TORCH = f"a PyTorch file, which is a pickle: squat never reads one, since it may run code; {CONVERT}"
CHECKPOINT = f"{TORCH}. A checkpoint of squat train: take network.safetensors beside it"
PICKLE = f"a Python pickle: squat never reads one, since it may run code; if torch.save wrote it, {CONVERT}"
DATA = "which holds no network of squat; if it holds data, give it as --data or to squat.data.load"
HDF5 = f"an HDF5 file, {DATA}"
NIR = (
    "an HDF5 file with a NIR graph by its name; make a network of snnTorch of it with "
    "snntorch.import_nir.import_from_nir and convert that with squat.from_snntorch"
)
ONNX = "an ONNX graph; convert the network of snnTorch that it was exported from with squat.from_snntorch"
PACKED = "a compressed file; unpack it first"
ONNX_FIELDS = b"\x12\x1a\x22\x2a\x32\x3a\x42"
"""Tags of the fields of an ONNX model that may follow its version, which comes first."""


def foreign_format(path: Path, data: bytes) -> str | None:
    r"""What a file is that is no safetensors file, with the way out; None if that cannot be told.

    Args:
        path: of the file, whose ending tells a NIR graph from other HDF5.
        data: its bytes.

    Example:
        >>> foreign_format(Path("net.npy"), b"\x93NUMPY\x01\x00")[:15]
        'a NumPy array, '
    """
    return next((text(path, data) for begin, text in _KINDS.items() if data.startswith(begin)), _other(path, data))


def _zip(path: Path, data: bytes) -> str:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive, as PyTorch and NumPy write them; copy it again"
    if any(name.endswith("data.pkl") for name in names):
        return CHECKPOINT if path.suffix == ".ckpt" else TORCH
    if names and all(name.endswith(".npy") for name in names):
        return f"a NumPy archive, {DATA}"
    return "a zip archive; unpack it first"


def _hdf5(path: Path, data: bytes) -> str:
    return NIR if path.suffix.lower() == ".nir" else HDF5


def _other(path: Path, data: bytes) -> str | None:
    if len(data) > 2 and data[0] == 8 and 0 < data[1] < 32 and data[2] in ONNX_FIELDS:
        return ONNX
    if len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5:
        return PICKLE
    if data.lstrip()[:1] in (b"{", b"[", b"<", b"#"):
        return "a file of text (such as JSON); expected the network file itself"
    return None


_KINDS: dict[bytes, Callable[[Path, bytes], str]] = {
    b"PK\x03\x04": _zip,
    b"\x89HDF\r\n\x1a\n": _hdf5,
    b"\x93NUMPY": lambda path, data: f"a NumPy array, {DATA}",
    b"\x1f\x8b": lambda path, data: PACKED,
    b"\xfd7zXZ\x00": lambda path, data: PACKED,
}
