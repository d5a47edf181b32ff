"""Checkpoints: one file per run, replaced atomically after each epoch. Internal: `squat.save` writes what is shared."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from squat.atomic import atomic_path, atomic_write
from squat.train.record import CHECKPOINT_NAME, HISTORY_NAME, history_csv


class EpochCheckpoint(Checkpoint):
    """Saves the run after each epoch; a kill at any moment leaves the last finished epoch's file whole."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write beside the old file, then replace it."""
        path = self.folder / CHECKPOINT_NAME
        # Every device takes part in saving, the first one writes.
        with atomic_path(path) if trainer.is_global_zero else nullcontext(path) as part:
            trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            atomic_write(self.folder / HISTORY_NAME, history_csv(pl_module.history))
        # Other devices read the file when the run ends.
        trainer.strategy.barrier("squat.checkpoint")
