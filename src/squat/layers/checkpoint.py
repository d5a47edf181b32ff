"""Backpropagation through very long sequences: segments are run again in the backward pass instead of remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from squat.checks import check_int, check_type
from squat.layers.batch_norm import BatchNorm
from squat.layers.current import Current
from squat.layers.dropout import Dropout
from squat.layers.sequential import Sequential
from squat.layers.tap import Tap
from squat.layers.weighted import WeightedLayer
from squat.neurons.base import check_sequence
from squat.neurons.stateful import Stateful
from squat.neurons.weights import OwnWeights
from squat.quant.weight import WeightQuantizer

Held = list[tuple[WeightQuantizer, tuple[Tensor, Tensor]]]


def checkpoint_over_time(
    network: Sequential | Stateful, x: Tensor | Current, states: Any = None, segments: int | None = None
) -> tuple[Any, Any]:
    """`network(x, states)`, remembering for the backward pass only the states between segments of the sequence.

    With about `sqrt(T)` segments the memory that the backward pass needs beside input and output grows like `sqrt(T)`
    instead of `T`, for one more forward pass of time. Outputs equal those of `network(x, states)`, with float weights
    up to the rounding of their products; gradients differ by the order in which the segments' sums are added. Weights
    are quantized once for the whole sequence.

    Args:
        network: a `Sequential`, or a neuron alone; `net.layers` of a `Network`. Layers must treat time steps alike and
            separately, as squat's do; torch's batch normalisation does not.
        x: `[T, B, ...]`, as for the network.
        states: what an earlier call returned, to continue a sequence.
        segments: number of segments, 1 to T; by default `sqrt(T)`, rounded.

    Returns:
        Output and states of `network(x, states)`.

    Raises:
        TypeError: `network` is something else.
        ValueError: `segments` is out of range; a layer in training needs the whole sequence at once (batch
            normalisation, dropout); whatever the network refuses.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174.

    Example:
        >>> from squat import LIF, Linear, Sequential, checkpoint_over_time
        >>> net = Sequential(Linear(8, 4), LIF())
        >>> spikes, states = checkpoint_over_time(net, torch.ones(100, 2, 8))
        >>> bool((spikes == net(torch.ones(100, 2, 8))[0]).all())
        True
    """
    check_type(
        "network", network, (Sequential, Stateful), "a squat.Sequential or a neuron", "take net.layers of a Network"
    )
    _refuse_whole_sequences(network)
    values = x.z if isinstance(x, Current) else x
    if not (isinstance(values, Tensor) and values.dtype in (torch.uint8, torch.bool)):
        check_sequence(values)
    steps = values.shape[0]
    segments = max(1, round(math.sqrt(steps))) if segments is None else check_int("segments", segments, 1, steps)
    held = [pair for module in network.modules() for pair in _quantized(module)]

    def run(part: Tensor | Current, states: Any) -> tuple[Any, Any]:
        with _holding(held):
            return network(part, states)

    outputs = []
    for part in torch.tensor_split(values, segments):
        out, states = checkpoint(
            run,
            x._replace(z=part, checked=part if x.exact else None) if isinstance(x, Current) else part,
            states,
            use_reentrant=False,
        )
        outputs.append(out)
    return _joined(outputs), states


def _refuse_whole_sequences(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, Tap):
            raise ValueError(f"network: {name} is a Tap, which would show the last segment only; take it out")
        if module.training and isinstance(module, BatchNorm | Dropout):
            raise ValueError(
                f"network: {name} is a {type(module).__name__} in training, which needs the whole sequence at once; "
                "train without checkpoint_over_time, or fix it with .eval()"
            )


def _quantized(module: nn.Module) -> Held:
    return module.quantized_weights() if isinstance(module, WeightedLayer | OwnWeights) else []


@contextmanager
def _holding(held: Held) -> Iterator[None]:
    """Inside, quantizers answer with what they computed before the first segment, in the second run of one too."""
    try:
        for quantizer, weights in held:
            quantizer.held = weights
        yield
    finally:
        for quantizer, _ in held:
            quantizer.held = None


def _joined(outputs: Sequence[Any]) -> Any:
    if isinstance(outputs[0], Current):
        return outputs[0]._replace(z=torch.cat([out.z for out in outputs]))
    return torch.cat(list(outputs))
