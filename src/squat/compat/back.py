"""`to_snntorch`: a float network of squat, perhaps with published state levels, as an `nn.Sequential` of snnTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from squat.checks import check_type
from squat.compat.back_neurons import NEURONS_BACK, added_bias, scaled
from squat.compat.back_states import STATES_BACK
from squat.layers import AvgPool2d, Conv2d, Flatten, Linear, SumPool2d
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
            modules += BACK[type(layer)](layer, window)
        except ValueError as error:
            raise ValueError(f"layer {name} ({type(layer).__name__}): {error}") from error
        if isinstance(layer, SumPool2d) and not isinstance(layer, AvgPool2d):
            window = layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, WeightedLayer | Stateful):
            window = 1
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


def _conv2d(layer: Conv2d, window: int) -> list[nn.Module]:
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    theirs = nn.Conv2d(*sizes, bias=layer.bias is not None)
    scaled(layer.weight, layer.input_scale * window, theirs.weight)
    added_bias(layer.bias, theirs.bias)
    return [theirs]


def _pool(layer: SumPool2d, window: int) -> list[nn.Module]:
    return [nn.AvgPool2d(layer.kernel_size, layer.stride)]


BACK: dict[type, Callable[[Any, int], list[nn.Module]]] = {
    Linear: _linear,
    Conv2d: _conv2d,
    Flatten: lambda layer, window: [nn.Flatten()],
    SumPool2d: _pool,
    AvgPool2d: _pool,
    **NEURONS_BACK,
    **STATES_BACK,
}
"""By class of squat: the modules of snnTorch and torch, given the layer and how many values a sum before it holds."""
