"""JSON form of frozen config dataclasses: every field by name, specs and nested configs through their `to_json`.

A config checks its own values when built; here only the shape of the document is judged, so that a misspelt key is
refused instead of silently leaving a default in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Config = TypeVar("Config")
Decoder = Callable[[Any], Any]


def encode_value(value: Any) -> Any:
    """`value` as JSON: objects with `to_json` through it, tuples as lists, plain values as they are."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, tuple):
        return [encode_value(item) for item in value]
    return value


def encode_fields(config: Any) -> dict[str, Any]:
    """Every field of a config dataclass as JSON values, by name."""
    return {field.name: encode_value(getattr(config, field.name)) for field in fields(config)}


def as_object(where: str, document: Any) -> dict[str, Any]:
    """A copy of `document` if it is a JSON object, else TypeError naming the place in the document."""
    if not isinstance(document, Mapping) or not all(isinstance(key, str) for key in document):
        raise TypeError(f"{where}={document!r}: expected a JSON object (a dict with string keys)")
    return dict(document)


def decode_fields(cls: type[Config], document: Any, where: str, decoders: Mapping[str, Decoder]) -> Config:
    """The config `cls(**document)`, lists turned into tuples and the named fields through their decoders.

    Raises:
        TypeError: if `document` is not an object, or a value has the wrong type.
        ValueError: for an unknown or a missing key, by name, and for a value out of range.
    """
    arguments = as_object(where, document)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        listed = ", ".join(known)
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected some of {listed}")
    for name, field in known.items():
        if name not in arguments and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: key {name!r} is missing")
    return cls(**{name: _decode(name, value, where, decoders) for name, value in arguments.items()})


def _decode(name: str, value: Any, where: str, decoders: Mapping[str, Decoder]) -> Any:
    if name in decoders:
        return None if value is None else decoders[name](as_object(f"{where}.{name}", value))
    return tuple(value) if isinstance(value, list) else value
