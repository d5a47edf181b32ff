"""`import squat` loads torch and little else; what is heavy comes with its first use."""

import subprocess
import sys

HEAVY = (
    *("numba", "lightning", "pytorch_lightning", "pandas", "matplotlib", "h5py", "pooch", "typer", "rich"),
    *("torchmetrics", "tensorboardX", "scipy", "joblib", "pydantic", "ray", "snntorch", "brevitas"),
)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`, beyond those of `import torch`."""
    code = f"import sys, torch; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in output.split()}


def test_import_squat_is_lean():
    assert not loaded_by("import squat") & set(HEAVY)


def test_specs_and_surrogates_need_nothing_heavy():
    assert not loaded_by("import squat; squat.Anchored(4).levels(); squat.IntWeight(4)") & set(HEAVY)
