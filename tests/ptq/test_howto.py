"""What docs/how-to/calibrate.md shows runs as it stands there."""

import re
from pathlib import Path

from squat.ptq import RANGE_RULES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "calibrate.md"


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "digits4.safetensors"}
    assert "van Rossum" in capsys.readouterr().out


def test_the_table_lists_every_rule():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == set(RANGE_RULES)
