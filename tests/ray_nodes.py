"""Two Ray nodes on this machine, each with mounts of its own, for tests of ablations on a cluster."""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import squat
from squat.ablation import AblationConfig

PATHS = [str(Path(__file__).parent), str(Path(squat.__file__).parents[1])]
RAY = Path(sys.executable).with_name("ray")
OWN_MOUNTS = [["unshare", "-m"], ["unshare", "-r", "-m"]]
"""Ways to a process with mounts of its own: as root, and as a user who may."""
DRIVER = """
import sys, pickle
from cluster_tools import TOOLS
from squat.ablation import Options, run
if __name__ == "__main__":
    config = pickle.load(open(sys.argv[1], "rb"))
    print(run(config, sys.argv[2], Options(n_jobs=-1, cluster=sys.argv[3], progress=False), TOOLS).message)
"""


def until(what: str, found: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return value


@dataclass
class Nodes:
    """Two Ray nodes. Where the results are, both have an empty folder of their own; `b` has one where data are, too."""

    root: Path
    unshare: list[str]
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    temporary: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="squat-ray-"))  # short: sockets lie there
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        for name in ("results", "data", "signs"):
            (self.root / name).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        own = ("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={self.temporary}")
        self._start("a", ["results"], "--head", f"--port={port}", *own)
        self._start("b", ["results", "data"], f"--address={self.address}")

    def environment(self, **more: str) -> dict[str, str]:
        paths = os.pathsep.join([*PATHS, *sys.path])
        ours = {"PYTHONPATH": paths, "SIGNS": str(self.root / "signs"), "RAY_USAGE_STATS_ENABLED": "0"}
        ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.mark, "RAY_TMPDIR": self.temporary}
        return {**os.environ, **ours, **ray, "SQUAT_TEST": self.mark, **more}

    def _start(self, name: str, hidden: list[str], *options: str) -> None:
        hide = "".join(f"mount -t tmpfs none '{self.root / folder}' && " for folder in hidden)
        ray = [str(RAY), "start", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--block", *options]
        command = [*self.unshare, "sh", "-c", hide + 'exec "$@"', "sh", *ray]
        with (self.root / f"{name}.log").open("w") as log:
            self.started.append(subprocess.Popen(command, env=self.environment(NODE=name), stdout=log, stderr=log))
        until(f"node {name} has started", lambda: "Ray runtime started" in (self.root / f"{name}.log").read_text())

    def kill(self, name: str | None = None, program: str = "") -> int:
        """Kill -9 what runs of a node, or of all, and says how much that was."""
        killed = 0
        wanted = [f"SQUAT_TEST={self.mark}", f"NODE={name or ''}"]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_text(errors="replace")
                if all(word in environment for word in wanted) and program in (process / "cmdline").read_text():
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
            except OSError:
                continue
        return killed

    def driver(self, config: AblationConfig, results: Path) -> subprocess.Popen[str]:
        (self.root / "driver.py").write_text(DRIVER)
        (self.root / "config.pickle").write_bytes(pickle.dumps(config))
        command = [sys.executable, "driver.py", "config.pickle", str(results), self.address]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def runs(self, name: str) -> list[str]:
        log = self.root / "signs" / f"runs-{name}"
        return log.read_text().split() if log.exists() else []

    def sign(self, name: str) -> Path:
        return self.root / "signs" / name
