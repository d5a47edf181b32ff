"""Settings chosen on validation before an ablation: beta on `float`, one learning rate per trained cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from squat.ablation.cells import CELLS, Cell, get_cell, parent_of
from squat.ablation.config import AblationConfig
from squat.ablation.grid import Group, Job, coordinates, trained_job
from squat.ablation.records import Folder, envelope, read_records, write_json
from squat.ablation.runner import Options, run_groups
from squat.ablation.tools import Tools
from squat.text import brief


@dataclass(frozen=True)
class Tuned:
    """What `tune` chose, and from what.

    Args:
        beta: the beta of all cells.
        learning_rates: per trained cell.
        table: one row per setting: cell, beta, learning rate, mean validation accuracy, number of runs.
    """

    beta: float
    learning_rates: dict[str, float]
    table: tuple[dict[str, Any], ...]

    __repr__ = brief

    def apply(self, config: AblationConfig) -> AblationConfig:
        """The ablation with the chosen beta and learning rates."""
        base = replace(config.base, network=replace(config.base.network, beta=self.beta))
        return replace(config, base=base, learning_rates=self.learning_rates)


def tune(
    config: AblationConfig,
    folder: Path | str,
    learning_rates: Sequence[float],
    betas: Sequence[float] = (),
    options: Options | None = None,
    tools: Tools | None = None,
) -> Tuned | None:
    """Chooses beta and learning rates on the validation split; the test split is not read.

    First `float` on the grid beta x learning rate: the best pair gives the beta. Then, at that beta, every other
    trained cell (of those that the ablation needs) on the same learning rates. A cell's accuracy is the mean over the
    config's seeds, schemes and bits, so one value is kept per cell type. Equal accuracies: the setting listed first.

    Args:
        config: the ablation; usually one seed and 4 bits.
        folder: results folder of the tuning; an interrupted one is continued.
        learning_rates: the grid, the same for all cells.
        betas: betas to try; the base's if empty.
        options: how to run.
        tools: the functions to use; squat's own if None.

    Returns:
        the choice, also written to `tuned.json` in the folder; None if the budget ended first.

    Raises:
        ValueError: if the grid is empty, a run failed, or the folder holds another experiment.
    """
    if not learning_rates:
        raise ValueError("learning_rates: expected at least one value to try")
    betas = tuple(betas) or (config.base.network.beta,)
    place = Folder(Path(folder).resolve())
    identity = {**config.to_json(), "learning_rate_grid": list(learning_rates), "beta_grid": list(betas)}
    stage = partial(_stage, config, place, identity, options, tools)
    first = stage(list(product([CELLS["float"]], betas, learning_rates)))
    if first is None:
        return None
    beta = _best(first)["beta"]
    others = [cell for cell in CELLS.values() if cell.trained and cell.name in _needed(config) and cell.name != "float"]
    second = stage(list(product(others, [beta], learning_rates)))
    if second is None:
        return None
    table = [*first, *second]
    chosen = {
        name: _best([row for row in table if (row["cell"], row["beta"]) == (name, beta)])["learning_rate"]
        for name in dict.fromkeys(row["cell"] for row in table)
    }
    tuned = Tuned(beta, chosen, tuple(table))
    write_json(place.path / "tuned.json", envelope(**asdict(tuned)))
    return tuned


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: row["validation_accuracy"])


def _needed(config: AblationConfig) -> set[str]:
    return {"float"} | {parent_of(get_cell(name)).name for name in config.cells}


def _stage(
    config: AblationConfig,
    folder: Folder,
    identity: dict[str, Any],
    options: Options | None,
    tools: Tools | None,
    grid: list[tuple[Cell, float, float]],
) -> list[dict[str, Any]] | None:
    settings = [(cell, beta, rate, _jobs(config, cell, beta, rate)) for cell, beta, rate in grid]
    if not settings:
        return []
    groups = [Group(job, ()) for *_, jobs in settings for job in jobs]
    summary = run_groups(groups, folder, "tune", identity, options, tools)
    if summary.failed:
        raise ValueError(f"tune: {summary.message}; see work/ in the folder")
    if summary.remaining:
        return None
    records = read_records(folder)
    return [
        {
            "cell": cell.name,
            "beta": beta,
            "learning_rate": rate,
            "validation_accuracy": sum(records[job.id]["validation"]["accuracy"] for job in jobs) / len(jobs),
            "runs": len(jobs),
        }
        for cell, beta, rate, jobs in settings
    ]


def _jobs(config: AblationConfig, cell: Cell, beta: float, rate: float) -> list[Job]:
    base = replace(config.base, network=replace(config.base.network, beta=beta))
    tried = replace(config, base=base, betas={}, learning_rates={cell.name: rate})
    return [
        replace(trained_job(tried, cell, at, seed), read_test=False)
        for seed in config.seeds
        for at in coordinates(cell, config)
    ]
