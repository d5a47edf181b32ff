"""Files of integer networks: safetensors with packed arrays and one JSON document; docs/reference/integer-format.md.

A file holds numbers and names only. Reading runs nothing, and allocates nothing that the file's size does not bound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from squat.atomic import atomic_write
from squat.checks import check_choice, check_int, check_type
from squat.foreign import foreign_format
from squat.integer.certificate import Certificate
from squat.integer.joins import Join
from squat.integer.network import IntegerNetwork, Part
from squat.integer.packing import pack, stored_arrays, unpack
from squat.integer.parts import Layer, Neurons, Readout
from squat.integer.pools import Pool
from squat.integer.states import ComputedState, States, SummedState

FORMAT, VERSION = "squat-integer", 3
HEADER_KEY = "squat"
HEADER_LIMIT = 2**24
LAYER_LIMIT = 1024

_ARRAYS: dict[tuple[type, str], Any] = {
    **{(Layer, name): np.int8 for name in ("weight", "recurrent", "weight_shift")},
    **{(cls, name): np.int32 for cls in (Neurons, SummedState) for name in ("table", "bound", "bias")},
    **{(Readout, name): np.int64 for name in ("bias", "multiplier", "level")},
    (ComputedState, "table"): np.uint8,
    (States, "first"): np.int32,
}
_LISTS = {(States, "names"), (States, "start"), (SummedState, "gain"), (ComputedState, "sources")}
"""Fields of short lists, whose entries their classes check."""
_PARTS = {"Layer": Layer, "Pool": Pool, "Join": Join}


def save(net: IntegerNetwork, path: Path | str, metadata: Mapping[str, Any] | None, overwrite: bool) -> None:
    """See `IntegerNetwork.save`."""
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: exists already; choose another name, or pass overwrite=True")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: folder {path.parent} does not exist; make it first")
    tensors = {name: pack(values, bits) for name, values, bits in stored_arrays(net)}
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "network": _describe(net),
        "certificate": None if net.certificate is None else net.certificate.to_json(),
        "metadata": _json_values(metadata),
    }
    document["sha256"] = _checksum(document, tensors)
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    atomic_write(path, to_bytes(tensors, {HEADER_KEY: text}))


def load(path: Path | str) -> IntegerNetwork:
    """The integer network that `IntegerNetwork.save` wrote, with its certificate.

    Raises:
        ValueError: for a missing, damaged or foreign file; the message names the file and the cause.

    Example:
        >>> import squat, tempfile
        >>> net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
        >>> machine = squat.lower(net)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     machine.save(folder + "/net.safetensors")
        ...     load(folder + "/net.safetensors").fingerprint == machine.fingerprint
        True
    """
    path = Path(path)
    document, tensors = _read(path)
    try:
        net = _build(document["network"], tensors)
        if document.get("certificate") is None:
            return net
        return IntegerNetwork(net.layers, net.readout, Certificate.from_json(document["certificate"]))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: cannot be built ({error}); it may come from a newer version of squat") from error


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata given to `IntegerNetwork.save`.

    Raises:
        ValueError: as for `load`.
    """
    return _read(Path(path))[0]["metadata"]


def is_integer_file(path: Path) -> bool:
    """Whether a file says that it holds an integer network; it may still be damaged."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return f'\\"format\\": \\"{FORMAT}\\"'.encode() in file.read(min(length, HEADER_LIMIT))
    except OSError:
        return False


def _describe(net: IntegerNetwork) -> dict[str, Any]:
    arrays = {stored.name: stored for stored in stored_arrays(net)}
    layers = [
        {"class": type(layer).__name__, **_fields_of(layer, f"layers.{index}.", arrays)}
        for index, layer in enumerate(net.layers)
    ]
    readout = None if net.readout is None else _fields_of(net.readout, "readout.", arrays)
    return {"layers": layers, "readout": readout}


def _fields_of(part: Any, prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray):
            stored = arrays[prefix + field.name]
            value = {"tensor": stored.name, "bits": stored.bits, "shape": list(value.shape)}
        elif isinstance(value, Neurons | States):
            value = {"class": type(value).__name__, **_fields_of(value, prefix, arrays)}
        elif isinstance(value, Pool):
            value = _fields_of(value, prefix, arrays)
        elif field.name == "states":
            value = [
                {"class": type(state).__name__, **_fields_of(state, f"{prefix}{name}.", arrays)}
                for name, state in zip(part.names, value, strict=True)
            ]
        values[field.name] = list(value) if isinstance(value, tuple) else value
    if not values.get("input_min", True):
        del values["input_min"]  # so that files of unsigned networks are as they were before it
    return values


def _build(tree: Any, tensors: Mapping[str, np.ndarray]) -> IntegerNetwork:
    check_type("network", tree, dict, "a JSON object")
    layers = check_type("layers", tree["layers"], list, "a list")
    check_int("number of layers", len(layers), 1, LAYER_LIMIT)
    unused = dict(tensors)
    built = tuple(_build_layer(layer, unused) for layer in layers)
    readout = None if tree["readout"] is None else Readout(**_arguments(Readout, tree["readout"], unused))
    if unused:
        raise ValueError(f"tensor {next(iter(unused))!r} belongs to nothing")
    return IntegerNetwork(built, readout)


def _build_layer(tree: Any, tensors: dict[str, np.ndarray]) -> Part:
    arguments = dict(check_type("layer", tree, dict, "a JSON object"))
    cls: Any = _PARTS[check_choice("class", arguments.pop("class", None), _PARTS)]
    parts: dict[str, Any] = {}
    if arguments.get("neurons") is not None:
        parts["neurons"] = _build_neurons(arguments["neurons"], tensors)
    if arguments.get("pool") is not None:
        parts["pool"] = Pool(**_arguments(Pool, arguments["pool"], tensors))
    return cls(**_arguments(cls, {**arguments, **dict.fromkeys(parts)}, tensors) | parts)


def _build_neurons(tree: Any, tensors: dict[str, np.ndarray]) -> Neurons | States:
    arguments = dict(check_type("neurons", tree, dict, "a JSON object"))
    if check_choice("class", arguments.pop("class", None), ("Neurons", "States")) == "Neurons":
        return Neurons(**_arguments(Neurons, arguments, tensors))
    states = check_type("states", arguments.pop("states", None), list, "a list")
    built = tuple(_build_state(state, tensors) for state in states)
    return States(**_arguments(States, {**arguments, "states": None}, tensors) | {"states": built})


def _build_state(tree: Any, tensors: dict[str, np.ndarray]) -> SummedState | ComputedState:
    arguments = dict(check_type("state", tree, dict, "a JSON object"))
    kinds = {"SummedState": SummedState, "ComputedState": ComputedState}
    cls = kinds[check_choice("class", arguments.pop("class", None), kinds)]
    return cls(**_arguments(cls, arguments, tensors))


def _arguments(cls: type, tree: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The constructor's arguments, each of the type that its field holds."""
    tree = check_type(cls.__name__, tree, dict, "a JSON object")
    expected = {field.name for field in fields(cls)}
    if set(tree) | ({"input_min"} & expected) != expected:
        raise ValueError(f"{cls.__name__}: keys {sorted(tree)}, expected {sorted(expected)}")
    return {name: _value(cls, name, value, tensors) for name, value in tree.items()}


