"""The ablation: {float, PTQ, QAT} weights x {float, PTQ, SQUAT} states, every scheme, bits and seeds, to verdicts."""

from squat.ablation.cells import CELLS, Cell, register_cell
from squat.ablation.config import AblationConfig, crossed
from squat.ablation.presets import PRESETS, preset
from squat.ablation.report import report
from squat.ablation.results import Results
from squat.ablation.runner import Options, Summary, run
from squat.ablation.schemes import SCHEMES, register_scheme
from squat.ablation.tune import Tuned, tune
from squat.ablation.verdicts import Verdict, verdicts

__all__ = [
    "CELLS",
    "PRESETS",
    "SCHEMES",
    "AblationConfig",
    "Cell",
    "Options",
    "Results",
    "Summary",
    "Tuned",
    "Verdict",
    "crossed",
    "preset",
    "register_cell",
    "register_scheme",
    "report",
    "run",
    "tune",
    "verdicts",
]
