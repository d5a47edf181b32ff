"""torch's disk cache of compiled graphs: what an operator's gradient is made from is no part of its keys but for us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch._inductor.config as inductor

import squat
from squat import operators

OPERATOR = """
import torch
from squat.operators import operator

def backward(ctx, g):
    return 2 * g

@operator("(Tensor x) -> Tensor", torch.empty_like, (lambda ctx, inputs, output: None, backward))
def doubled_for_this_test(x):
    return 2 * x
"""

STEP = """
import torch
from torch._dynamo.utils import counters
from squat.made_for_this_test import doubled_for_this_test

x = torch.ones(3, requires_grad=True)
torch.compile(lambda x: doubled_for_this_test(x) + 1, fullgraph=True)(x).sum().backward()
print(x.grad.tolist(), counters["aot_autograd"]["autograd_cache_hit"])
"""


def test_compiling_marks_the_cache_with_the_code_and_keeps_the_users_mark():
    code = """
import torch, squat
import torch.compiler.config as settings
assert settings.cache_key_tag == "mine"
from squat.operators import check_finite
torch.compile(lambda x: [check_finite(x), x + 1], backend="eager", fullgraph=True)(torch.ones(3))
first = settings.cache_key_tag
torch.compile(lambda x: [check_finite(x), x + 2], backend="eager", fullgraph=True)(torch.ones(3))
assert settings.cache_key_tag == first
print(first)
"""
    own = {"TORCH_COMPILE_CACHE_KEY_TAG": "mine"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True)
    assert done.stdout.startswith("minesquat-"), done.stderr


def test_without_a_mark_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(torch.compiler, "config", types.ModuleType("config"))
    monkeypatch.setattr(inductor, "force_disable_caches", False)
    operators._mark_compiled_graphs.__wrapped__()
    assert inductor.force_disable_caches


@pytest.mark.slow
def test_a_changed_gradient_is_not_taken_from_the_cache(tmp_path):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("needs a C++ compiler")
    package = tmp_path / "src" / "squat"
    ignored = shutil.ignore_patterns("__pycache__", "embedded")
    shutil.copytree(Path(squat.__file__).parent, package, ignore=ignored)
    own = {
        "PYTHONPATH": str(tmp_path / "src"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(source: str) -> str:
        (package / "made_for_this_test.py").write_text(source)
        done = subprocess.run([sys.executable, "-c", STEP], env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run(OPERATOR) == "[2.0, 2.0, 2.0] 0"
    assert run(OPERATOR) == "[2.0, 2.0, 2.0] 1"
    assert run(OPERATOR.replace("2 * g", "3 * g")) == "[3.0, 3.0, 3.0] 0"
