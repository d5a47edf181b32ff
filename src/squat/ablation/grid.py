"""From an `AblationConfig` to jobs: one per trained or calibrated network, each with a stable id.

The id is a hash of the resolved settings, so a run that does not depend on scheme or bits occurs once, and a folder
that was interrupted knows what it has.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from squat.ablation.cells import Cell, get_cell, parent_of
from squat.ablation.schemes import get_scheme
from squat.text import brief

if TYPE_CHECKING:
    from squat.ablation.config import AblationConfig
    from squat.quant.spec import StateSpec
    from squat.quant.weight import IntWeight
    from squat.train.config import RunConfig


@dataclass(frozen=True)
class Job:
    """One network to train, or to calibrate from the network of the job `parent`.

    Args:
        id: readable coordinates and a hash of the resolved settings; the record's file name.
        cell, scheme, weight_bits, state_bits, seed: the coordinates; None where the cell does not depend on one.
        run: the resolved run. For a calibrated cell: the parent's run with the specs it ends with.
        parent: id of the job whose network is calibrated; None for a trained cell.
        calibrate_weights, calibrate_states: what calibration quantizes; None keeps what the parent has.
        state_ranges, calibration_samples: see `AblationConfig`.
        read_test: False in `tune`, which sees validation only.
    """

    id: str
    cell: str
    scheme: str | None
    weight_bits: int | None
    state_bits: int | None
    seed: int
    run: RunConfig
    parent: str | None = None
    calibrate_weights: IntWeight | None = None
    calibrate_states: StateSpec | None = None
    state_ranges: tuple[str, ...] = ()
    calibration_samples: int = 0
    read_test: bool = True

    __repr__ = brief

    @property
    def label(self) -> str:
        """The coordinates in words, for progress and messages."""
        weight = "" if self.weight_bits is None else f" w{self.weight_bits}"
        state = "" if self.state_bits is None else f" s{self.state_bits}"
        return f"{self.cell}{'' if self.scheme is None else ' ' + self.scheme}{weight}{state} seed {self.seed}"


@dataclass(frozen=True)
class Group:
    """A trained job and the jobs calibrated from its network; runs in one process, in this order."""

    train: Job
    calibrations: tuple[Job, ...]

    __repr__ = brief

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs of the group, the trained one first."""
        return (self.train, *self.calibrations)


class Coordinates(NamedTuple):
    """Where a cell stands on the axes of the grid; None where it does not depend on one."""

    scheme: str | None
    weight_bits: int | None
    state_bits: int | None

    def within(self, cell: Cell) -> Coordinates:
        """The coordinates that `cell` depends on, the others None."""
        scheme, weight_bits, state_bits = self
        if cell.states == "float":
            scheme, state_bits = None, None
        return Coordinates(scheme, None if cell.weights == "float" else weight_bits, state_bits)

    def specs(self, granularity: str) -> tuple[IntWeight | None, StateSpec | None]:
        """The weight and the state spec at these coordinates."""
        from squat.quant.weight import IntWeight

        weights = None
        if self.weight_bits is not None:
            weights = IntWeight(self.weight_bits, granularity=granularity, scale="mse")
        if self.scheme is None or self.state_bits is None:
            return weights, None
        return weights, get_scheme(self.scheme)(self.state_bits)


def expand(config: AblationConfig) -> list[Group]:
    """The jobs of an ablation, seed by seed, each calibrated job beside the trained one it starts from.

    Args:
        config: the ablation.

    Returns:
        Groups in the order in which they run; no job occurs twice.
    """
    trained: dict[str, Job] = {}
    children: dict[str, dict[str, Job]] = {}
    for seed in config.seeds:
        for cell in map(get_cell, config.cells):
            for at in coordinates(cell, config):
                parent = trained_job(config, parent_of(cell), at, seed)
                trained.setdefault(parent.id, parent)
                family = children.setdefault(parent.id, {})
                if not cell.trained:
                    job = job_at(config, cell, at, seed)
                    family.setdefault(job.id, job)
    return [Group(job, tuple(children[job.id].values())) for job in trained.values()]


def job_at(config: AblationConfig, cell: Cell, at: Coordinates, seed: int) -> Job:
    """The job of a cell at given coordinates.

    Args:
        config: the ablation.
        cell: any cell, trained or calibrated.
        at: coordinates; those that the cell does not depend on are ignored.
        seed: seed of the run.
    """
    at = at.within(cell)
    parent = trained_job(config, parent_of(cell), at, seed)
    return parent if cell.trained else _calibrated_job(config, cell, at, parent)


def coordinates(cell: Cell, config: AblationConfig) -> list[Coordinates]:
    """The coordinates at which a cell differs, in the config's order."""
    return list(dict.fromkeys(Coordinates(s, *pair).within(cell) for s in config.schemes for pair in config.pairs))


def trained_job(config: AblationConfig, cell: Cell, at: Coordinates, seed: int) -> Job:
    """The job that trains `cell` at the coordinates `at` (those of a cell calibrated from it, if they say more).

    Args:
        config: the ablation.
        cell: a trained cell.
        at: coordinates; beta is the one the config gives for them.
        seed: seed of the run.
    """
    beta = config.betas.get(f"{at.scheme}/{at.state_bits}", config.base.network.beta)
    at = at.within(cell)
    weights, states = at.specs(config.granularity)
    rate = config.learning_rates.get(cell.name, config.base.train.learning_rate)
    run = replace(
        config.base,
        data=config.data(seed),
        network=replace(config.base.network, weights=weights, states=states, beta=beta),
        train=replace(config.base.train, learning_rate=rate),
        seed=seed,
    )
    return Job(_name(cell, at, seed, run.to_json()), cell.name, *at, seed, run)


def _calibrated_job(config: AblationConfig, cell: Cell, at: Coordinates, parent: Job) -> Job:
    weights, states = at.specs(config.granularity)
    run = replace(parent.run, network=replace(parent.run.network, weights=weights, states=states))
    ranges = tuple(config.state_ranges) if cell.states == "ptq" else ("published",)
    settings = [run.to_json(), parent.id, ranges, config.calibration_samples]
    return Job(
        _name(cell, at, parent.seed, settings),
        cell.name,
        *at,
        parent.seed,
        run,
        parent=parent.id,
        calibrate_weights=weights if cell.weights == "ptq" else None,
        calibrate_states=states if cell.states == "ptq" else None,
        state_ranges=ranges,
        calibration_samples=config.calibration_samples,
    )


def _name(cell: Cell, at: Coordinates, seed: int, settings: Any) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    parts = [cell.name, at.scheme, at.weight_bits and f"w{at.weight_bits}", at.state_bits and f"s{at.state_bits}"]
    return ".".join([*(part for part in parts if part), f"seed{seed}", digest])
