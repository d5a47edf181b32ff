"""`evaluate`: accuracy, predictions and spike rates of a network on a split."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from squat.checks import LARGEST_COUNT, check_choice, check_int, check_type
from squat.models.network import Network
from squat.models.readout import predict, tied
from squat.neurons.stateful import Stateful
from squat.text import brief
from squat.train.ahead import ahead
from squat.train.config import LOSSES
from squat.train.losses import loss_of
from squat.train.threads import threads as use_threads

if TYPE_CHECKING:
    from squat.data import Split


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a split.

    Attributes:
        accuracy: share of correct predictions; None without labels.
        loss: mean loss of a sample; None without labels.
        tied_share: share of samples in which several classes share the highest score (the lowest index is predicted).
        predictions: predicted class of every sample, in the split's order.
        spike_rates: mean spikes per neuron and step of every spiking layer, by position and class such as `"0 RLIF"`.
        scores: of every sample and class, `[N, classes]` on the CPU.
    """

    accuracy: float | None
    loss: float | None
    tied_share: float
    predictions: list[int]
    spike_rates: dict[str, float]
    scores: Tensor = field(repr=False, compare=False)

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """All values as JSON."""
        return {**self.__dict__, "scores": self.scores.tolist()}


@torch.no_grad()
def evaluate(
    network: Network,
    split: Split,
    batch_size: int = 256,
    threads: int | None = None,
    *,
    loss: str = "cross_entropy",
    logit_scale: float = 1.0,
) -> Evaluation:
    """Run a network over a split, in evaluation mode and without gradients; its training mode is left as it was.

    Args:
        network: maps `[T, B, ...]` to scores `[B, classes]`.
        split: data; without labels there is no accuracy and no loss.
        batch_size: samples at a time; changes no prediction of a network with quantized weights.
        threads: CPU threads, None for torch's present number.
        loss: loss to report, as in `TrainConfig`.
        logit_scale: factor of the scores in the cross-entropy.

    Returns:
        The `Evaluation`; accuracy and loss are exact means over samples.

    Raises:
        TypeError: if `network` is no `Network`.
        ValueError: for an empty split, and for scores that are not finite.

    Example:
        >>> from squat.data import load
        >>> from squat.models import NetworkConfig, build_network
        >>> data = load("spoken_digits")
        >>> result = evaluate(build_network(NetworkConfig(hidden=(8,)), seed=0), data.validation)
        >>> len(result.predictions) == len(data.validation)
        True
    """
    check_type("network", network, Network, "a squat Network", "squat.load gives one")
    check_int("batch_size", batch_size, 1, LARGEST_COUNT)
    check_choice("loss", loss, LOSSES)
    if len(split) == 0:
        raise ValueError("split: expected at least one sample, got none; load data with such a split")
    training, device = network.training, next(iter(network.state_dict().values())).device
    network.eval()
    total = _Totals()
    try:
        with use_threads(threads):
            for x, labels in batches(split, batch_size):
                total.add(network, x.to(device), labels.to(device), loss, logit_scale)
    finally:
        network.train(training)
    return total.evaluation()


def batches(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order, `batch_size` samples at a time."""
    chosen = torch.arange(len(split)).split(batch_size)
    return ahead(split.batch, chosen) if split.streamed else map(split.batch, chosen)


class _Totals:
    """Sums over batches."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.labelled = True
        self.scores: list[Tensor] = []
        self.samples = self.correct = self.tied = 0
        self.predictions: list[int] = []
        self.spikes: dict[str, float] = {}
        self.places: dict[str, int] = {}

    def add(self, network: Network, x: Tensor, labels: Tensor, loss: str, logit_scale: float) -> None:
        trace = network.forward_trace(x)
        scores = network.readout(trace[-1])
        predicted = predict(scores)
        self.labelled &= bool((labels >= 0).all())
        if self.labelled:
            self.loss += float(loss_of(scores, labels, x.shape[0], loss, logit_scale)) * len(labels)
        self.scores.append(scores.cpu())
        self.samples += len(labels)
        self.correct += int((predicted == labels).sum())
        self.tied += int(tied(scores).sum())
        self.predictions += predicted.tolist()
        for position, (layer, output) in enumerate(zip(network.layers.layers, trace, strict=True)):
            if isinstance(layer, Stateful) and layer.spiking and isinstance(output, Tensor):
                name = f"{position} {type(layer).__name__}"
                self.spikes[name] = self.spikes.get(name, 0.0) + float(output.sum(dtype=torch.float64))
                self.places[name] = self.places.get(name, 0) + output.numel()

    def evaluation(self) -> Evaluation:
        scores = torch.cat(self.scores)
        if not (math.isfinite(self.loss) and bool(scores.isfinite().all())):
            what = "scores" if math.isfinite(self.loss) else f"loss={self.loss}"
            raise ValueError(f"{what}: expected finite scores; the network's parameters are not finite")
        count = self.samples
        accuracy, loss = (self.correct / count, self.loss / count) if self.labelled else (None, None)
        rates = {name: spikes / self.places[name] for name, spikes in self.spikes.items()}
        return Evaluation(accuracy, loss, self.tied / count, self.predictions, rates, scores)
