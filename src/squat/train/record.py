"""What a run leaves: its history, one row of plain numbers per finished epoch, and the checkpoint that carries it."""

from __future__ import annotations

import csv
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

History = list[dict[str, Any]]
CHECKPOINT_NAME, HISTORY_NAME = "last.ckpt", "history.csv"


def best_epoch(history: History) -> int:
    """Number (from 1) of the first epoch with the highest validation accuracy.

    Example:
        >>> best_epoch([{"validation_accuracy": 0.2}, {"validation_accuracy": 0.5}, {"validation_accuracy": 0.5}])
        2
    """
    accuracies = [row["validation_accuracy"] for row in history]
    return accuracies.index(max(accuracies)) + 1


def out_of_patience(history: History, patience: int | None) -> bool:
    """Whether `patience` epochs have passed since the best one; never with None.

    Example:
        >>> out_of_patience([{"validation_accuracy": 0.5}, {"validation_accuracy": 0.4}], patience=1)
        True
    """
    return patience is not None and bool(history) and len(history) - best_epoch(history) >= patience


def history_csv(history: History) -> bytes:
    r"""The history as a CSV table with a header line.

    Example:
        >>> history_csv([{"epoch": 1, "train_loss": 0.5}])
        b'epoch,train_loss\n1,0.5\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's content; never runs code from the file.

    Raises:
        ValueError: if the file is damaged, naming it.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged checkpoint; delete it, or pass resume=False, to train anew") from error
