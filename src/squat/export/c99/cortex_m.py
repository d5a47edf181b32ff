"""Exported C on Cortex-M under QEMU: codes compared, instructions counted, sizes read from the object files."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from squat.checks import check_choice
from squat.text import brief

CORES = ("cortex-m0", "cortex-m3", "cortex-m4")
TOOLS = ("make", "arm-none-eabi-gcc", "qemu-system-arm")
MISSING = tuple(tool for tool in TOOLS if not shutil.which(tool))
"""Tools that `measure` needs and this computer lacks."""

SHIFTS = (6, 4, 2, 0)
"""An instruction takes 2**shift ns: the larger, the finer the timer counts, and the sooner its 24 bits are full."""
TICK_NS = 40
"""The boards' timers run at 25 MHz."""


@dataclass(frozen=True)
class Measurement:
    """A network on one core. Instructions are counted by QEMU; they are no cycles, since memory is never waited for.

    Attributes:
        core: such as `"cortex-m3"`.
        equal: whether every code of the embedded vectors is the one that was exported.
        instructions_per_step: mean over the steps behind the first of each sample, which resets and sums images.
        most_instructions: of one of these steps.
        stack: bytes of stack that a step used.
        runtime: bytes of the runtime's code.
        constants: bytes of the network's tables.
        ram: bytes of the network's memory.
        multiplications: multiply and divide instructions, and calls of functions that do either, in what a step runs.
    """

    core: str
    equal: bool
    instructions_per_step: float
    most_instructions: float
    stack: int
    runtime: int
    constants: int
    ram: int
    multiplications: int

    __repr__ = brief

    @property
    def flash(self) -> int:
        """Code and tables."""
        return self.runtime + self.constants


def measure(folder: Path | str, core: str) -> Measurement:
    """Build an exported folder for a core and run its vectors under QEMU (`make qemu-CORE`).

    Raises:
        ValueError: for another core, missing tools, or a build or run that fails.
    """
    check_choice("core", core, CORES)
    if MISSING:
        raise ValueError(f"core={core!r}: needs {', '.join(MISSING)}, which this computer lacks; install them")
    for shift in SHIFTS:
        text, values = _run(folder, core, shift)
        if not values["overflows"]:
            break
    else:
        raise ValueError(f"{folder}: a time step outlasts the timer of {core} at every speed; count it another way")
    instructions = TICK_NS / 2 ** values["icount_shift"]
    runtime, constants = _sizes(text)
    return Measurement(
        core=core,
        equal=values["equal"] == 1,
        instructions_per_step=values["total_ticks"] * instructions / max(values["steps"], 1),
        most_instructions=values["longest_ticks"] * instructions,
        stack=values["stack"],
        runtime=runtime,
        constants=constants,
        ram=values["ram"],
        multiplications=values["multiplications"],
    )


def _run(folder: Path | str, core: str, shift: int) -> tuple[str, dict[str, int]]:
    """What `make qemu-CORE` printed, and the values in it."""
    command = ["make", f"qemu-{core}", f"SHIFT={shift}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    values = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", done.stdout, re.MULTILINE)}
    if done.returncode or "equal" not in values:
        raise ValueError(f"{folder}: make qemu-{core} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout, values


def _sizes(text: str) -> tuple[int, int]:
    """Bytes of code, and of constants, from `size -A` of the objects."""
    sections = re.findall(r"^(\.[\w.]+)\s+(\d+)\s+\d+$", text, re.MULTILINE)
    kinds = (".text", ".rodata")
    code, constants = (sum(int(size) for name, size in sections if name.startswith(kind)) for kind in kinds)
    return code, constants
