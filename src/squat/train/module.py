"""The LightningModule: what one training step is, and what happens at the end of an epoch."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from squat.models.network import Network
from squat.models.readout import predict
from squat.train import streams
from squat.train.augment import Place, augment
from squat.train.config import RunConfig, TrainConfig
from squat.train.evaluate import evaluate
from squat.train.losses import loss_of
from squat.train.record import History, best_epoch, out_of_patience

if TYPE_CHECKING:
    from squat.data import Split

EVALUATION_BATCH = 256


class TrainingModule(pl.LightningModule):
    """A network in training. `history` has one row per finished epoch and travels in the checkpoint.

    Args:
        network: trained in place.
        config: of the run.
        validation: evaluated in full, on every device, after each epoch; an empty split is skipped.
        augments: whether a step augments its batch; False if the loader does.
    """

    def __init__(self, network: Network, config: RunConfig, validation: Split, augments: bool = True) -> None:
        super().__init__()
        self.augments = augments
        self.network = network
        self.config = config
        self.validation = validation
        self.history: History = []
        self.best: dict[str, Tensor] | None = None
        self._start_epoch()

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook here some 40 times a step; nn.Module's search for parameters costs it 0.3 ms.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _start_epoch(self) -> None:
        self._sums = {"loss": 0.0, "correct": 0, "samples": 0}
        self._started = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; a loss that is not finite ends the run with its epoch and step."""
        x, labels = batch
        train = self.config.train
        place = Place(self.config.seed, self.current_epoch, batch_idx, self.global_rank)
        with streams.drawing_from(place.generator(streams.DROPOUT)):
            scores = self.network(augment(x, train.augment, place) if self.augments else x)
        loss = loss_of(scores, labels, x.shape[0], train.loss, train.logit_scale)
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(
                f"loss={value} in epoch {self.current_epoch + 1}, step {batch_idx + 1}: expected a finite loss; "
                "lower learning_rate, or clip gradients (clip_grad)"
            )
        self._sums["loss"] += value * len(labels)
        self._sums["correct"] += int((predict(scores.detach()) == labels).sum())
        self._sums["samples"] += len(labels)
        return loss

    def on_train_epoch_end(self) -> None:
        """Evaluate on validation and add the epoch's row to the history."""
        sums = torch.tensor([self._sums[name] for name in ("loss", "correct", "samples")], dtype=torch.float64)
        loss, correct, samples = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum").tolist()
        row: dict[str, Any] = {
            "epoch": self.current_epoch + 1,
            "train_loss": loss / samples,
            "train_accuracy": correct / samples,
        }
        train = self.config.train
        if len(self.validation):
            result = evaluate(
                self.network, self.validation, EVALUATION_BATCH, loss=train.loss, logit_scale=train.logit_scale
            )
            row |= {"validation_loss": result.loss, "validation_accuracy": result.accuracy}
            row["validation_tied_share"] = result.tied_share
        row["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        row["seconds"] = time.perf_counter() - self._started
        self.history.append(row)
        self._stop_early(train.early_stopping_patience)
        for logger in self.loggers:
            logger.log_metrics({key: row[key] for key in row if key != "epoch"}, step=row["epoch"])
        self._start_epoch()

    def _stop_early(self, patience: int | None) -> None:
        if patience is None:
            return
        if best_epoch(self.history) == len(self.history):
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.trainer.should_stop = out_of_patience(self.history, patience)

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, weight decay on matrices only; the schedule moves every step."""
        train = self.config.train
        optimizer = build_optimizer(self.network, train)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: schedule_factor(train.schedule, step, total)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know."""
        checkpoint["squat"] = {"history": self.history, "best": self.best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.history, self.best = checkpoint["squat"]["history"], checkpoint["squat"]["best"]
        self._start_epoch()


def schedule_factor(schedule: str, step: int, total: int) -> float:
    """Factor of the learning rate at a step: `(1 + cos(pi * step / total)) / 2`, or 1.

    Example:
        >>> [round(schedule_factor("cosine", step, 4), 3) for step in range(5)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(step, total) / total))


def build_optimizer(network: Network, train: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer; only parameters with two axes or more are decayed."""
    groups = [
        {"params": [p for p in network.parameters() if p.dim() >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in network.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if train.optimizer == "adam" else torch.optim.AdamW
    # One fused call for all parameters: several small ones take longer than a small network's loop.
    return kind([group for group in groups if group["params"]], lr=train.learning_rate, fused=True)