def _value(cls: type, name: str, value: Any, tensors: dict[str, np.ndarray]) -> Any:
    if (cls, name) in _ARRAYS and value is not None:
        return _array(name, _ARRAYS[cls, name], value, tensors)
    if (cls, name) in _LISTS and value is not None:
        return tuple(check_type(name, value, list, "a list"))
    if name in ("input_shape", "stride", "padding", "kernel_size"):
        sizes = check_type(name, value, list, "a list of sizes")
        check_int(f"number of {name}", len(sizes), *((1, 3) if name == "input_shape" else (2, 2)))
        return tuple(check_int(name, size, 0, 2**24) for size in sizes)
    if name in ("name", "kind"):
        return check_type(name, value, str, "text")
    if name == "drop_input":
        return check_type(name, value, bool, "true or false")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name}={value!r}: expected an integer")
    return value


def _array(name: str, dtype: Any, tree: Any, tensors: dict[str, np.ndarray]) -> np.ndarray:
    tree = check_type(name, tree, dict, "a JSON object")
    if set(tree) != {"tensor", "bits", "shape"}:
        raise ValueError(f"{name}: keys {sorted(tree)}, expected bits, shape, tensor")
    tensor = tensors.pop(check_type("tensor", tree["tensor"], str, "text"), None)
    if tensor is None:
        raise ValueError(f"{name}: there is no tensor {tree['tensor']!r}")
    bits = check_int(f"bits of {name}", tree["bits"], 1, 64)
    sizes = check_type(f"shape of {name}", tree["shape"], list, "a list of sizes")
    shape = tuple(check_int(f"shape of {name}", size, 1, 2**31) for size in sizes)
    try:
        return unpack(tensor, bits, shape, np.dtype(dtype))
    except ValueError as error:
        raise ValueError(f"tensor {tree['tensor']!r}: {error}") from None


def _json_values(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    metadata = dict(check_type("metadata", metadata if metadata is not None else {}, Mapping, "a dict of JSON values"))
    try:
        return json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata: expected JSON values only ({error}); turn arrays and paths into lists") from error


def _checksum(document: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the document without its checksum, and of every tensor's name, length and bytes."""
    covered = {key: value for key, value in document.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(covered, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {len(tensors[name])}\n".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); expected a file of an integer network") from error
    document = _document(path, data)
    try:
        tensors = from_bytes(data)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{path}: damaged, its tensors do not fill the file as the header says ({error})") from error
    for name, values in tensors.items():
        if values.dtype != np.uint8 or values.ndim != 1:
            raise ValueError(f"{path}: damaged, tensor {name!r} is no vector of bytes")
    if document.get("sha256") != _checksum(document, tensors):
        raise ValueError(f"{path}: damaged, its content does not have the checksum it was saved with; copy it again")
    return document, tensors


def _document(path: Path, data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, HEADER_LIMIT):
        kind = foreign_format(path, data)
        if kind is not None:
            raise ValueError(f"{path}: not a file of an integer network but {kind}")
        raise ValueError(f"{path}: damaged or no safetensors file, its header is longer than the file; copy it again")
    try:
        header = json.loads(data[8 : 8 + length])
        text = header.get("__metadata__", {}).get(HEADER_KEY)
        document = json.loads(text) if isinstance(text, str) else None
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged or no safetensors file, its header is not JSON ({error})") from error
    if isinstance(document, dict) and document.get("format") == "squat-network":
        raise ValueError(f"{path}: holds a trained network; squat.load reads it, squat lower makes integers of it")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file; squat lower writes one")
    if document.get("version") != VERSION:
        raise ValueError(
            f"{path}: version {document.get('version')!r} of the format, expected {VERSION}; lower the network again"
        )
    if not isinstance(document.get("metadata"), dict) or not isinstance(document.get("network"), dict):
        raise ValueError(f"{path}: damaged, its description is incomplete; copy it again")
    return document
