"""Neurons of several states back to snnTorch: Synaptic, RSynaptic, Alpha and SLSTM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from squat.compat.back_neurons import (
    added_bias,
    neuron_arguments,
    quantizer_of,
    recurrent,
    scaled,
    snntorch,
    surrogate_of,
)
from squat.neurons import AlphaLIF, CubaLIF, RCubaLIF, SpikingLSTM


def _arguments(layer: Any, published: bool) -> dict[str, Any]:
    """Those of both decays and one grid, since snnTorch has one for all states, which it reads unquantized."""
    if any(spec != layer.state_spec for spec in layer.specs):
        raise ValueError(f"states {layer.specs}: snnTorch has one quantizer for all states of a neuron; expected one")
    if layer.as_published != published:
        raise ValueError(
            f"as_published={layer.as_published}: expected {published}, as which snnTorch's neuron computes"
        )
    if layer.learn_alpha == "sigmoid":
        raise ValueError("learn_alpha='sigmoid': snnTorch has only decays that are clamped")
    arguments = neuron_arguments(layer, "drop_input")
    decays = {name: layer.decay(name).detach().clone() for name in ("alpha", "beta")}
    return {**arguments, **decays, "learn_alpha": bool(layer.learn_alpha)}


def _synaptic(layer: CubaLIF, window: int) -> list[nn.Module]:
    arguments = _arguments(layer, published=layer.state_spec is not None)
    return [snntorch().Synaptic(**arguments, reset_delay=layer.reset_delay)]


def _rsynaptic(layer: RCubaLIF, window: int) -> list[nn.Module]:
    arguments = _arguments(layer, published=layer.state_spec is not None)
    return recurrent(layer, window, snntorch().RSynaptic, arguments)


def _alpha(layer: AlphaLIF, window: int) -> list[nn.Module]:
    arguments = _arguments(layer, published=layer.state_spec is not None or layer.reset == "subtract")
    if arguments.pop("learn_alpha"):
        raise ValueError(f"learn_alpha={layer.learn_alpha!r}: snnTorch 1.0.0 fails to make an Alpha that learns alpha")
    return [snntorch().Alpha(**arguments)]


def _slstm(layer: SpikingLSTM, window: int) -> list[nn.Module]:
    if layer.cell_spec != layer.state_spec or layer.weight_spec is not None:
        raise ValueError(
            f"state={layer.state_spec}, cell_state={layer.cell_spec}, weight={layer.weight_spec}: snnTorch has one "
            "quantizer for both states and float weights; expected that"
        )
    if layer.in_features != layer.features:
        raise ValueError(
            f"in_features={layer.in_features}, features={layer.features}: snnTorch 1.0.0 loses the states of an SLSTM "
            "of unequal sizes; expected equal ones"
        )
    threshold = float(layer.threshold.detach())
    theirs = snntorch().SLSTM(
        layer.in_features, layer.features, bias=layer.bias_in is not None, threshold=threshold,
        spike_grad=surrogate_of(layer.surrogate), reset_mechanism=layer.reset, learn_threshold=layer.learn_threshold,
        state_quant=quantizer_of(layer.state_spec, threshold), init_hidden=True,
    )  # fmt: skip
    scaled(layer.weight_in, window, theirs.lstm_cell.weight_ih)
    scaled(layer.weight_rec, 1.0, theirs.lstm_cell.weight_hh)
    added_bias(layer.bias_in, theirs.lstm_cell.bias_ih)
    added_bias(layer.bias_rec, theirs.lstm_cell.bias_hh)
    return [theirs]


STATES_BACK: dict[type, Callable[[Any, int], list[nn.Module]]] = {
    CubaLIF: _synaptic,
    RCubaLIF: _rsynaptic,
    AlphaLIF: _alpha,
    SpikingLSTM: _slstm,
}
"""By class of squat, as `squat.compat.back.BACK`."""
