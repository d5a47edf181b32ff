"""What the code of a function names: globals, attributes, and the modules that it imports itself."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from importlib import import_module
from types import CodeType, ModuleType

LIBRARIES = frozenset({"h5py", "llvmlite", "numba", "numpy", "rich", "torch"})
_ENDS = LIBRARIES | sys.stdlib_module_names
_IMPORT = dis.opmap["IMPORT_NAME"]


def is_library(module: str) -> bool:
    """Whether a module is of Python itself or of `LIBRARIES`."""
    return module.split(".")[0] in _ENDS


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)


def names_in(code: CodeType) -> set[str]:
    """Names of globals and attributes, in the functions inside too."""
    return {name for inner in _nested(code) for name in inner.co_names}


def imported(code: CodeType) -> Iterator[ModuleType]:
    """Modules that a function imports itself, but for libraries."""
    for inner in _nested(code):
        if _IMPORT in inner.co_code[::2]:
            module = ""
            for step in dis.get_instructions(inner):
                if step.opname == "IMPORT_NAME":
                    module = "" if is_library(step.argval) else step.argval
                    if module:
                        yield import_module(module)
                elif step.opname == "IMPORT_FROM" and module and not hasattr(import_module(module), step.argval):
                    yield import_module(f"{module}.{step.argval}")
