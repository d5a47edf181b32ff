"""Guides whose code is meant to run from top to bottom run so."""

import re
from pathlib import Path

import pytest
import torch

GUIDES = Path(__file__).parents[1] / "docs" / "how-to"
EXPECTED = {"from-snntorch.md": ("machine", "again")}
"""Names that a guide's code must have made."""
NEEDED = {"from-snntorch.md": "snntorch"}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_code_of_a_guide_runs(name, tmp_path, monkeypatch):
    pytest.importorskip(NEEDED[name], reason=f"the guide uses {NEEDED[name]} (dev extra)")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (GUIDES / name).read_text(), re.DOTALL):
        exec(compile(block, name, "exec"), names)
    assert all(names[made] is not None for made in EXPECTED[name])
