"""`jit` compiles every loop of squat with numba, and keeps it on disk for as long as no source of it changes.

numba's own cache follows the file of the function that is called; helpers, equations and constants that it was compiled
from may change, and the old code goes on running. Here an entry is found by a hash of all of them (`sources.py`) and of
what it is compiled for.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.extending import _Intrinsic
from numba.extending import overload as numba_overload

from squat.kernels import store
from squat.kernels.sources import hash_sources, parts

CLOSE = {"contract", "reassoc", "nsz"}
"""Gradients have a tolerance: multiply-adds may fuse and sums may be reordered."""
HARMLESS = ("CACHE", "COLOR", "CUDA", "DEBUG_CACHE", "DUMP", "NUMBA", "THREADING", "_")
"""How numba's settings begin that change no code of the CPU; all others do, or may."""


def jit(
    function: Callable[..., Any] | None = None, *, close: bool = False, parallel: bool = False, nogil: bool = False
) -> Any:
    """Compile a function on its first call with each signature, or load it where its sources are as they were.

    Args:
        function: what is compiled: numbers, arrays and tuples of them, without Python objects.
        close: allow what changes roundings (see `CLOSE`), for gradients; else nothing is fused and nothing reordered.
        parallel: loops over `prange` go to numba's threads.
        nogil: it runs without Python's global lock.

    Returns:
        The compiled function.

    Example:
        >>> @jit
        ... def add(x, y):
        ...     return x + y
        >>> add(2, 3)
        5
    """
    if function is None:
        return lambda function: jit(function, close=close, parallel=parallel, nogil=nogil)
    compiled: Any = numba.njit(
        fastmath=CLOSE if close else False, parallel=parallel, nogil=nogil, error_model="numpy", boundscheck=False
    )(function)
    compiled._cache = KernelCache(compiled)
    return compiled


def overload(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As numba's `overload`, which chooses what a call of `stub` compiles to; the sources of its callers follow it."""

    def register(choose: Callable[..., Any]) -> Callable[..., Any]:
        vars(stub).setdefault("overloads", []).append(choose)
        return numba_overload(stub)(choose)

    return register


class KernelCache(_Cache):
    """What numba's dispatcher asks for compiled functions before it compiles, and gives new ones."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.name = f"{compiled.__module__}.{compiled.__qualname__}".replace("<", "").replace(">", "")

    @property
    def cache_path(self) -> str:
        return str(store.folder() / self.name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The function for a signature, or None."""
        target_context.refresh()
        content = store.load(self.name, *self._key(sig, target_context))
        return None if content is None else CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a function for a signature, unless it holds addresses of this process."""
        if not data.library.has_dynamic_globals:
            store.save(self.name, *self._key(sig, data.target_context), dumps(data._reduce()))

    def flush(self) -> None:
        store.clear(self.name)

    def enable(self) -> None:
        """Nothing to do: it is always on, as `disable` is never called."""

    def disable(self) -> None:
        """See `enable`."""

    def _key(self, sig: Any, target_context: Any) -> tuple[str, str]:
        arguments, _ = normalize_signature(sig)
        classes = sorted(set(_classes(arguments)), key=repr)
        slot = repr((sig, classes, target_context.codegen().magic_tuple(), _versions(), _settings()))
        return hashlib.sha256(slot.encode()).hexdigest()[:32], hash_sources(self.compiled, classes)[:32]


def _classes(arguments: Any) -> Iterator[Any]:
    """The named tuples' classes among the types of arguments, and compiled functions, whose types are addresses."""
    for kind in arguments:
        if isinstance(kind, types.Dispatcher):
            yield kind.dispatcher
        if isinstance(kind, types.BaseNamedTuple):
            yield kind.instance_class  # type: ignore[attr-defined]
        if isinstance(kind, types.BaseTuple):
            yield from _classes(kind)


def _versions() -> tuple[str, ...]:
    return sys.version, numba.__version__, llvmlite.__version__, np.__version__


def _settings() -> list[tuple[str, Any]]:
    settings = vars(numba.config).items()
    return sorted((name, str(value)) for name, value in settings if name.isupper() and not name.startswith(HARMLESS))


@parts.register
def _(thing: Dispatcher) -> Iterator[Any]:
    yield from (thing.py_func, sorted(thing.targetoptions.items()))


@parts.register
def _(thing: _Intrinsic) -> Iterator[Any]:
    yield from (thing._defn, thing._ctor_kwargs)
