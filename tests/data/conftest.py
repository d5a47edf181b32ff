"""Data tests: no test reads or fills the real cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from squat.data import sources
from squat.data.sources import Source


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(sources, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of data files."""
    monkeypatch.delenv("SQUAT_DATA", raising=False)


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder that SQUAT_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("SQUAT_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def source_of() -> Callable[..., Source]:
    """`source_of(path, content, url=None)`: the source whose file has just this content."""

    def make(path: str, content: bytes, url: str | None = None) -> Source:
        return Source(path, hashlib.sha256(content).hexdigest(), len(content), url)

    return make
