"""A trained network and its integer network side by side over data: codes, spikes, sums and predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.integer.network import IntegerNetwork
from squat.layers.current import Current
from squat.models.network import Network
from squat.models.readout import predict, tied


@dataclass(frozen=True)
class Divergence:
    """Where the two first differ: the earliest step, then the first layer, sample and neuron.

    Attributes:
        sample: index in the data.
        step: time step.
        layer: name of the layer.
        neuron: index in the layer, flat.
        quantity: `"code"`, `"spike"`, `"sum"` or `"prediction"`.
        trained, integer: the values.
    """

    sample: int
    step: int
    layer: str
    neuron: int
    quantity: str
    trained: int
    integer: int

    def __str__(self) -> str:
        return (
            f"first difference: sample {self.sample}, step {self.step}, layer {self.layer!r}, neuron {self.neuron}: "
            f"trained {self.quantity} {self.trained}, integer {self.quantity} {self.integer}"
        )


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        samples: how many.
        codes: state codes that were equal or not, of all layers, samples, steps and neurons.
        spikes: of every layer with neurons in the integer network, by name.
        divergence: the first difference, or None if all is identical.
        accuracy, integer_accuracy: of the trained and the integer network, in the samples looked at.
        tied_share: share of samples with several highest scores; the lowest class is predicted.
    """

    samples: int
    codes: int
    spikes: dict[str, int]
    divergence: Divergence | None
    accuracy: float
    integer_accuracy: float
    tied_share: float

    def to_json(self) -> dict[str, Any]:
        """All values as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        found = f"identical: {self.codes} codes" if self.divergence is None else f"not identical, {self.divergence}"
        silent = [name for name, spikes in self.spikes.items() if spikes == 0]
        warning = f"; no neuron fired in {', '.join(silent)}, so little was compared there" if silent else ""
        return (
            f"{found} of {self.samples} samples; accuracy {self.accuracy:.2%} trained, {self.integer_accuracy:.2%} "
            f"integer, {self.tied_share:.2%} tied{warning}"
        )


@torch.no_grad()
def compare(net: Network, machine: IntegerNetwork, batches: Iterable[tuple[Tensor, Tensor]]) -> Comparison:
    """Run both over the same data, step by step, until they differ.

    Args:
        net: the trained network.
        machine: its integer network.
        batches: `(x [T, B, ...], labels [B])`.

    Returns:
        The comparison; after a difference no further batch is read.
    """
    training, samples, codes, right, integer_right, ties = net.training, 0, 0, 0, 0, 0
    spikes = {
        layer.name: 0 for layer in machine.neuron_layers if layer.neurons and layer.neurons.first < layer.neurons.codes
    }
    divergence = None
    net.eval()
    try:
        for x, labels in batches:
            result = machine.run(x)
            divergence = _first_difference(net, machine, x, result, samples)
            scores = net(x)
            predictions = predict(scores)
            if divergence is None:
                divergence = _other_prediction(machine, predictions.numpy(), result.predictions, len(x), samples)
            samples += len(labels)
            codes += sum(layer.size for layer in result.codes)
            right += int((predictions == labels).sum())
            integer_right += int((np.asarray(result.predictions) == labels.numpy()).sum())
            ties += int(tied(scores).sum())
            for layer, found in zip(machine.neuron_layers, result.codes, strict=True):
                if layer.neurons is not None and layer.name in spikes:
                    spikes[layer.name] += int((found >= layer.neurons.first).sum())
            if divergence is not None:
                break
    finally:
        net.train(training)
    count = max(samples, 1)
    return Comparison(samples, codes, spikes, divergence, right / count, integer_right / count, ties / count)


def _first_difference(net: Network, machine: IntegerNetwork, x: Tensor, result: Any, offset: int) -> Divergence | None:
    """The training network is stepped, so that the codes of every step are seen."""
    states = None
    for t, step in enumerate(x):
        output, states = net.layers(step[None], states)
        codes = [state.codes.flatten(1).numpy() for state in states if state is not None]
        for layer, trained, found in zip(machine.neuron_layers, codes, result.codes, strict=True):
            difference = _compared(trained, found[t], layer.name, "code", t, offset)
            if difference is not None:
                return difference
        last = machine.last.neurons
        if isinstance(output, Current) or (last is not None and last.first < last.codes):
            trained = (output.z if isinstance(output, Current) else output)[0].flatten(1).numpy()
            quantity = "sum" if isinstance(output, Current) else "spike"
            difference = _compared(trained, result.output[t], machine.last.name, quantity, t, offset)
            if difference is not None:
                return difference
    return None


def _compared(
    trained: np.ndarray, found: np.ndarray, layer: str, quantity: str, step: int, offset: int
) -> Divergence | None:
    found = found.reshape(trained.shape)
    if np.array_equal(trained, found):
        return None
    sample, neuron = (int(place) for place in np.argwhere(trained != found)[0])
    values = int(trained[sample, neuron]), int(found[sample, neuron])
    return Divergence(offset + sample, step, layer, neuron, quantity, *values)


def _other_prediction(
    machine: IntegerNetwork, trained: np.ndarray, found: np.ndarray | None, steps: int, offset: int
) -> Divergence | None:
    if found is None or np.array_equal(trained, found):
        return None
    sample = int(np.argwhere(trained != found)[0, 0])
    values = int(trained[sample]), int(found[sample])
    return Divergence(offset + sample, steps - 1, machine.last.name, 0, "prediction", *values)
