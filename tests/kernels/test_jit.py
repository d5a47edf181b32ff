"""`jit`: compiled once, loaded after that, and compiled again after a change of any source or setting."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import squat
from squat.kernels import store
from squat.kernels.jit import jit

PACKAGE = Path(squat.__file__).parent

SMALL = """
from squat.kernels.jit import jit
FACTOR = 3
def helper(x): return x + 1
helper = jit(helper)
@jit
def kernel(x): return helper(x) * FACTOR
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def load(monkeypatch):
    """A new `kernel` of some source, as another process would have it."""

    def made(source: str = SMALL) -> Any:
        module = types.ModuleType("kernels_of_this_test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(source, vars(module))
        return module.kernel

    return made


def count(kernel: Any) -> tuple[int, int]:
    """Loaded, compiled."""
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


def test_loaded_where_nothing_changed_and_compiled_where_something_did(folder, load):
    kernel = load()
    assert (kernel(1), kernel(1.5), count(kernel)) == (6, 7.5, (0, 2))
    again = load()
    assert (again(1), again(1.5), count(again)) == (6, 7.5, (2, 0))
    for changed, expected in ((SMALL.replace("x + 1", "x + 2"), 9), (SMALL.replace("= 3", "= 4"), 8)):
        kernel = load(changed)
        assert (kernel(1), count(kernel)) == (expected, (0, 1))
    back = load()
    assert (back(1), count(back)) == (6, (1, 0))


def test_old_entries_do_not_pile_up(folder, load):
    for factor in range(2, 4 + store.KEPT):
        load(SMALL.replace("= 3", f"= {factor}"))(1)
    assert len(list((folder / "kernels_of_this_test.kernel").iterdir())) == store.KEPT
    kernel = load()
    kernel(1)
    kernel.recompile()
    assert kernel(1) == 6


@pytest.mark.parametrize("setting", ["OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT"])
def test_settings_have_entries_of_their_own(load, monkeypatch, setting):
    kernel = load()
    cache, context = kernel._cache, kernel.targetctx
    before = cache._key((numba.int64,), context)
    monkeypatch.setattr(numba.config, setting, 7)
    assert cache._key((numba.int64,), context)[0] != before[0]


def test_settings_that_change_no_code_do_not(load, monkeypatch):
    kernel = load()
    before = kernel._cache._key((numba.int64,), kernel.targetctx)
    for setting in ("NUMBA_NUM_THREADS", "CACHE_DIR", "DEBUG_CACHE", "THREADING_LAYER"):
        monkeypatch.setattr(numba.config, setting, 7)
    assert kernel._cache._key((numba.int64,), kernel.targetctx) == before


def test_versions_have_entries_of_their_own(load, monkeypatch):
    kernel = load()
    keys = {kernel._cache._key((numba.int64,), kernel.targetctx)[0]}
    for library in ("numba", "llvmlite", "numpy"):
        monkeypatch.setattr(sys.modules[library], "__version__", "0")
        keys.add(kernel._cache._key((numba.int64,), kernel.targetctx)[0])
    assert len(keys) == 4


def test_options_reach_the_compiler():
    def function(x):
        return x

    options = jit(function, close=True, parallel=True, nogil=True).targetoptions
    assert [options[name] for name in ("fastmath", "parallel", "nogil")] == [{"contract", "reassoc", "nsz"}, True, True]
    options = jit(function).targetoptions
    assert not any(options[name] for name in ("fastmath", "parallel", "nogil", "boundscheck"))
    assert options["error_model"] == "numpy"


def test_code_that_holds_addresses_is_not_kept(folder):
    table = np.zeros(2**20)

    def kernel(k):
        return table[k]

    assert jit(kernel)(1) == 0
    assert not list(folder.iterdir())


def test_functions_that_are_arguments_count(folder, load):
    """Their types are addresses, which another function may have in another process."""
    source = "from squat.kernels.jit import jit\n@jit\ndef of(x): return {} * x\n@jit\ndef kernel(f, x): return f(x)"
    made = [load(source.format(factor)) for factor in (2, 3)]
    keys = set()
    for kernel in made:
        signature = (numba.typeof(kernel.py_func.__globals__["of"]), numba.float64)
        keys.add(kernel._cache._key(signature, kernel.targetctx)[1])
    assert len(keys) == 2


COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass", "overload", "register_jitable"}
COMPILERS |= {"overload_method", "overload_attribute", "generated_jit"}


def bare(path: Path) -> list[str]:
    """What a file takes from numba that compiles without `jit`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    taken = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "numba"
        for alias in node.names
    ]
    taken += [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("numba", "nb")
    ]
    return [name for name in taken if name in COMPILERS]


def test_every_compiled_function_goes_through_jit(tmp_path):
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "kernels" / "jit.py"]
    assert len(files) > 200
    assert {str(path): names for path in files if (names := bare(path))} == {}
    (tmp_path / "some.py").write_text("from numba import njit\nimport numba\nnumba.vectorize")
    assert bare(tmp_path / "some.py") == ["njit", "vectorize"]


IN_COPY = """
import json
import sys
import numpy as np
from squat.data.binning import draw
from squat.ops.encoder import make_encoder
from squat.ops.lif.cpu_step import list_spikes
from squat.ops.quantizer import quantize_row
from squat.ops.states.alpha import EQUATIONS as ALPHA
from squat.ops.states.cpu_forward import update_row
from squat.ops.states.cuba import EQUATIONS as CUBA

def row(count, dtype=np.float32):
    return np.zeros(count, dtype)

def quantize():
    levels, code, codes = np.linspace(0, 1, 16, dtype=np.float32), row(16, np.int32), np.zeros((1, 16), np.uint8)
    encoder = make_encoder(((levels[1:] + levels[:-1]) / 2).astype(np.float32))
    quantize_row(levels, encoder, levels, row(16), code, row(16), row(16, np.int32), row(16), codes)
    return codes

def spikes():
    places = row(64, np.int32)
    count = list_spikes((np.arange(32) % 3 == 0).astype(np.float32), places)
    return [count, *places[:12]]

def update(equations, *options):
    options = equations.options(*options)
    p, x = np.full((2 + len(equations.parameters), 1), 0.5, np.float32), np.ones(1, np.float32)
    states = np.ones((len(equations.states), 1), np.float32)
    raw = np.zeros_like(states)
    update_row(options, len(equations.states) - 1, p, x, x, x, x, states, states, raw)
    return raw

jobs = {
    "constant": (draw, lambda: [draw(np.uint64(1), 2)]),
    "intrinsic": (list_spikes, spikes),
    "helper": (quantize_row, quantize),
    "equation": (update_row, lambda: update(CUBA, 0.0, False)),
    "other equation": (update_row, lambda: update(ALPHA, 0.0, False, 1.0)),
}
said = {}
for name in sys.argv[1:] or jobs:
    kernel, job = jobs[name]
    before = sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())
    result = np.asarray(job()).ravel().tolist()
    after = sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())
    said[name] = [result, after[0] - before[0], after[1] - before[1]]
