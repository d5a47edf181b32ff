"""squat's own tools, with a training that says on which node it runs, and hangs, fails or dies there when told to."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from squat.ablation.tools import default_tools

SQUAT = default_tools()


def fit(config: Any, folder: Path, **options: Any) -> Any:
    """Trains; `SIGNS` is a folder that all nodes see, `NODE` the name of this one."""
    node, signs = os.environ.get("NODE"), Path(os.environ.get("SIGNS", "."))
    if node is not None:
        with (signs / f"runs-{node}").open("a") as log:
            log.write(f"{folder.name}\n")
        if (signs / f"kill-worker-{node}").exists():
            (signs / f"kill-worker-{node}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (signs / f"fail-{node}").exists():
            raise FileNotFoundError(f"no events.h5 below {folder}")
        if (signs / f"hang-{node}").exists():
            (signs / f"hang-{node}").replace(signs / f"hanging-{node}")
            time.sleep(600)
    return SQUAT.fit(config, folder, **options)


TOOLS = replace(SQUAT, fit=fit)
