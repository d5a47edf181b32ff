"""A results folder, read: its config, its data set's labels, its records by coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squat.ablation.cells import CELLS, get_cell, parent_of
from squat.ablation.config import AblationConfig
from squat.ablation.grid import Coordinates, coordinates, job_at
from squat.ablation.records import Folder, read_json, read_records
from squat.ablation.schema import check_data
from squat.text import brief


@dataclass(frozen=True)
class Results:
    """What an ablation has found so far.

    Args:
        folder: where it lies.
        config: what was asked.
        data: `data.json`: name, classes, test labels (by seed where each seed has its own).
        records: by job id, failed ones too.
    """

    folder: Folder
    config: AblationConfig
    data: dict[str, Any]
    records: dict[str, dict[str, Any]]

    __repr__ = brief

    @classmethod
    def read(cls, path: Path | str) -> Results:
        """The results in a folder.

        Raises:
            ValueError: if it is not a results folder, or a file in it is damaged.
        """
        folder = Folder(Path(path))
        found = read_json(folder.config)
        if found.get("kind") != "ablation":
            raise ValueError(f"{folder.path} holds a {found.get('kind')!r}, not an ablation; nothing to report")
        config = AblationConfig.from_json(found.get("config"))
        return cls(folder, config, check_data(folder.data, read_json(folder.data)), read_records(folder))

    @property
    def chance(self) -> float:
        """Accuracy of guessing, in percent."""
        return 100 / self.data["classes"]

    @property
    def cells(self) -> list[str]:
        """Names of the cells that have runs, in the order of registration."""
        wanted = {get_cell(name) for name in self.config.cells}
        wanted |= {parent_of(cell) for cell in wanted}
        return [cell.name for cell in CELLS.values() if cell in wanted]

    def rows(self) -> Iterator[tuple[str, Coordinates]]:
        """Every cell at every coordinate it has."""
        for name in self.cells:
            for at in coordinates(get_cell(name), self.config):
                yield name, at

    def runs(self, cell: str, at: Coordinates) -> dict[int, dict[str, Any]]:
        """Records of a cell by seed, of runs that ended well."""
        return {seed: record for seed, record in self._all(cell, at).items() if record["status"] == "ok"}

    def failed(self, cell: str, at: Coordinates) -> int:
        """Number of failed runs of a cell."""
        return sum(record["status"] == "failed" for record in self._all(cell, at).values())

    def _all(self, cell: str, at: Coordinates) -> dict[int, dict[str, Any]]:
        jobs = self._jobs[cell, at.within(get_cell(cell))]
        return {seed: self.records[job] for seed, job in jobs.items() if job in self.records}

    @cached_property
    def _jobs(self) -> dict[tuple[str, Coordinates], dict[int, str]]:
        config = self.config
        return {
            (name, at): {seed: job_at(config, get_cell(name), at, seed).id for seed in config.seeds}
            for name, at in self.rows()
        }

    def correct(self, cell: str, at: Coordinates, seeds: list[int]) -> NDArray[np.bool_]:
        """Whether each test sample was predicted right: [seeds, samples].

        Where the seeds are folds, a column holds another sample in every row. Resampling columns as a whole is then
        still fair: rows are independent, and a column is just one sample drawn from each fold.
        """
        runs = self.runs(cell, at)
        return np.stack([np.asarray(runs[seed]["test"]["predictions"]) == self.test_labels(seed) for seed in seeds])

    def test_labels(self, seed: int) -> NDArray[np.int64]:
        """Labels of the test samples that the runs with this seed predicted."""
        labels = self.data["test_labels"]
        return np.asarray(labels[str(seed)] if isinstance(labels, dict) else labels)
