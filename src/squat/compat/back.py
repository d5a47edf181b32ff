"""`to_snntorch`: a float network of squat, perhaps with published state levels, as an `nn.Sequential` of snnTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from squat.checks import check_type
from squat.compat.back_neurons import NEURONS_BACK, added_bias, scaled
from squat.compat.back_states import STATES_BACK
from squat.layers import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool1d,
    MaxPool2d,
    SumPool1d,
    SumPool2d,
    Unflatten,
)
from squat.layers.sequential import Sequential
from squat.layers.weighted import WeightedLayer
from squat.models.network import Network
from squat.neurons.stateful import Stateful


def to_snntorch(net: Sequential | Network) -> nn.Sequential:
    """A network of squat as an `nn.Sequential` of torch layers and snnTorch neurons that keep their states themselves.

    It runs one step per call (`init_hidden=True`), and the last neuron returns its membrane too (`output=True`), which
    is what an `LI` stands for. State specs become `squat.compat.state_quant`. Of a `Network` the layers go
    back.

    Args:
        net: with float weights; `squat.dequantize_` gives the masters of quantized ones.

    Returns:
        The network, in the mode of `net`.

    Raises:
        ImportError: for neurons, without snnTorch.
        TypeError: for another type.
        ValueError: for layers and options that snnTorch does not have, naming the layer.

    Example:
        >>> to_snntorch(Sequential(Linear(3, 2), Flatten()))
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=True)
          (1): Flatten(start_dim=1, end_dim=-1)
        )
    """
    check_type("net", net, (Sequential, Network), "a squat.Sequential or squat.Network")
    stack = net.layers if isinstance(net, Network) else net
    modules: list[nn.Module] = []
    window = 1
    for name, layer in enumerate(stack.layers):
        if type(layer) not in BACK:
            known = ", ".join(kind.__name__ for kind in BACK)
            raise ValueError(f"layer {name} ({type(layer).__name__}) has no counterpart in snnTorch; known are {known}")
        try:
            _check_float(layer)
            if window != 1 and isinstance(layer, Stateful):
                raise ValueError("it gets sums of currents, which torch has no pool for; use an average pool before it")
            modules += BACK[type(layer)](layer, window)
        except ValueError as error:
            raise ValueError(f"layer {name} ({type(layer).__name__}): {error}") from error
        if getattr(layer, "kind", None) == "sum":
            window *= layer.window
        elif isinstance(layer, WeightedLayer | Stateful):
            window = 1
    if window != 1:
        raise ValueError("it ends in the sums of a pool, which torch has no pool for; end it in an average pool")
    if isinstance(stack.layers[-1], Stateful):
        modules[-1].output = True  # type: ignore[assignment]
    return nn.Sequential(*modules).train(net.training)


def _check_float(layer: Any) -> None:
    if getattr(layer, "weight_spec", None) is not None:
        raise ValueError(
            f"its weights are quantized, {layer.weight_spec}; use squat.dequantize_, or dense float weights"
        )


def _linear(layer: Linear, window: int) -> list[nn.Module]:
    theirs = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    scaled(layer.weight, layer.input_scale * window, theirs.weight)
    added_bias(layer.bias, theirs.bias)
    return [theirs]


def _convolution(layer: Conv2d, window: int) -> list[nn.Module]:
    sizes = (_own_axes(layer, size) for size in (layer.kernel_size, layer.stride, layer.padding))
    kind: Any = nn.Conv1d if isinstance(layer, Conv1d) else nn.Conv2d
    theirs = kind(layer.in_channels, layer.out_channels, *sizes, bias=layer.bias is not None)
    scaled(layer.weight, layer.input_scale * window, theirs.weight)
    added_bias(layer.bias, theirs.bias)
    return [theirs]


def _pool(layer: SumPool2d, window: int) -> list[nn.Module]:
    kind = "Max" if layer.kind == "max" else "Avg"
    make = getattr(nn, f"{kind}Pool{len(layer.axes) - 3}d")
    return [make(_own_axes(layer, layer.kernel_size), _own_axes(layer, layer.stride))]


def _own_axes(layer: Conv2d | SumPool2d, sizes: tuple[int, int]) -> tuple[int, ...]:
    """Without the one row of signals."""
    return sizes[5 - len(layer.axes) :]


def _dropout(layer: Dropout, window: int) -> list[nn.Module]:
    if layer.channels:
        raise ValueError("channels=True: torch has a class for each shape; put an nn.Dropout1d or nn.Dropout2d there")
    return [nn.Dropout(layer.p)]


BACK: dict[type, Callable[[Any, int], list[nn.Module]]] = {
    Linear: _linear,
    Conv2d: _convolution,
    Conv1d: _convolution,
    Flatten: lambda layer, window: [nn.Flatten()],
    Unflatten: lambda layer, window: [nn.Flatten(), nn.Unflatten(1, layer.shape)],
    Dropout: _dropout,
    **dict.fromkeys((SumPool2d, AvgPool2d, MaxPool2d, SumPool1d, AvgPool1d, MaxPool1d), _pool),
    **NEURONS_BACK,
    **STATES_BACK,
}
"""By class of squat: the modules of snnTorch and torch, given the layer and how many values a sum before it holds."""
