"""`build_network`: from a config and a seed to a network with its initial weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_int, check_type
from squat.layers import Conv2d, Dropout, Flatten, Linear, SumPool2d
from squat.layers.sequential import Sequential
from squat.models.config import NetworkConfig
from squat.models.network import Network
from squat.models.readout import READOUT_NAMES
from squat.models.size import check_network_memory
from squat.neurons import LI, LIF, NEURONS, RLIF


def build_network(config: NetworkConfig, seed: int) -> Network:
    """The network of a config with initial weights from `seed`.

    Weights and biases are uniform in `+-gain / sqrt(fan_in)`. They are drawn before any spec is looked at, so networks
    that differ in their specs, scales or neuron options only start from the same float weights.

    Args:
        config: what to build.
        seed: of the initial weights; the global random state is neither read nor moved.

    Returns:
        The network, on the CPU, in training mode.

    Raises:
        TypeError, ValueError: for other types, or an image that pooling leaves nothing of.

    Example:
        >>> net = build_network(NetworkConfig("recurrent", inputs=14, hidden=(8,)), seed=0)
        >>> net(torch.zeros(5, 2, 14)).shape
        torch.Size([2, 10])
    """
    check_type("config", config, NetworkConfig, "a NetworkConfig")
    check_int("seed", seed, 0, 2**63 - 1)
    check_network_memory(config)
    with torch.random.fork_rng(devices=[]):
        layers = _LAYERS[config.architecture](config)
    if config.readout == "spike_count":
        layers.append(LIF(config.beta, config.threshold, **_spiking(config)))
    elif config.readout != "accumulated_current":
        layers.append(LI(config.beta, config.threshold, **_membrane(config)))
    _draw_weights(layers, config, torch.Generator().manual_seed(seed))
    for layer in layers:
        if config.weights is not None and isinstance(layer, Linear | Conv2d | RLIF):
            layer.set_weight_spec(config.weights)
    return Network(Sequential(*layers), READOUT_NAMES[config.readout]())


def _membrane(config: NetworkConfig) -> dict[str, Any]:
    return {
        "state": config.states,
        "learn_beta": config.learn_beta,
        "learn_threshold": config.learn_threshold,
        "ste": config.ste,
        "arithmetic": config.arithmetic,
        "initial": config.initial,
    }


def _spiking(config: NetworkConfig) -> dict[str, Any]:
    zero_reset = {} if config.zero_reset is None else {"zero_reset": config.zero_reset}
    return {**_membrane(config), "reset": config.reset, "surrogate": config.surrogate, **zero_reset}


def _feedforward(config: NetworkConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    sizes: tuple[Any, ...] = (config.inputs, *config.hidden)
    for index, size in enumerate(config.hidden):
        layers += _dropout(config) if index else []
        layers.append(Linear(sizes[index], size, config.bias, **_input(config, index), batch_norm=config.batch_norm))
        layers.append(LIF(config.beta, config.threshold, **_spiking(config)))
    return [*layers, *_dropout(config), Linear(config.hidden[-1], config.classes, config.bias)]


def _recurrent(config: NetworkConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    sizes: tuple[Any, ...] = (config.inputs, *config.hidden)
    neuron: Any = NEURONS[config.neuron or "RLIF"]
    for index, size in enumerate(config.hidden):
        options = {"bias": config.bias, **_input(config, index), **_spiking(config)}
        layers.append(neuron(sizes[index], size, beta=config.beta, threshold=config.threshold, **options))
    return [*layers, Linear(config.hidden[-1], config.classes, config.bias)]


def _conv(config: NetworkConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels, *image = config.inputs  # type: ignore[misc]
    pooled = config.pool**2
    # A sum over a window of spikes is an integer; the next layer's input_scale makes it the mean.
    window: dict[str, Any] = {"input_scale": 1.0 / pooled, "input_max": pooled}
    for index, maps in enumerate(config.hidden):
        options = {"bias": config.bias, "batch_norm": config.batch_norm, **(window if index else _input(config, 0))}
        layers += _dropout(config) if index else []
        layers.append(Conv2d(channels, maps, config.kernel_size, padding=config.kernel_size // 2, **options))
        layers.append(LIF(config.beta, config.threshold, **_spiking(config)))
        layers.append(SumPool2d(config.pool))
        channels, image = maps, [size // config.pool for size in image]
    if 0 in image:
        raise ValueError(
            f"inputs={config.inputs}: {len(config.hidden)} poolings by {config.pool} leave no pixel; use fewer"
        )
    last = Linear(channels * math.prod(image), config.classes, config.bias, **window)
    return [*layers, Flatten(), *_dropout(config), last]


_LAYERS = {"feedforward": _feedforward, "recurrent": _recurrent, "conv": _conv}


def _dropout(config: NetworkConfig) -> list[nn.Module]:
    return [Dropout(config.dropout)] if config.dropout else []


def _input(config: NetworkConfig, index: int) -> dict[str, Any]:
    names = ("input_scale", "input_max", "input_min")
    return {name: getattr(config, name) for name in names} if index == 0 else {}


@torch.no_grad()
def _draw_weights(layers: list[nn.Module], config: NetworkConfig, generator: torch.Generator) -> None:
    gain = config.input_gain
    for layer in layers:
        if isinstance(layer, RLIF):
            weights = [(layer.weight_in, gain), (layer.weight_rec, config.recurrent_gain)]
        elif isinstance(layer, Linear | Conv2d):
            weights = [(layer.weight, gain)]
        else:
            continue
        for weight, factor in weights:
            _uniform(weight, factor * _limit(weight), generator)
        if layer.bias is not None:
            _uniform(layer.bias, _limit(weights[0][0]), generator)
        gain = 1.0


def _limit(weight: Tensor) -> float:
    return 1.0 / math.sqrt(weight[0].numel())


def _uniform(values: Tensor, limit: float, generator: torch.Generator) -> None:
    values.copy_(torch.rand(values.shape, generator=generator) * (2.0 * limit) - limit)
