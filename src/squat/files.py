"""Network files: `save` and `load`. A file is safetensors with one JSON document in its header.

The format is described in docs/reference/file-format.md.

A file holds numbers and names only. Loading builds modules from a list of known classes and runs no code of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from squat.atomic import atomic_write
from squat.checks import check_type
from squat.foreign import foreign_format

if TYPE_CHECKING:
    from squat.layers.sequential import Sequential
    from squat.models.network import Network

FORMAT, VERSION = "squat-network", 1
HEADER_KEY = "squat"
HEADER_LIMIT = 100_000_000


def save(
    net: Network | Sequential, path: Path | str, metadata: Mapping[str, Any] | None = None, *, overwrite: bool = False
) -> None:
    """Write a network to one file, atomically: the file is either whole or as it was before.

    Args:
        net: a `Network` or a `Sequential` of squat's layers.
        path: of the file, usually ending in `.safetensors`; its folder must exist.
        metadata: JSON values to keep with the network, read back by `read_metadata`.
        overwrite: replace an existing file.

    Raises:
        TypeError: for another module, or metadata that are not JSON values.
        ValueError: if the file exists and `overwrite` is False, or the folder does not.

    Example:
        >>> import tempfile
        >>> from squat.layers import Linear
        >>> from squat.layers.sequential import Sequential
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Sequential(Linear(3, 2)), folder + "/net.safetensors", {"note": "untrained"})
        ...     read_metadata(folder + "/net.safetensors")
        {'note': 'untrained'}
    """
    from safetensors.torch import save as to_bytes

    from squat.models.tree import describe

    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: exists already; choose another name, or pass overwrite=True")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: folder {path.parent} does not exist; make it first")
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()}
    document = {"format": FORMAT, "version": VERSION, "network": describe(net), "metadata": _json_values(metadata)}
    document["sha256"] = _checksum(document, tensors)
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    atomic_write(path, to_bytes(tensors, {HEADER_KEY: text}))


def load(path: Path | str) -> Network | Sequential:
    """The network that `save` wrote, in evaluation mode, on the CPU.

    Args:
        path: of the file.

    Returns:
        A `Network` or `Sequential` whose outputs equal those of the saved one.

    Raises:
        ValueError: for a missing, damaged or foreign file, another version of the format, or unknown classes; the
            message names the file and the cause.
    """
    from squat.models.tree import rebuild

    path = Path(path)
    document, tensors = _read(path)
    try:
        with torch.random.fork_rng(devices=[]):  # constructors draw weights that are replaced at once
            net = rebuild(document.get("network"), tensors)
        net.load_state_dict(tensors, strict=True, assign=True)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: cannot be built ({error}); it may come from a newer version of squat") from error
    return net.eval()


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata given to `save`, without building the network.

    Raises:
        ValueError: as for `load`.
    """
    return _read(Path(path))[0]["metadata"]


def _json_values(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    metadata = dict(check_type("metadata", metadata if metadata is not None else {}, Mapping, "a dict of JSON values"))
    try:
        same = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metadata: expected JSON values only ({error}); turn tensors and paths into text or lists"
        ) from error
    return same


def _checksum(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the document without its checksum, and of every tensor's name, dtype, shape and bytes."""
    covered = {key: value for key, value in document.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(covered, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); expected a network file written by squat.save"
        ) from error
    document = _document(path, data)
    try:
        tensors = {name: value.clone() for name, value in from_bytes(data).items()}
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: damaged, its tensors do not fill the file as the header says ({error})") from error
    if document.get("sha256") != _checksum(document, tensors):
        raise ValueError(f"{path}: damaged, its content does not have the checksum it was saved with; copy it again")
    return document, tensors


def _document(path: Path, data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, HEADER_LIMIT):
        kind = foreign_format(path, data)
        if kind is not None:
            raise ValueError(f"{path}: not a file of squat.save but {kind}")
        raise ValueError(f"{path}: damaged or no safetensors file, its header is longer than the file; copy it again")
    try:
        header = json.loads(data[8 : 8 + length])
        text = header.get("__metadata__", {}).get(HEADER_KEY)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged or no safetensors file, its header is not JSON ({error})") from error
    if not isinstance(text, str):
        raise ValueError(f"{path}: a safetensors file, but not one written by squat.save")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, its description is not JSON ({error}); copy it again") from error
    if isinstance(document, dict) and document.get("format") == "squat-integer":
        raise ValueError(
            f"{path}: holds an integer network; squat.integer.load, squat inspect and squat export read it"
        )
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file")
    if document.get("version") != VERSION:
        remedy = "it was written by another version of squat"
        raise ValueError(f"{path}: version {document.get('version')!r} of the format, expected {VERSION}; {remedy}")
    if not isinstance(document.get("metadata"), dict):
        raise ValueError(f"{path}: damaged, its description has no metadata; copy it again")
    return document
