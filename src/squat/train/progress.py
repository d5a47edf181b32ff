"""A progress bar over all steps of a run, with the last epoch's figures; silent where nobody watches."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from squat.train.record import History

STEPS_PER_UPDATE = 5


class ProgressLine(Callback):
    """One line on stderr: `title`, bar, steps, time left, validation accuracy."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
        self._title = title
        self._task: Any = None

    @staticmethod
    def watched() -> bool:
        """Whether stderr is a terminal."""
        return sys.stderr.isatty()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar at the step the run starts from."""
        if trainer.is_global_zero:
            total = int(trainer.estimated_stepping_batches)
            self._task = self._progress.add_task(self._title, total=total, completed=trainer.global_step, note="")
            self._progress.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar, but not at every step."""
        if self._task is not None and trainer.global_step % STEPS_PER_UPDATE == 0:
            self._progress.update(self._task, completed=trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show the figures of the epoch before."""
        self._show(trainer, pl_module.history)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Close the bar."""
        self._show(trainer, pl_module.history)
        self._progress.stop()

    def _show(self, trainer: Trainer, history: History) -> None:
        if self._task is not None and history:
            row = history[-1]
            accuracy = row["validation_accuracy" if "validation_accuracy" in row else "train_accuracy"]
            note = f"epoch {row['epoch']}: loss {row['train_loss']:.3f}, accuracy {100 * accuracy:.1f} %"
            self._progress.update(self._task, completed=trainer.global_step, note=note)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands below it."""
        self._progress.stop()
