"""A trained network and its integer network side by side over data: codes, spikes, sums and predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.integer.network import IntegerNetwork
from squat.layers.current import Current
from squat.models.network import Network
from squat.models.readout import predict, tied
from squat.neurons.state import codes_of
from squat.text import brief


@dataclass(frozen=True)
class Divergence:
    """Where the two first differ: the earliest step, then the first layer, sample and neuron.

    Attributes:
        sample: index in the data.
        step: time step.
        layer: name of the layer.
        neuron: index in the layer, flat.
        quantity: `"code"`, `"spike"`, `"sum"` or `"prediction"`.
        trained, found: the values.
        implementation: which one differs from training.
    """

    sample: int
    step: int
    layer: str
    neuron: int
    quantity: str
    trained: int
    found: int
    implementation: str = "integer"

    __repr__ = brief

    def __str__(self) -> str:
        return (
            f"first difference: sample {self.sample}, step {self.step}, layer {self.layer!r}, neuron {self.neuron}: "
            f"trained {self.quantity} {self.trained}, {self.implementation} {self.quantity} {self.found}"
        )


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        samples: how many.
        codes: state codes that were equal or not, of all layers, samples, steps and neurons.
        spikes: of every layer with neurons in the integer network, by name.
        divergence: the first difference, or None if all is identical.
        accuracy, integer_accuracy: of the trained and the integer network, in the samples looked at; None without
            labels.
        tied_share: share of samples with several highest scores; the lowest class is predicted.
        implementations: what was compared.
    """

    samples: int
    codes: int
    spikes: dict[str, int]
    divergence: Divergence | None
    accuracy: float | None
    integer_accuracy: float | None
    tied_share: float
    implementations: tuple[str, ...] = ("trained", "integer")

    __repr__ = brief

    def to_json(self) -> dict[str, Any]:
        """All values as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        which = f" ({', '.join(self.implementations)})" if len(self.implementations) > 2 else ""
        same = f"identical{which}: {self.codes} codes"
        found = same if self.divergence is None else f"not identical, {self.divergence}"
        silent = [name for name, spikes in self.spikes.items() if spikes == 0]
        warning = f"; no neuron fired in {', '.join(silent)}, so little was compared there" if silent else ""
        accuracies = "no labels"
        if self.accuracy is not None:
            accuracies = f"accuracy {self.accuracy:.2%} trained, {self.integer_accuracy:.2%} integer"
        return f"{found} of {self.samples} samples; {accuracies}, {self.tied_share:.2%} tied{warning}"


@torch.no_grad()
def compare(
    net: Network,
    machine: IntegerNetwork,
    batches: Iterable[tuple[Tensor, Tensor]],
    others: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Comparison:
    """Run both over the same data, step by step, until they differ.

    Args:
        net: the trained network.
        machine: its integer network.
        batches: `(x [T, B, ...], labels [B])`; labels below 0 are not known.
        others: further implementations of the integer network by name, called as `machine.run`, such as compiled C.

    Returns:
        The comparison; after a difference no further batch is read.
    """
    training, samples, codes, right, integer_right, ties = net.training, 0, 0, 0, 0, 0
    spikes = {layer.name: 0 for layer in machine.neuron_layers if layer.neurons and layer.neurons.fires}
    divergence, labelled = None, True
    net.eval()
    try:
        for x, labels in batches:
            trained = _Trained(net, x)
            result = machine.run(x)
            for name, found in {"integer": result, **{name: run(x) for name, run in (others or {}).items()}}.items():
                divergence = divergence or _first_difference(trained, machine, found, name, samples)
            samples += len(labels)
            labelled &= bool((labels >= 0).all())
            codes += sum(layer.size for layer in result.codes)
            right += int((trained.predictions == labels).sum())
            integer_right += int((np.asarray(result.predictions) == labels.numpy()).sum())
            ties += int(tied(trained.scores).sum())
            for layer, neurons, own in machine.by_layer(result.codes):
                if layer.name in spikes:
                    spikes[layer.name] += int(neurons.spikes(own).sum())
            if divergence is not None:
                break
    finally:
        net.train(training)
    count = max(samples, 1)
    return Comparison(
        samples=samples,
        codes=codes,
        spikes=spikes,
        divergence=divergence,
        accuracy=right / count if labelled else None,
        integer_accuracy=integer_right / count if labelled else None,
        tied_share=ties / count,
        implementations=("trained", "integer", *(others or {})),
    )


class _Trained:
    """What the training network does in a batch: it is stepped, so that the codes of every step are seen."""

    def __init__(self, net: Network, x: Tensor) -> None:
        states, steps, outputs = None, [], []
        for step in x:
            output, states = net.layers(step[None], states)
            steps.append([codes.flatten(1).numpy() for codes in codes_of(states)])
            outputs.append((output.z if isinstance(output, Current) else output)[0].flatten(1).numpy())
        self.codes = [np.stack(layer) for layer in zip(*steps, strict=True)]
        self.output = np.stack(outputs)
        self.sums = isinstance(output, Current)
        self.scores = net(x)
        self.predictions = predict(self.scores)


def _first_difference(
    trained: _Trained, machine: IntegerNetwork, found: Any, implementation: str, offset: int
) -> Divergence | None:
    """The earliest step, and there the first layer, sample and neuron."""
    names = [layer.name for layer in machine.neuron_layers if layer.neurons for _ in layer.neurons.widths]
    pairs = [(name, "code", *both) for name, *both in zip(names, trained.codes, found.codes, strict=True)]
    last = machine.last.neurons
    if trained.sums or (last is not None and last.fires):
        pairs.append((machine.last.name, "sum" if trained.sums else "spike", trained.output, found.output))
    differences = [
        (int(where[0]), order, layer, quantity, values, other, where)
        for order, (layer, quantity, values, own) in enumerate(pairs)
        if len(where := _first(values, other := own.reshape(values.shape)))
    ]
    if differences:
        step, _, layer, quantity, values, other, where = min(differences, key=lambda difference: difference[:2])
        sample, neuron = int(where[1]), int(where[2])
        both = int(values[tuple(where)]), int(other[tuple(where)])
        return Divergence(offset + sample, step, layer, neuron, quantity, *both, implementation)
    if found.predictions is None or np.array_equal(trained.predictions.numpy(), found.predictions):
        return None
    (sample,) = _first(trained.predictions.numpy(), found.predictions)
    both = int(trained.predictions[sample]), int(found.predictions[sample])
    return Divergence(
        offset + int(sample), len(trained.output) - 1, machine.last.name, 0, "prediction", *both, implementation
    )


def _first(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Index of the first entry that differs, empty if none does."""
    return np.empty(0, np.int64) if np.array_equal(one, other) else np.argwhere(one != other)[0]