print(json.dumps(said))
"""

EDITS = {
    "constant": ("data/binning.py", "0x9E3779B97F4A7C15", "0x9E3779B97F4A7C17"),
    "intrinsic": ("ops/simd.py", 'builder.fcmp_unordered("!=", loaded', 'builder.fcmp_unordered("==", loaded'),
    "helper": (
        "ops/encoder.py",
        "count_above(values, encoder.bounds, code, at)\n        else",
        "code[at] = 9\n        else",
    ),
    "equation": ("ops/states/cuba.py", "u = p[BETA] * before", "u = 0 * p[BETA] * before"),
}


def test_changes_in_a_copy_of_the_package_change_the_results(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "src" / "squat", ignore=shutil.ignore_patterns("__pycache__", "embedded"))

    def run(*jobs: str, **environment: str) -> dict[str, tuple[list[float], int, int]]:
        # Without files of bytecode: two edits within a second look the same to Python.
        own = {"PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        own |= {"PYTHONDONTWRITEBYTECODE": "1", **environment}
        command = [sys.executable, "-W", "error", "-c", IN_COPY, *jobs]
        return json.loads(subprocess.run(command, env=os.environ | own, capture_output=True, check=True).stdout)

    first = run()
    assert all((hits, misses) == (0, 1) for _, hits, misses in first.values())
    second = run()
    assert all((hits, misses) == (1, 0) for _, hits, misses in second.values())
    assert {name: result for name, (result, *_) in second.items()} == {name: first[name][0] for name in first}

    for file, old, new in EDITS.values():
        path = tmp_path / "src" / "squat" / file
        source = path.read_text()
        assert source.count(old) == 1
        path.write_text(source.replace(old, new))
    third = run()
    for name in EDITS:
        assert third[name][1:] == [0, 1]
        assert third[name][0] != first[name][0]
    assert third["other equation"] == [first["other equation"][0], 1, 0]

    assert run("constant", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")["constant"] == [third["constant"][0], 0, 1]
    assert run("constant") == {"constant": [third["constant"][0], 1, 0]}
