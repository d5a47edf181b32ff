"""`to_snntorch`: a float network of squat, perhaps with published state levels, as an `nn.Sequential` of snnTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from squat.checks import check_type
from squat.compat.builder import copy_parameter
from squat.compat.state_quant import state_quant
from squat.layers import AvgPool2d, Conv2d, Flatten, Linear, SumPool2d
from squat.layers.sequential import Sequential
from squat.layers.weighted import WeightedLayer
from squat.models.network import Network
from squat.neurons import LI, LIF, RLIF, Lapicque
from squat.neurons.base import Neuron
from squat.neurons.options import WithOptions
from squat.quant.spec import StateSpec, ThresholdCentered, Uniform, ZeroCentered
from squat.surrogate import ATan, FastSigmoid, Sigmoid

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
        elif isinstance(layer, WeightedLayer | Neuron):
            window = 1
    if isinstance(stack.layers[-1], Neuron):
        modules[-1].output = True  # type: ignore[assignment]
    return nn.Sequential(*modules).train(net.training)


def _snntorch() -> Any:
    try:
        import snntorch
    except ImportError as error:
        raise ImportError("to_snntorch needs snnTorch: pip install snntorch==1.0.0") from error
    return snntorch


def _check_float(layer: Any) -> None:
    if getattr(layer, "weight_spec", None) is not None:
        raise ValueError(
            f"its weights are quantized, {layer.weight_spec}; use squat.dequantize_, or dense float weights"
        )


def _scaled(ours: Tensor, factor: float, theirs: Any) -> None:
    """Weights of a layer whose inputs were worth `factor`."""
    copy_parameter(theirs, ours if factor == 1.0 else (ours.detach() * factor).requires_grad_(ours.requires_grad))


def _bias(ours: Tensor | None, theirs: Any) -> None:
    if ours is not None:
        copy_parameter(theirs, ours)


def _linear(layer: Linear, window: int) -> list[nn.Module]:
    theirs = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    _scaled(layer.weight, layer.input_scale * window, theirs.weight)
    _bias(layer.bias, theirs.bias)
    return [theirs]


def _conv2d(layer: Conv2d, window: int) -> list[nn.Module]:
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    theirs = nn.Conv2d(*sizes, bias=layer.bias is not None)
    _scaled(layer.weight, layer.input_scale * window, theirs.weight)
    _bias(layer.bias, theirs.bias)
    return [theirs]


def _pool(layer: SumPool2d, window: int) -> list[nn.Module]:
    return [nn.AvgPool2d(layer.kernel_size, layer.stride)]


def _arguments(layer: Neuron, zero_reset: str) -> dict[str, Any]:
    if layer.ste != "identity" or layer.initial != "zero" or layer.learn_beta == "sigmoid":
        raise ValueError(
            f"ste={layer.ste!r}, initial={layer.initial!r}, learn_beta={layer.learn_beta!r}: snnTorch has only "
            "'identity', 'zero', and decays that are clamped"
        )
    if layer.reset == "zero" and layer.zero_reset != zero_reset:
        raise ValueError(f"zero_reset={layer.zero_reset!r}: this neuron of snnTorch has only {zero_reset!r}")
    surrogate: Any = ATan() if layer.surrogate is None else layer.surrogate
    if type(surrogate) not in SURROGATES:
        raise ValueError(f"surrogate {surrogate} has no counterpart; known are {[s.__name__ for s in SURROGATES]}")
    return {
        "threshold": float(layer.threshold.detach()),
        "spike_grad": SURROGATES[type(surrogate)](_snntorch().surrogate, surrogate),
        "reset_mechanism": layer.reset,
        "learn_beta": bool(layer.learn_beta),
        "learn_threshold": layer.learn_threshold,
        "state_quant": _quantizer(layer.state_spec, float(layer.threshold.detach())),
        "init_hidden": True,
    }


def _options(layer: WithOptions) -> dict[str, Any]:
    if layer.refractory:
        raise ValueError(f"refractory={layer.refractory}: snnTorch's neurons have no refractory period; expected 0")
    return {"reset_delay": layer.reset_delay}


def _quantizer(spec: StateSpec | None, threshold: float) -> Any:
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
    arguments = _arguments(layer, "keep_input") | (_options(layer) if isinstance(layer, LIF) else {})
    return [_snntorch().Leaky(layer.decay().detach().clone(), **arguments)]


def _lapicque(layer: Lapicque, window: int) -> list[nn.Module]:
    arguments = _arguments(layer, "drop_input") | _options(layer)
    if arguments.pop("learn_beta") or not arguments.pop("reset_delay"):
        raise ValueError(
            f"learn_beta={layer.learn_beta!r}, reset_delay={layer.reset_delay}: this neuron of snnTorch learns no beta "
            "and resets with delay"
        )
    circuit = {name: value for name, value in layer.circuit.items() if value is not None}
    return [_snntorch().Lapicque(**circuit, **arguments)]


def _rleaky(layer: RLIF, window: int) -> list[nn.Module]:
    arguments = _arguments(layer, "drop_input") | _options(layer)
    linear = nn.Linear(layer.in_features, layer.features, layer.bias is not None)
    _scaled(layer.weight_in, layer.input_scale * window, linear.weight)
    _bias(layer.bias, linear.bias)
    beta = layer.decay().detach().clone()
    if layer.recurrence == "one_to_one":
        own = layer.weight_rec[:, 0].detach().clone()
        neuron = _snntorch().RLeaky(beta, V=own, all_to_all=False, **arguments)
        copy_parameter(neuron.recurrent.V, layer.weight_rec[:, 0])
        return [linear, neuron]
    neuron = _snntorch().RLeaky(beta, linear_features=layer.features, **arguments)
    neuron.recurrent = nn.Linear(layer.features, layer.features, bias=False)
    copy_parameter(neuron.recurrent.weight, layer.weight_rec)
    return [linear, neuron]


BACK: dict[type, Callable[[Any, int], list[nn.Module]]] = {
    Linear: _linear,
    Conv2d: _conv2d,
    Flatten: lambda layer, window: [nn.Flatten()],
    SumPool2d: _pool,
    AvgPool2d: _pool,
    LIF: _leaky,
    LI: _leaky,
    RLIF: _rleaky,
    Lapicque: _lapicque,
}
"""By class of squat: the modules of snnTorch and torch, given the layer and how many values a sum before it holds."""
