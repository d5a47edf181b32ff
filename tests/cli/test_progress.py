"""The bar of `squat run` and `squat calibrate`: on a terminal only, and it changes no result."""

import io
import json
import sys

from squat.cli.calibrate import calibrate
from squat.cli.run import run


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_and_the_same_result(squat, trained, tmp_path, monkeypatch, capsys):
    plain = squat("run", trained, "--json")
    assert plain.exit_code == 0, plain.output
    assert plain.stderr.count("\n") == 1  # no bar, only how the file without `split` is dealt
    assert "no `split` in the file" in plain.stderr
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(trained, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(plain.stdout)
    assert "test" in terminal.getvalue()
    calibrate(trained, tmp_path / "net.safetensors", weights="4", states="uniform:4")
    assert "calibration" in terminal.getvalue()
    assert "calibrated on 42 samples" in capsys.readouterr().out
