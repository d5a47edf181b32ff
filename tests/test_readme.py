"""What the README shows runs as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    assert names["loss"].isfinite()
    assert (tmp_path / "digits.squat").exists()


def test_the_two_commands_are_make_targets():
    targets = set(re.findall(r"^(\w+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README.read_text(), re.MULTILINE)) <= targets


def test_the_folders_of_the_tree_exist():
    root, tree = README.parent, README.read_text().split("## Where things are")[1].split("```")[1]
    folders = re.findall(r"^(\S+)/ ", tree, re.MULTILINE) + [
        f"src/squat/{n}" for n in re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)
    ]
    assert not [folder for folder in folders if not (root / folder).is_dir()]
