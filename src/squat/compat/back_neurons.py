"""Neurons of one state back to snnTorch, and what all neurons need for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from squat.compat.builder import copy_parameter
from squat.compat.state_quant import state_quant
from squat.neurons import LI, LIF, RLIF, Lapicque
from squat.neurons.base import Neuron
from squat.neurons.options import WithOptions
from squat.quant.spec import StateSpec, ThresholdCentered, Uniform, ZeroCentered
from squat.surrogate import ATan, FastSigmoid, Sigmoid, Surrogate

SURROGATES: dict[type, Callable[[Any, Any], Any]] = {
    FastSigmoid: lambda theirs, ours: theirs.fast_sigmoid(slope=ours.slope),
    ATan: lambda theirs, ours: theirs.atan(alpha=ours.alpha),
    Sigmoid: lambda theirs, ours: theirs.sigmoid(slope=ours.slope),
}
SCHEMES: dict[type, dict[str, bool]] = {
    Uniform: {"uniform": True},
    ThresholdCentered: {"uniform": False, "thr_centered": True},
    ZeroCentered: {"uniform": False, "thr_centered": False},
}


def snntorch() -> Any:
    """The module, where it is installed."""
    try:
        import snntorch
    except ImportError as error:
        raise ImportError("to_snntorch needs snnTorch: pip install snntorch==1.0.0") from error
    return snntorch


def scaled(ours: Tensor, factor: float, theirs: Any) -> None:
    """Weights of a layer whose inputs were worth `factor`."""
    copy_parameter(theirs, ours if factor == 1.0 else (ours.detach() * factor).requires_grad_(ours.requires_grad))


def added_bias(ours: Tensor | None, theirs: Any) -> None:
    """A bias, where there is one."""
    if ours is not None:
        copy_parameter(theirs, ours)


def neuron_arguments(layer: Neuron, zero_reset: str) -> dict[str, Any]:
    """What all neurons of snnTorch take.

    Raises:
        ValueError: for options that snnTorch does not have.
    """
    if layer.ste != "identity" or layer.initial != "zero" or layer.learn_beta == "sigmoid":
        raise ValueError(
            f"ste={layer.ste!r}, initial={layer.initial!r}, learn_beta={layer.learn_beta!r}: snnTorch has only "
            "'identity', 'zero', and decays that are clamped"
        )
    if layer.reset == "zero" and layer.zero_reset != zero_reset:
        raise ValueError(f"zero_reset={layer.zero_reset!r}: this neuron of snnTorch has only {zero_reset!r}")
    threshold = layer.threshold.detach()
    return {
        "threshold": float(threshold) if threshold.numel() == 1 else threshold.clone(),
        "spike_grad": surrogate_of(layer.surrogate),
        "reset_mechanism": layer.reset,
        "learn_beta": bool(layer.learn_beta),
        "learn_threshold": layer.learn_threshold,
        "state_quant": layer.state_spec is not None and quantizer_of(layer.state_spec, float(threshold)),
        "init_hidden": True,
    }


def _options(layer: WithOptions) -> dict[str, Any]:
    if layer.refractory:
        raise ValueError(f"refractory={layer.refractory}: snnTorch's neurons have no refractory period; expected 0")
    return {"reset_delay": layer.reset_delay}


def surrogate_of(surrogate: Surrogate | None) -> Any:
    """snnTorch's surrogate gradient; that of a neuron that never fires does not matter.

    Raises:
        ValueError: for one that snnTorch does not have.
    """
    found: Any = ATan() if surrogate is None else surrogate
    if type(found) not in SURROGATES:
        raise ValueError(f"surrogate {found} has no counterpart; known are {[s.__name__ for s in SURROGATES]}")
    return SURROGATES[type(found)](snntorch().surrogate, found)


def quantizer_of(spec: StateSpec | None, threshold: float) -> Any:
    """The drop-in quantizer of a published spec, False for None.

    Raises:
        ValueError: for another spec.
    """
    if spec is None:
        return False
    if type(spec) not in SCHEMES:
        raise ValueError(f"state spec {spec} is no published one; known are {[s.__name__ for s in SCHEMES]}")
    limits: Any = spec
    return state_quant(
        spec.bits, threshold=threshold, lower_limit=limits.lower_limit, upper_limit=limits.upper_limit,
        multiplier=getattr(spec, "base", None), **SCHEMES[type(spec)],
    )  # fmt: skip


def _leaky(layer: LIF | LI, window: int) -> list[nn.Module]:
    arguments = neuron_arguments(layer, "keep_input") | (_options(layer) if isinstance(layer, LIF) else {})
    return [snntorch().Leaky(layer.decay().detach().clone(), **arguments)]


def _lapicque(layer: Lapicque, window: int) -> list[nn.Module]:
    arguments = neuron_arguments(layer, "drop_input") | _options(layer)
    if arguments.pop("learn_beta") or not arguments.pop("reset_delay"):
        raise ValueError(
            f"learn_beta={layer.learn_beta!r}, reset_delay={layer.reset_delay}: this neuron of snnTorch learns no beta "
            "and resets with delay"
        )
    circuit = {name: value for name, value in layer.circuit.items() if value is not None}
    return [snntorch().Lapicque(**circuit, **arguments)]


def _rleaky(layer: RLIF, window: int) -> list[nn.Module]:
    arguments = neuron_arguments(layer, "drop_input") | _options(layer)
    return recurrent(layer, window, snntorch().RLeaky, {"beta": layer.decay().detach().clone(), **arguments})


def recurrent(layer: RLIF, window: int, neuron: Any, arguments: dict[str, Any]) -> list[nn.Module]:
    """The Linear of a layer's input weights, and a neuron of snnTorch with its recurrent ones."""
    linear = nn.Linear(layer.in_features, layer.features, layer.bias is not None)
    scaled(layer.weight_in, layer.input_scale * window, linear.weight)
    added_bias(layer.bias, linear.bias)
    if layer.recurrence == "one_to_one":
        own = layer.weight_rec[:, 0].detach().clone()
        theirs = neuron(V=own, all_to_all=False, **arguments)
        copy_parameter(theirs.recurrent.V, layer.weight_rec[:, 0])
        return [linear, theirs]
    theirs = neuron(linear_features=layer.features, **arguments)
    theirs.recurrent = nn.Linear(layer.features, layer.features, bias=False)
    copy_parameter(theirs.recurrent.weight, layer.weight_rec)
    return [linear, theirs]


NEURONS_BACK: dict[type, Callable[[Any, int], list[nn.Module]]] = {
    LIF: _leaky,
    LI: _leaky,
    RLIF: _rleaky,
    Lapicque: _lapicque,
}
"""By class of squat, as `squat.compat.back.BACK`."""
