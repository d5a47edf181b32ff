"""The neurons of a trained network as black boxes: one step of their loops, from synaptic sums and current codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from squat.integer.copies import seen_shape
from squat.integer.cuts import Step, probe
from squat.integer.parts import Layer
from squat.integer.states_proof import JointStep
from squat.layers import Conv2d, Current, Linear, SumPool2d
from squat.layers.residual import Residual
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.neurons import RLIF, ConvRLIF, LIFState
from squat.neurons.base import Neuron
from squat.neurons.lif import per_element
from squat.neurons.several import SeveralStates
from squat.neurons.state import codes_of
from squat.ops.conv_rlif import conv_rlif_integer
from squat.ops.lif import lif
from squat.ops.product import FLOAT32_EXACT


def training_steps(net: Network | Sequential, layers: list[Layer]) -> list[Any]:
    """The neurons of every layer of the trained network as black boxes, in order."""
    steps: list[Any] = []
    current: Any = None
    weighted: Any = None
    for module in _leaves(net.layers if isinstance(net, Network) else net):
        if isinstance(module, Linear | Conv2d):
            current, weighted = _current_of(module), module
        elif isinstance(module, SumPool2d) and current is not None:
            current = module.constants(current)
        several = isinstance(module, SeveralStates)
        if isinstance(module, RLIF) and len(steps) < len(layers):
            steps.append(_recurrent_states(module) if several else _recurrent_step(module))
        elif isinstance(module, Neuron) and current is not None and len(steps) < len(layers):
            # Pooled sums, like others, are sums of the layer's range.
            make: Any = _elementwise_states if several else _elementwise_step
            make = _image_step if isinstance(module, ConvRLIF) else make
            steps.append(make(current, module, seen_shape(weighted, probe(layers[len(steps)]))))
            current = None
    return steps


def _leaves(stack: Sequential) -> Iterator[Any]:
    """The modules in order, those of branches too."""
    for module in stack.layers:
        if isinstance(module, Residual):
            yield from _leaves(module.body)
        else:
            yield module


def _current_of(module: Linear | Conv2d) -> Any:
    """What a layer hands its neurons for one window of zeros: for its scale, bias and bound."""
    window = module.weight.shape[2:][3 - len(module.axes) :]
    return module(module.weight.new_zeros(1, 1, module.weight.shape[1], *window))


def _elementwise_step(current: Current, neuron: nn.Module, shape: tuple[int, ...]) -> Step:
    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, current.z.dtype, int(current.bound)).reshape(1, len(z), *shape)
        state = None if codes is None else _state(neuron, codes, sums[0])
        out, after = neuron(current._replace(z=sums), state)
        return _bytes(after.codes, len(z)), _spikes(neuron, out, len(z))

    return step


def _image_step(current: Current, neuron: ConvRLIF, shape: tuple[int, ...]) -> Step:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    weight, _, bias, bound = neuron.integer_layer(current)
    options: dict[str, Any] = {"bound": bound, "weight": torch.zeros_like(weight), "image": shape}
    options |= {name: per_element(value, (1, 1, *shape)) for name, value in (("scale", current.scale), ("bias", bias))}

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, current.z.dtype, bound)[None]
        start = neuron._start(None if codes is None else _state(neuron, codes, sums[0]), sums.shape[1:], sums.dtype)
        beta, config = neuron.decay_over(shape, sums.dtype), neuron.loop_config(True)
        out, _, after = conv_rlif_integer(sums, beta, neuron.threshold, config=config, **options, **start)
        return _bytes(after, len(z)), _spikes(neuron, out, len(z))

    return step


def _recurrent_step(module: RLIF) -> Step:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    w_in, w_rec, scale, bias, bound = module.integer_layer()
    options: dict[str, Any] = {"scale": scale, "bias": bias, "sum_bound": bound, "exact": True}
    options["w_rec"] = None if w_rec is None else torch.zeros_like(w_rec)

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, w_in.dtype, bound)[None]
        start = module._start(None if codes is None else _state(module, codes, sums[0]), sums.shape[1:], sums.dtype)
        beta, config = module.decay_over((module.features,), sums.dtype), module.loop_config(True)
        out, _, after = lif(sums, beta, module.threshold, config, steps=1, **start, **options)
        return _bytes(after, len(z)), _spikes(module, out, len(z))

    return step


def _elementwise_states(current: Current, neuron: Any, shape: tuple[int, ...]) -> JointStep:
    def run(sums: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return neuron(current._replace(z=sums.reshape(1, sums.shape[1], *shape)), state)

    return _joint_step(neuron, run, current.z.dtype, int(current.bound), shape)


def _recurrent_states(module: Any) -> JointStep:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    w_in, w_rec, scale, bias, bound = module.integer_layer()
    options: dict[str, Any] = {"scale": scale, "bias": bias, "sum_bound": bound, "exact": True}
    options["w_rec"] = torch.zeros_like(w_rec)

    def run(sums: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return module._through_time(sums, state, sums.shape[1:], 1, True, **options)

    return _joint_step(module, run, w_in.dtype, bound, (module.features,))


def _joint_step(neuron: Any, run: Any, dtype: torch.dtype, bound: int, shape: tuple[int, ...]) -> JointStep:
    """A trained neuron of several states, given by one step of its loop, as a black box."""

    def step(z: np.ndarray, codes: tuple[np.ndarray, ...] | None) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        sums = _sums(z, dtype, bound)[None]
        state = None if codes is None else neuron.state_of_codes(
            [torch.from_numpy(np.ascontiguousarray(own)).reshape(len(z), *shape) for own in codes], sums.dtype
        )  # fmt: skip
        out, after = run(sums, state)
        return tuple(_bytes(own, len(z)) for own in codes_of(after)), _spikes(neuron, out, len(z))

    return step


def _sums(z: np.ndarray, dtype: torch.dtype, bound: int) -> torch.Tensor:
    """Sums as the loop takes them; in float64 where float32 would round them."""
    return torch.from_numpy(z).to(dtype if bound < FLOAT32_EXACT else torch.float64)


def _state(neuron: Any, codes: np.ndarray, like: torch.Tensor) -> LIFState:
    rows = torch.from_numpy(codes).reshape(-1, *[1] * (like.dim() - 1)).expand(like.shape).contiguous()
    return LIFState(neuron.levels[rows.long()].to(like.dtype), rows)


def _bytes(codes: torch.Tensor | None, rows: int) -> np.ndarray:
    if codes is None:
        raise ValueError("the trained neuron has no codes; train it with a state spec")
    return codes.reshape(rows, -1).numpy()


def _spikes(neuron: Any, out: torch.Tensor, rows: int) -> np.ndarray:
    spikes = out if neuron.spiking else torch.zeros_like(out)
    return spikes.reshape(rows, -1).to(torch.uint8).numpy()
