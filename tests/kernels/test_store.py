"""The folder of compiled functions: whole entries only, few old ones, and a word where nothing can be kept."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from squat.kernels import store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    store._trim.cache_clear()
    store._say_unwritable.cache_clear()
    yield tmp_path
    store._trim.cache_clear()
    store._say_unwritable.cache_clear()


def aged(path: Path, seconds: int) -> None:
    os.utime(path, ns=(10**18 + seconds * 10**9,) * 2)


def test_what_is_kept_comes_back():
    assert store.load("f", "slot", "one") is None
    store.save("f", "slot", "one", b"machine code")
    assert store.load("f", "slot", "one") == b"machine code"
    assert store.load("f", "slot", "two") is None
    assert store.load("f", "other", "one") is None
    assert store.load("g", "slot", "one") is None
    store.clear("f")
    assert store.load("f", "slot", "one") is None


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: b"x" + whole[1:]])
def test_an_entry_that_is_not_whole_counts_as_none(folder, damage):
    store.save("f", "slot", "one", b"machine code")
    path = folder / "f" / "slot-one"
    path.write_bytes(damage(path.read_bytes()))
    assert store.load("f", "slot", "one") is None
    store.save("f", "slot", "one", b"machine code")
    assert store.load("f", "slot", "one") == b"machine code"


def test_a_slot_keeps_what_was_used_last(folder):
    for i in range(store.KEPT):
        store.save("f", "slot", f"s{i}", b"code")
        aged(folder / "f" / f"slot-s{i}", i)
    store.save("f", "other", "s0", b"code")
    assert store.load("f", "slot", "s0")  # used now
    store.save("f", "slot", "new", b"code")
    kept = {path.name for path in (folder / "f").iterdir()}
    assert kept == {"slot-s0", "other-s0", "slot-new", *(f"slot-s{i}" for i in range(2, store.KEPT))}


def test_the_folder_is_bounded_and_unfinished_files_of_dead_processes_go(folder, monkeypatch):
    for i in range(5):
        store.save(f"f{i}", "slot", "s", bytes(1000))
        aged(folder / f"f{i}" / "slot-s", i)
    old, young = folder / "f0" / ".slot-s.1.tmp", folder / "f0" / ".slot-s.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    aged(old, 0)
    monkeypatch.setattr(store, "MOST_BYTES", 3500)
    store._trim.cache_clear()
    store.save("g", "slot", "s", bytes(1000))
    assert {path.parent.name for path in folder.glob("*/*-*")} >= {"g", "f4", "f3"}
    assert len(list(folder.glob("*/slot-s"))) == 3
    assert (young.exists(), old.exists()) == (True, False)


def test_where_nothing_can_be_kept_it_is_said_once(folder, monkeypatch):
    monkeypatch.setattr(store, "folder", lambda: folder / "a file" / "below")
    (folder / "a file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="cannot be kept in .*below.*: set NUMBA_CACHE_DIR to a folder that can be"):
        store.save("f", "slot", "one", b"code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.save("f", "slot", "two", b"code")
    assert store.load("f", "slot", "one") is None


def test_a_folder_that_cannot_be_written_still_serves(folder, monkeypatch):
    store.save("f", "slot", "one", b"code")

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "utime", refuse)
    assert store.load("f", "slot", "one") == b"code"


WRITER = """
import sys
from pathlib import Path
from squat.kernels import store
store.folder = lambda: Path(sys.argv[1])
for i in range(60):
    which = i % 5
    store.save("f", "slot", f"s{which}", bytes([which]) * 200_000)
    content = store.load("f", "slot", f"s{(i * 3) % 5}")
    assert content is None or content == bytes([(i * 3) % 5]) * 200_000
"""


def test_processes_share_it(folder):
    """They write, read and remove the same entries at the same time; none sees half of one."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.communicate()[1] == ""
        assert writer.returncode == 0
    assert len(list((folder / "f").iterdir())) <= store.KEPT
