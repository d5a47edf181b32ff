"""Files and folders follow the umask, and a file that is replaced keeps its mode: for every writer and every verb."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import squat
from event_formats import write_shd
from squat.atomic import atomic_folder, atomic_path, atomic_write
from squat.cli import app
from squat.data import sources


@pytest.fixture(params=[0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wrong_modes(root: Path, umask: int) -> dict[str, str]:
    """What lies below a folder with another mode than `open` and `mkdir` give under this umask."""
    expected = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in root.rglob("*")}
    assert expected
    return {str(path): oct(mode(path)) for path, wanted in expected.items() if mode(path) != wanted}


def test_a_new_file_follows_the_umask(umask: int, tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", b"1")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("2")
    assert (tmp_path / "folder" / "inner" / "file").read_text() == "2"
    assert wrong_modes(tmp_path, umask) == {}


@pytest.mark.parametrize("kept", [0o664, 0o600, 0o640, 0o444, 0o200])
def test_a_replaced_file_keeps_its_mode(umask: int, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(kept)
    atomic_write(path, b"new")
    path.chmod((found := mode(path)) | 0o400)
    assert (oct(found), path.read_bytes(), os.listdir(tmp_path)) == (oct(kept), b"new", ["file"])


def test_a_private_file_is_private_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    with atomic_path(path) as part:
        assert mode(part) == 0o600


def test_a_writer_that_puts_a_file_of_its_own_there(umask: int, tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as part:  # as libraries do that write to a private file and move it
        (tmp_path / "own").touch(0o600)
        os.replace(tmp_path / "own", part)
    assert wrong_modes(tmp_path, umask) == {}


def test_a_symbolic_link_stays_one(umask: int, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "net").write_bytes(b"old")
    (tmp_path / "far" / "net").chmod(0o640)
    (tmp_path / "link").symlink_to("far/net")
    (tmp_path / "dangling").symlink_to("far/new")
    atomic_write(tmp_path / "link", b"new")
    atomic_write(tmp_path / "dangling", b"first")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dangling").is_symlink()
    assert ((tmp_path / "far" / "net").read_bytes(), mode(tmp_path / "far" / "net")) == (b"new", 0o640)
    assert (tmp_path / "far" / "new").read_bytes() == b"first"


def test_a_rename_is_flushed_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    flush = os.fsync

    def fsync(handle: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(tmp_path / "file", b"1")
    assert len(flushed) == 2
    assert flushed[0].name.startswith(".file.")
    assert flushed[1] == tmp_path
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "inner").write_bytes(b"2")
    assert [path.name for path in flushed[-3:]] == ["inner", "folder", tmp_path.name]


def test_the_umask_of_other_threads_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(mask: int) -> int:
        raise AssertionError("the umask is one for all threads")

    monkeypatch.setattr(os, "umask", never)
    paths = [tmp_path / str(number % 3) for number in range(12)]
    threads = [threading.Thread(target=atomic_write, args=(path, b"1")) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]


@pytest.mark.slow
def test_every_verb_follows_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, calibrate, run, lower, export and ablate, each of whose writers is another; then all modes."""
    rng = np.random.default_rng(0)
    data, out = tmp_path / "mine.npz", tmp_path / "out"
    np.savez(data, x=rng.integers(0, 2, (40, 5, 6)).astype(np.uint8), label=np.arange(40) % 2)
    monkeypatch.chdir(tmp_path)
    small = f"--data {data} --hidden 5 --epochs 1 --batch-size 16"
    quantized = "--weights 4 --states anchored:4 --readout spike_count"
    verbs = [
        f"train {small} --out {out}/float --tensorboard",
        f"train {small} {quantized} --out {out}/run",
        f"calibrate {out}/float --data {data} --weights 4 --picture {out}/a.png --out {out}/ptq/net.safetensors",
        f"run {out}/run --data {data} --predictions {out}/run/p.csv",
        f"run {out}/run --data {data} --predictions {out}/run/p.npz",
        f"lower {out}/run {out}/machine.safetensors",
        f"export c {out}/machine.safetensors {out}/c",
        f"ablate --data {data} --cells float,ptq --bits 4 --seeds 1 --epochs 1 --folder {out}/ablation --jobs 1",
    ]
    out.mkdir()
    before = os.umask(0o027)
    try:
        for verb in verbs:
            result = CliRunner().invoke(app, verb.split())
            assert result.exit_code == 0, (verb, result.output)
        # A group may be let in by hand, and stays in.
        report = out / "ablation" / "results.md"
        report.chmod(0o664)
        assert CliRunner().invoke(app, ["report", f"{out}/ablation"]).exit_code == 0
        assert mode(report) == 0o664
        report.chmod(0o640)
    finally:
        os.umask(before)
    assert wrong_modes(out, 0o027) == {}


def test_converted_event_data_follow_the_umask(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shd(tmp_path / "originals", 10)
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    squat.data.load("shd", folder=str(tmp_path / "originals"))
    assert wrong_modes(tmp_path / "cache", umask) == {}


def test_no_other_module_makes_private_files() -> None:
    """`tempfile` gives files and folders that only their owner reads; what it makes must not stay."""
    for path in Path(squat.__file__).parent.rglob("*.py"):
        code = "\n".join(line for line in path.read_text().splitlines() if ">>>" not in line)
        for word in ("mkstemp", "mkdtemp", "NamedTemporaryFile", "os.umask("):
            assert word not in code, f"{path}: {word}; squat.atomic makes files and folders that follow the umask"
