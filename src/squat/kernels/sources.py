"""One hash of everything that a function is made from, so that what was computed with it can be kept and trusted.

From the function on, everything that its code can name is followed: other functions, values of globals and closures,
classes, registries. What is of Python's standard library or `LIBRARIES` (`names.py`) counts by its name. Docstrings,
comments and line numbers do not count. What cannot be told apart is refused, never left out.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING
from functools import cache, partial, singledispatch
from pathlib import Path, PurePath
from types import CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np

from squat.kernels.names import imported, is_library, names_in

PACKAGE = Path(__file__).resolve().parents[1]
_VALUES = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), np.generic, np.dtype, PurePath)
GENERATED = {"__init__", "__new__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__"}
GENERATED |= {"__setattr__", "__delattr__", "__replace__"}
"""Methods that dataclasses and named tuples make of their fields."""
_LITERALS = (tuple, frozenset, CodeType)


def hash_sources(function: Any, classes: Sequence[type] = ()) -> str:
    """SHA-256 of what a function is made from, as 64 hexadecimal digits; equal in every process.

    Args:
        function: the function, or anything that holds functions.
        classes: classes of its arguments, which count too. A registry, which is a dict whose keys are classes, counts
            with its rows for these where it has any, so that a change of one row leaves what is made from the others.

    Raises:
        TypeError: for an object that has no value to tell it by.

    Example:
        >>> def times(factor):
        ...     return lambda x: factor * x
        >>> hash_sources(times(2)) == hash_sources(times(2)), hash_sources(times(2)) == hash_sources(times(3))
        (True, False)
    """
    walk = _Walk(frozenset(classes))
    for thing in (function, *classes):
        walk.add(thing)
    return walk.hash.hexdigest()


@cache
def source_hash(package: Path = PACKAGE) -> str:
    """Short SHA-256 over the `*.py` files of a package, paths and bytes: tells which code made a record.

    Args:
        package: folder of the package; the squat that runs if not given, read once per process.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


class _Walk:
    def __init__(self, classes: frozenset[type]) -> None:
        self.classes, self.hash = classes, hashlib.sha256()
        self.seen: dict[int, tuple[int, Any]] = {}  # with the object, so that its id is not given away

    def say(self, *words: object) -> None:
        self.hash.update(repr(words).encode())

    def add(self, thing: Any) -> None:
        """Hash one object, and what it is made from."""
        if isinstance(thing, _VALUES):
            self.say(type(thing).__name__, thing)
        elif id(thing) in self.seen:
            self.say("again", self.seen[id(thing)][0])
        else:
            if not isinstance(thing, _LITERALS):  # which share memory or not by chance, and hold no circles
                self.seen[id(thing)] = len(self.seen), thing
            self.say(type(thing).__name__)
            for part in self.parts(thing):
                self.add(part)
            self.say("end")

    def parts(self, thing: Any) -> Iterable[Any]:
        """What an object is made from."""
        if isinstance(thing, dict):
            return _rows(thing, self.classes)
        if hasattr(thing, "__array__") and not isinstance(thing, type):
            values = np.asarray(thing)
            return (values.dtype, values.shape, values.tolist() if values.dtype.hasobject else values.tobytes())
        module = ""
        if isinstance(thing, ModuleType):
            module = thing.__name__
        elif hasattr(thing, "__qualname__") and not getattr(thing, "__closure__", None):
            module = str(getattr(thing, "__module__", ""))
        return _end(thing, module) if is_library(module) else parts(thing)


def _end(thing: Any, module: str) -> tuple[str, ...]:
    """Something of a library, by its name or value."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # in a deque, say
        name = getattr(thing, "__qualname__", None) or repr(thing)
    if " at 0x" in name:
        raise TypeError(f"{name}: expected something with a name or a value, to tell what a function is made from")
    return module, name


def _rows(table: dict[Any, Any], classes: frozenset[type]) -> Iterator[Any]:
    if type(table) is not dict:
        yield from (type(table), getattr(table, "default_factory", None), getattr(table, "__dict__", None))
    keys = list(table)
    if keys and all(isinstance(key, type) for key in keys):
        keys = [key for key in keys if key in classes] or keys
    for key in keys:
        yield from (key, table[key])


@singledispatch
def parts(thing: Any) -> Iterator[Any]:
    """What an object is made from; other kinds of objects are registered where they are known."""
    kind = type(thing)
    if hasattr(thing, "__wrapped__"):  # by functools.lru_cache, say
        yield thing.__wrapped__
    elif is_library(kind.__module__):
        yield from _end(thing, kind.__module__)
    else:
        yield kind
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(thing, name)]
        yield {**{name: getattr(thing, name) for name in slots}, **getattr(thing, "__dict__", {})}


@parts.register(list)
@parts.register(tuple)
def _(thing: Any) -> Iterator[Any]:
    if type(thing) not in (list, tuple):
        yield from (type(thing), getattr(thing, "__dict__", None))
    yield from thing


@parts.register(set)
@parts.register(frozenset)
def _(thing: Any) -> Iterator[Any]:
    yield from sorted(thing, key=repr)


@parts.register
def _(thing: MappingProxyType) -> Iterator[Any]:
    yield dict(thing)


@parts.register
def _(thing: re.Pattern) -> Iterator[Any]:
    yield from (thing.pattern, thing.flags)


@parts.register(staticmethod)
@parts.register(classmethod)
@parts.register(MethodType)
def _(thing: Any) -> Iterator[Any]:
    yield from (thing.__func__, getattr(thing, "__self__", None))


@parts.register
def _(thing: property) -> Iterator[Any]:
    yield from (thing.fget, thing.fset)


@parts.register
def _(thing: partial) -> Iterator[Any]:
    yield from (thing.func, thing.args, thing.keywords)


@parts.register
def _(thing: ModuleType) -> Iterator[Any]:
    yield thing.__name__  # what a function takes from it is followed with the function


@parts.register
def _(thing: type) -> Iterator[Any]:
    yield thing.__qualname__
    yield from thing.__bases__
    fields = vars(thing).get("__dataclass_fields__", {}).values()
    yield [(field.name, field.default_factory) for field in fields if field.default_factory is not MISSING]
    for name, member in vars(thing).items():
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType):
            if name not in GENERATED or function.__code__.co_filename != "<string>":
                yield from (name, member)
        elif not (name.startswith("__") or name.startswith("_abc_")):
            yield from (name, member)


@parts.register
def _(thing: FunctionType) -> Iterator[Any]:
    code = thing.__code__
    consts = code.co_consts[1:] if thing.__doc__ and code.co_consts[:1] == (thing.__doc__,) else code.co_consts
    yield from _parts_of_code(code, consts)
    yield from (thing.__defaults__, thing.__kwdefaults__)
    cells = [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]  # but for empty ones
    yield from cells
    names = sorted(names_in(code))
    reached = [*cells, *(thing.__globals__[name] for name in names if name in thing.__globals__), *imported(code)]
    for value in reached:  # grows by what is taken from modules
        if isinstance(value, ModuleType) and not is_library(value.__name__):
            reached += [getattr(value, name) for name in names if hasattr(value, name)]
        yield value
    yield {name: value for name, value in vars(thing).items() if name != "__wrapped__"}


@parts.register
def _(thing: CodeType) -> Iterator[Any]:
    yield from _parts_of_code(thing, thing.co_consts)


def _parts_of_code(code: CodeType, consts: tuple[Any, ...]) -> Iterator[Any]:
    counts = (code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    yield repr((code.co_code, code.co_exceptiontable, counts, names))
    yield from consts
