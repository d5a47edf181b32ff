"""The results folder: `ablation.json` (what is run), `data.json` (test labels), `records/`, `networks/`, `work/`.

One record per run, written when the run has ended, in one step (a kill leaves the old state or the new one).
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squat.ablation.schema import check_record
from squat.atomic import atomic_write
from squat.kernels.sources import source_hash
from squat.text import brief

FORMAT = "squat-ablation"
VERSION = 1
ABLATION = "ablation"
"""What an ablation's folder holds; one that `tune` wrote says so."""
TIME_KEYS = frozenset({"seconds", "time", "epoch_seconds", "elapsed"})


@dataclass(frozen=True)
class Folder:
    """Paths inside a results folder.

    Example:
        >>> Folder(Path("results")).record("float.seed0.ab12").as_posix()
        'results/records/float.seed0.ab12.json'
    """

    path: Path

    __repr__ = brief

    @property
    def config(self) -> Path:
        """What is run."""
        return self.path / "ablation.json"

    @property
    def data(self) -> Path:
        """Test labels and sizes of the data set."""
        return self.path / "data.json"

    def record(self, job: str) -> Path:
        """The record of a run."""
        return self.path / "records" / f"{job}.json"

    def network(self, job: str) -> Path:
        """The network of a run."""
        return self.path / "networks" / f"{job}.safetensors"

    def work(self, job: str) -> Path:
        """Checkpoints of an unfinished run; removed when its record is written."""
        return self.path / "work" / job

    def running(self, job: str) -> Path:
        """Marks a run in progress."""
        return self.path / "work" / f"{job}.running"

    def running_jobs(self) -> list[str]:
        """Ids of the runs in progress."""
        return sorted(path.name.removesuffix(".running") for path in (self.path / "work").glob("*.running"))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically: a reader or a kill sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _dump(value).encode())


def plain(value: Any) -> Any:
    """`value` as strict JSON values: numbers of other libraries as Python's, NaN and infinity as None.

    Example:
        >>> plain({"loss": float("nan"), "layers": (1, 2.0)})
        {'loss': None, 'layers': [1, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dump(value: Any) -> str:
    """JSON with one key per line at the top two levels; long lists stay on one line."""
    if not isinstance(value, dict):
        return json.dumps(value) + "\n"
    lines = []
    for key, entry in value.items():
        text = json.dumps(entry, separators=(",", ":")) if isinstance(entry, list) else json.dumps(entry)
        if isinstance(entry, dict) and len(text) > 100:
            inner = [f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in entry.items()]
            text = "{\n" + ",\n".join(inner) + "\n }"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a results folder.

    Raises:
        ValueError: if the file is missing, damaged or holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; is the folder a results folder of `squat ablate`?") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: damaged, not readable as JSON ({error}); delete it to run it again") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f'{path}: not written by `squat ablate` (its "format" is not {FORMAT!r})')
    if value.get("version") != VERSION:
        raise ValueError(f"{path}: format version {value.get('version')!r}, this squat reads {VERSION}")
    return value


def envelope(**values: Any) -> dict[str, Any]:
    """A JSON object with the format's name and version in front."""
    return {"format": FORMAT, "version": VERSION, **values}


def claim_folder(folder: Folder, kind: str, config: dict[str, Any]) -> None:
    """Makes the folder this experiment's, or checks that it is.

    Raises:
        ValueError: if the folder holds another experiment; the message names the settings that differ.
    """
    mine = envelope(kind=kind, config=config)
    if folder.config.exists():
        found = read_json(folder.config)
        if found != mine:
            differing = ", ".join(_differences(found, mine)[:5])
            again = "tune with its settings again"
            if found.get("kind") == ABLATION:
                again = f"continue it: squat ablate --config {folder.config} --folder {folder.path}"
            raise ValueError(
                f"{folder.path} holds the results of another experiment (differs in {differing}); "
                f"choose another folder, or {again}"
            )
        return
    write_json(folder.config, mine)


def config_in(document: Any) -> Any:
    """The ablation config in the document of a config file: the document, or what an `ablation.json` holds.

    Raises:
        ValueError: for another file of a results folder, or one of another version.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return document
    if document.get("version") != VERSION or document.get("kind") != ABLATION or "config" not in document:
        raise ValueError(
            f"format {FORMAT!r}, version {document.get('version')!r}, kind {document.get('kind')!r}: expected an "
            f"ablation config, or the ablation.json of an ablation (version {VERSION}, kind {ABLATION!r})"
        )
    return document["config"]


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [where]
    keys = [*a, *(key for key in b if key not in a)]
    missing = object()
    prefix = f"{where}." if where not in ("", "config") else ""
    return [d for key in keys for d in _differences(a.get(key, missing), b.get(key, missing), prefix + key)]


@contextlib.contextmanager
def only_user(folder: Folder) -> Iterator[None]:
    """Holds the folder against a second `squat ablate`; the system lets go of it when the process ends.

    Raises:
        ValueError: if another process holds it.
    """
    import fcntl

    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder.path}: another process runs this ablation; wait for it to end") from None
        yield


def read_records(folder: Folder, jobs: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Records by job id: of the given jobs that have one, or all in the folder.

    Raises:
        ValueError: for a damaged record.
    """
    if jobs is None:
        jobs = sorted(path.stem for path in (folder.path / "records").glob("*.json"))
    paths = {job: folder.record(job) for job in jobs}
    return {job: check_record(path, read_json(path)) for job, path in paths.items() if path.exists()}


def without_times(record: Any) -> Any:
    """A record without its durations: what must be equal between an interrupted and an uninterrupted ablation.

    Example:
        >>> without_times({"seconds": 3.2, "history": [{"epoch": 0, "seconds": 1.1}]})
        {'history': [{'epoch': 0}]}
    """
    if isinstance(record, dict):
        return {key: without_times(value) for key, value in record.items() if key not in TIME_KEYS}
    return [without_times(value) for value in record] if isinstance(record, list) else record


def versions() -> dict[str, str]:
    """Versions that a result depends on, and under `source` the hash of squat's code; no machine names, no paths."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name, distribution in (("squat", "squat-snn"), ("torch", "torch"), ("numba", "numba")):
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "source": source_hash()}
