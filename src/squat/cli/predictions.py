"""Predictions of `squat run`, one record per sample: where it stands in its file, class, label if known, scores."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.checks import check_choice
from squat.cli import output

if TYPE_CHECKING:
    from squat.data import Split
    from squat.train import Evaluation

ENDINGS = (".csv", ".json", ".npz")


def check_place(path: Path, overwrite: bool) -> None:
    """Refuse a file that predictions cannot be written to, before the long work.

    Raises:
        ValueError: for another ending, an existing file or a missing folder.
    """
    check_choice("--predictions ending", path.suffix, ENDINGS)
    output.refuse_existing(path, overwrite)
    if not path.parent.is_dir():
        raise ValueError(f"--predictions {path}: there is no folder {path.parent}; make it first")


def columns_of(result: Evaluation, split: Split) -> dict[str, Any]:
    """Arrays with one entry per sample: `index` in the file, `prediction`, `label` if known, `scores [N, classes]`."""
    import numpy as np

    labels = {"label": split.labels.numpy()} if split.labelled else {}
    predicted = np.array(result.predictions, dtype=np.int64)
    return {"index": split.index.numpy(), "prediction": predicted, **labels, "scores": result.scores.numpy()}


def write(path: Path, columns: dict[str, Any]) -> None:
    """Write the arrays, atomically, in the form that the ending names."""
    import numpy as np

    from squat.atomic import atomic_path

    with atomic_path(path) as part, part.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **columns)
        else:
            file.write((as_csv if path.suffix == ".csv" else _as_json)(columns).encode())


def as_csv(columns: dict[str, Any]) -> str:
    """A line per sample, with a column for each class's score.

    Example:
        >>> import numpy as np
        >>> print(as_csv({"index": np.array([4]), "prediction": np.array([1]), "scores": np.array([[0.5, 2.0]])}))
        index,prediction,score_0,score_1
        4,1,0.5,2.0
        <BLANKLINE>
    """
    *names, _ = columns
    scores = columns["scores"].tolist()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*names, *(f"score_{place}" for place in range(len(scores[0])))])
    heads = zip(*(columns[name].tolist() for name in names), strict=True)
    table.writerows([*head, *row] for head, row in zip(heads, scores, strict=True))
    return text.getvalue()


def _as_json(columns: dict[str, Any]) -> str:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n"
