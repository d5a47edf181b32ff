"""The stack that the published method runs on: snnTorch 1.0.0 neurons, Brevitas 0.13.4 weights, a Python loop."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

BETA, SLOPE = 0.9, 25.0


def load_libraries(brevitas: bool = True) -> tuple[Any, Any]:
    """`snntorch` and `brevitas.nn`; both warn about their own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import snntorch
        from snntorch.functional import quant  # noqa: F401 - state_quant

        if not brevitas:
            return snntorch, None
        import brevitas.nn as quantized
    return snntorch, quantized


def conv_features(settings: dict[str, Any]) -> int:
    """Inputs of the last layer of the convolutional network."""
    side = settings["side"]
    for _ in settings["channels"]:
        side = (side - settings["kernel"] + 1) // 2
    return side**2 * settings["channels"][-1]


class Stack(nn.Module):
    """A network of layers and neurons, one Python step per time step; `bits=None` is the float network."""

    def __init__(self, settings: dict[str, Any], bias: bool = True) -> None:
        super().__init__()
        bits, classes = settings["bits"], settings["classes"]
        snntorch, quantized = load_libraries(bits is not None)
        states: Any = False
        if bits is not None:
            states = snntorch.functional.quant.state_quant(num_bits=bits, uniform=False)
        common = {"spike_grad": snntorch.surrogate.fast_sigmoid(slope=SLOPE), "state_quant": states}

        def linear(inputs: int, outputs: int, has_bias: bool = bias) -> nn.Module:
            if bits is None:
                return nn.Linear(inputs, outputs, bias=has_bias)
            return quantized.QuantLinear(inputs, outputs, bias=has_bias, weight_bit_width=bits)

        def conv(inputs: int, outputs: int) -> nn.Module:
            if bits is None:
                return nn.Conv2d(inputs, outputs, settings["kernel"], bias=bias)
            return quantized.QuantConv2d(inputs, outputs, settings["kernel"], bias=bias, weight_bit_width=bits)

        if settings["kind"] == "conv":
            first, second = settings["channels"]
            layers = [
                *(conv(1, first), snntorch.Leaky(BETA, **common), nn.AvgPool2d(2)),
                *(conv(first, second), snntorch.Leaky(BETA, **common), nn.AvgPool2d(2), nn.Flatten()),
                linear(conv_features(settings), classes),
            ]
        else:
            hidden = settings["hidden"]
            neuron = snntorch.Leaky(BETA, **common)
            if settings["kind"] == "recurrent":
                neuron = snntorch.RLeaky(BETA, linear_features=hidden, **common)
                neuron.recurrent = linear(hidden, hidden, False)
            layers = [linear(settings["inputs"], hidden), neuron, linear(hidden, classes)]
        self.layers = nn.ModuleList([*layers, snntorch.Leaky(BETA, **common)])

    def weights(self) -> list[nn.Parameter]:
        """The weight matrices and kernels in the order of the layers, a neuron's recurrent ones after its input's."""
        return [parameter for parameter in self.parameters() if parameter.dim() > 1]

    def step(self, x: Tensor, states: list[Any] | None) -> tuple[Tensor, list[Any]]:
        """One time step; the states are those of the layers, None for a layer without one."""
        states = [None] * len(self.layers) if states is None else list(states)
        for index, layer in enumerate(self.layers):
            if hasattr(layer, "recurrent"):
                spikes, membrane = states[index] or (torch.zeros_like(x), torch.zeros_like(x))
                states[index] = layer(x, spikes, membrane)
                x = states[index][0]
            elif hasattr(layer, "threshold"):
                membrane = torch.zeros_like(x) if states[index] is None else states[index]
                x, states[index] = layer(x, membrane)
            else:
                x = layer(x)
        return x, states

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Output spikes `[T, B, classes]`."""
        states, outputs = None, []
        for step in x:
            spikes, states = self.step(step, states)
            outputs.append(spikes)
        return torch.stack(outputs), None
