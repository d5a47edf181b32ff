"""What a function is made from, and what it is not, by the hash of its sources."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import types
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squat.kernels.sources import hash_sources

WHOLE = '''
import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba.extending import intrinsic
from numba import types

from squat.kernels.jit import jit, overload

FACTOR = 3
TABLE = np.arange(5)
NAMES = {"a": [1, 2]}
KINDS = frozenset({"x", "y", "z"})

class Options(NamedTuple):
    first: int
    second: int

class Others(NamedTuple):
    first: int

@dataclass(frozen=True)
class Row:
    update: object
    scale: float = 2.0

class Builder:
    step = 5
    def __init__(self, wide): self.wide = wide
    def emit(self): return self.helper() + self.step
    def helper(self): return 7
    @property
    def size(self): return 11
    @staticmethod
    def base(): return 13

def helper(x):
    """Says something."""
    return x + 17

def plain_update(x): return x * 19
def other_update(x): return x * 23

ROWS = {Options: Row(plain_update), Others: Row(other_update)}

def stub(o, x):
    """Stands for an update."""

@overload(stub)
def _stub(o, x):
    return ROWS[o.instance_class].update

def scaled(factor):
    def inner(x, more=29):
        return factor * x + more
    return inner

@intrinsic
def vector(typingctx, x):
    def build(context, builder, signature, args):
        return Builder(31).emit()
    return types.intp(types.intp), build

add_up = functools.partial(scaled(37), more=41)

@functools.lru_cache
def kept(x): return x + 43

@jit(close=True)
def middle(x):
    return helper(x) * FACTOR

def local(x):
    from squat.checks import check_type
    return check_type

@jit
def kernel(o, x):
    if x in KINDS:
        return vector(x) + add_up(x) + kept(x) + scaled(47)(x)
    return stub(o, x) + middle(x) + TABLE[0] + NAMES["a"][1]
'''


def module(source: str = WHOLE) -> Any:
    made = types.ModuleType("made_for_this_test")
    exec(compile(source, "made.py", "exec", dont_inherit=True), vars(made))
    return made


def hashed(source: str = WHOLE, options: str = "Options") -> str:
    made = module(source)
    return hash_sources(made.kernel, [getattr(made, options)])


CHANGES = [
    *(("= 3\n", "= 4\n"), ("arange(5)", "arange(5) + 1"), ("[1, 2]", "[1, 3]"), ('"z"}', '"w"}'), ("x + 17", "x - 17")),
    *(("x * 19", "x * 20"), ("= 2.0", "= 2.5"), ("step = 5", "step = 6"), ("return 7", "return 8")),
    *(("return 11", "return 12"), ("return 13", "return 14"), ("more=29", "more=30"), ("Builder(31)", "Builder(32)")),
    *(("scaled(37)", "scaled(38)"), ("more=41", "more=42"), ("x + 43", "x + 44"), ("scaled(47)", "scaled(48)")),
    *(("@jit(close=True)", "@jit"), ("@jit\n", "@jit(nogil=True)\n"), ("_class]", "_class or 0]")),
    ("first: int\n    second: int", "second: int\n    first: int"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_every_part_counts(old, new):
    changed = WHOLE.replace(old, new)
    assert changed != WHOLE
    assert hashed(changed) != hashed()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Says something.", "Says something else."),
        ("def helper(x)", "\n\n# a comment\ndef helper(x)"),
        ("x * 23", "x * 24"),  # another row of the registry
        ("def local(x):", "def local(x, y):"),  # not called
    ],
)
def test_nothing_else_does(old, new):
    changed = WHOLE.replace(old, new)
    assert changed != WHOLE
    assert hashed(changed) == hashed()


def test_another_row_belongs_to_another_signature():
    assert hashed(options="Others") != hashed()
    assert hashed(WHOLE.replace("x * 23", "x * 24"), "Others") != hashed(options="Others")
    made = module()
    everything = hash_sources(made.kernel)
    assert everything != hash_sources(module(WHOLE.replace("x * 23", "x * 24")).kernel)


def test_a_module_counts_by_what_is_taken_from_it(monkeypatch):
    part, source = types.ModuleType("part_of_this_test"), "import part_of_this_test as part\ndef f(x): return part.g(x)"
    monkeypatch.setitem(sys.modules, "part_of_this_test", part)
    exec("def g(x): return x\ndef h(x): return x", vars(part))
    first = hash_sources(module(source).f)
    exec("def h(x): return 2 * x", vars(part))
    assert hash_sources(module(source).f) == first
    inside = "def f(x):\n    import part_of_this_test\n    return part_of_this_test.g(x)"
    before = hash_sources(module(inside).f)
    exec("def g(x): return 2 * x", vars(part))
    assert hash_sources(module(source).f) != first
    assert hash_sources(module(inside).f) != before


def test_modules_that_a_function_imports_itself_count(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "package_of_this_test").mkdir()
    part = tmp_path / "package_of_this_test" / "part.py"
    source = "def f(x):\n    from package_of_this_test import part\n    return part.g(x)"
    hashes = set()
    for scale in (1, 2, 2):
        part.write_text(f"def g(x): return {scale} * x")
        for name in ("package_of_this_test", "package_of_this_test.part"):
            sys.modules.pop(name, None)
        shutil.rmtree(part.parent / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        hashes.add(hash_sources(module(source).f))
    assert len(hashes) == 2


def test_what_a_library_wraps_counts():
    def wrapped(step):
        return contextmanager(step)

    def first():
        yield 1

    def second():
        yield 2

    assert hash_sources(wrapped(first)) != hash_sources(wrapped(second))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_values_are_told_apart(left, right):
    """Equal hashes for equal values, types included, and for no others."""

    def function(value):
        return hash_sources(lambda: value)

    assert (function(left) == function(right)) == (repr(left) == repr(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.zeros(3), np.zeros(3, np.float32)), (np.zeros((2, 2)), np.zeros(4)), (np.arange(2000), -np.arange(2000)),
        (torch.arange(2000), torch.arange(2000) // 2), ({1}, frozenset({2})), (re.compile("a"), re.compile("b")),
        (Path("a"), Path("b")), (partial(int, base=2), partial(int, base=3)), (np.float32(1), np.float64(1)),
        (lru_cache(lambda x: x), lru_cache(lambda x: -x)), (len, max), (1, True), (0.0, -0.0), ("1", b"1"),
    ],
)  # fmt: skip
def test_objects_are_told_apart(left, right):
    assert hash_sources(left) != hash_sources(right)


class Items(tuple):
    """With attributes of its own."""


class Table(dict):
    """With attributes of its own."""


class Slotted:
    """Whose class below has no slots of its own."""

    __slots__ = ("value",)


class Below(Slotted):
    """See `Slotted`."""

    __slots__ = ()


def holding(thing, value):
    thing.value = value
    return thing


@pytest.mark.parametrize(
    "make",
    [
        lambda value: holding(Items((1,)), value), lambda value: holding(Table(a=1), value),
        lambda value: holding(Below(), value), lambda value: defaultdict(lambda: value),
        lambda value: deque([np.r_[np.zeros(2000), value, np.zeros(2000)]]),
    ],
    ids=["tuple", "dict", "slots", "defaultdict", "deque"],
)  # fmt: skip
def test_what_containers_hold_beside_their_items_counts(make):
    assert hash_sources(make(0.1)) == hash_sources(make(0.1))
    assert hash_sources(make(0.1)) != hash_sources(make(0.1 + 1e-12))


@pytest.mark.parametrize("file", ["<stdin>", "<string>", "<ipython-input-1>", "a.py"])
@pytest.mark.parametrize(
    "source",
    [
        "class K:\n  def eq(self, x): return {} * x",
        "class K:\n  @staticmethod\n  def eq(x): return {} * x",
        "class K:\n  def __call__(self, x): return {} * x",
        "@dataclass\nclass K:\n  a: int = field(default_factory=lambda: {})",
    ],
)
def test_classes_that_were_written_in_no_file_count(source, file):
    def made(factor):
        names = {"__name__": __name__, "dataclass": dataclass, "field": field}
        exec(compile(source.format(factor), file, "exec"), names)
        return hash_sources(names["K"])

    assert made(2) == made(2)
    assert made(2) != made(3)


def test_circles_end():
    made = module("def f(x): return g(x)\ndef g(x): return f(x) + 1\nd = {}\nd[1] = d\ndef h(): return d")
    other = module("def f(x): return g(x)\ndef g(x): return f(x) + 2\nd = {}\nd[1] = d\ndef h(): return d")
    assert hash_sources(made.f) != hash_sources(other.f)
    assert hash_sources(made.h) == hash_sources(other.h)


def test_what_has_no_value_is_refused():
    nameless = object()
    with pytest.raises(TypeError, match=r"<object object .*: expected something with a name or a value"):
        hash_sources(lambda: nameless)
