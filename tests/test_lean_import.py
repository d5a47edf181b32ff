"""`import squat` loads torch and little else; what is heavy comes with its first use."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

HEAVY = (
    *("numba", "lightning", "pytorch_lightning", "pandas", "matplotlib", "h5py", "pooch", "typer", "rich"),
    *("torchmetrics", "tensorboardX", "scipy", "joblib", "pydantic", "ray", "snntorch", "brevitas", "triton"),
)
ROOT = Path(__file__).parents[1]
USED_BY_LIGHTNING = {"tensorboardX"}
OPTIONAL = {"ray", "snntorch", "triton"}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`, beyond those of `import torch`."""
    code = f"import sys, torch; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in output.split()}


def test_import_squat_is_lean():
    assert not loaded_by("import squat") & set(HEAVY)


def test_specs_and_surrogates_need_nothing_heavy():
    assert not loaded_by("import squat; squat.Anchored(4).levels(); squat.IntWeight(4)") & set(HEAVY)


def imported_by(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_the_dependencies_are_what_the_package_imports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split("[<>=]", text)[0] for text in project["dependencies"]}
    imported = set().union(*(imported_by(path) for path in (ROOT / "src").rglob("*.py")))
    assert declared - USED_BY_LIGHTNING == imported - set(sys.stdlib_module_names) - OPTIONAL - {"squat"}
