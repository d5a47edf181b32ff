"""Layers without states: one converter for each class of torch and Brevitas, and each function between layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from squat.compat.builder import Builder, copy_parameter
from squat.compat.structure import Link
from squat.layers import AvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, SumPool2d
from squat.layers.weighted import WeightedLayer
from squat.quant.weight import IntWeight, WeightQuantizer

Converter = Callable[[Builder, Link], None]
NO_PADDING = (0, (0, 0))
AVERAGE = {
    "padding": NO_PADDING, "ceil_mode": (False,), "count_include_pad": (True, False), "divisor_override": (None,)
}  # fmt: skip
MAXIMUM = {"padding": NO_PADDING, "dilation": (1, (1, 1)), "ceil_mode": (False,), "return_indices": (False,)}
"""What the arguments of pooling behind kernel and stride may be."""
WEIGHTED = ("torch.Linear", "torch.Conv2d", "brevitas.QuantLinear", "brevitas.QuantConv2d")


def _linear(build: Builder, link: Link) -> None:
    theirs = link.module
    layer = Linear(theirs.in_features, theirs.out_features, theirs.bias is not None, **build.input_arguments())
    _add_weighted(build, layer, theirs)


def _conv2d(build: Builder, link: Link) -> None:
    theirs = link.module
    if theirs.groups != 1 or tuple(theirs.dilation) != (1, 1):
        raise ValueError(f"groups={theirs.groups}, dilation={theirs.dilation}: expected 1, squat has no other")
    if isinstance(theirs.padding, str) or theirs.padding_mode != "zeros":
        raise ValueError(
            f"padding={theirs.padding!r}, padding_mode={theirs.padding_mode!r}: expected numbers and 'zeros'"
        )
    sizes = (theirs.in_channels, theirs.out_channels, theirs.kernel_size, theirs.stride, theirs.padding)
    _add_weighted(build, Conv2d(*sizes, bias=theirs.bias is not None, **build.input_arguments()), theirs)


def _add_weighted(build: Builder, layer: WeightedLayer, theirs: Any) -> None:
    copy_parameter(layer.weight, theirs.weight)
    if layer.bias is not None:
        copy_parameter(layer.bias, theirs.bias)
    if build.dropout is not None:
        build.layers.append(Dropout(build.dropout))
        build.dropout = None
    build.layers.append(layer)


@torch.no_grad()
def _quantized(convert: Converter) -> Converter:
    """Brevitas: the float layer, then the spec and the scale that give the same integers."""

    def convert_quantized(build: Builder, link: Link) -> None:
        convert(build, link)
        layer: Any = build.layers[-1]
        _copy_quantizer(layer, link.module)

    return convert_quantized


def _copy_quantizer(layer: WeightedLayer, theirs: Any) -> None:
    for part in ("input_quant", "output_quant", "bias_quant"):
        if getattr(theirs, part).is_quant_enabled:
            raise ValueError(f"{part} is on: squat quantizes weights and states; switch it off")
    if not theirs.weight_quant.is_quant_enabled:
        return
    quantized = theirs.quant_weight()
    scale = quantized.scale.detach().float().flatten()
    spec = IntWeight(int(quantized.bit_width), "tensor" if scale.numel() == 1 else "channel", "max")
    layer.set_weight_spec(spec)
    quantizer: Any = layer.quantizer
    if not torch.equal(quantizer.scale.flatten(), scale):  # not by maximum, so a parameter or a constant
        layer.set_weight_spec(IntWeight(spec.bits, spec.granularity, "learned"))
        quantizer = layer.quantizer
        quantizer.log_scale.data.copy_(scale.log().reshape(quantizer.log_scale.shape))
    integers = (quantized.value / quantized.scale).round() - quantized.zero_point
    if not torch.equal(_integers(quantizer, layer.weight), integers.to(layer.weight.dtype)):
        raise ValueError(
            f"its {spec.bits}-bit integer weights are no symmetric set from {-spec.qmax} to {spec.qmax} rounded to "
            "nearest; use a signed, narrow-range weight quantizer without zero point"
        )


def _integers(quantizer: WeightQuantizer, weight: Tensor) -> Tensor:
    training = quantizer.training
    w_int, _ = quantizer.eval()(weight)
    quantizer.train(training)
    return w_int.detach()


@torch.no_grad()
def _batch_norm(build: Builder, link: Link) -> None:
    """Into the weights of the layer before, in evaluation mode: `w gamma/sigma`, `(b - mean) gamma/sigma + shift`."""
    norm, layer = link.module, build.layers[-1] if build.layers else None
    if not isinstance(layer, WeightedLayer):
        raise ValueError("it stands behind no Linear or Conv2d whose weights could take it in; move it there")
    if layer.weight_spec is not None:
        raise ValueError("it stands behind quantized weights; fold it before they are quantized")
    if norm.running_mean is None:
        raise ValueError("track_running_stats=False: expected running statistics, which become part of the weights")
    mean, variance = norm.running_mean, norm.running_var
    gain = (norm.weight if norm.affine else torch.ones_like(mean)) / torch.sqrt(variance + norm.eps)
    shift = norm.bias if norm.affine else torch.zeros_like(mean)
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter((bias - mean) * gain + shift)
    layer.weight.mul_(gain.reshape(-1, *[1] * (layer.weight.dim() - 1)))


def _flatten(build: Builder, link: Link) -> None:
    start, end = (link.module.start_dim, link.module.end_dim) if link.module is not None else (1, -1)
    if (start, end) != (1, -1):
        raise ValueError(f"start_dim={start}, end_dim={end}: expected 1 and -1, everything behind the batch axis")
    build.layers.append(Flatten())


def _reshape(build: Builder, link: Link) -> None:
    """`x.view(batch, -1)`, `x.flatten(1)`, `x.reshape(...)`: judged by what came out."""
    before, after = link.inputs[0], link.outputs[0]
    if before.shape == after.shape:
        return
    if tuple(after.shape) != (before.shape[0], math.prod(before.shape[1:])):
        raise ValueError(
            f"{tuple(before.shape)} to {tuple(after.shape)}: expected [B, features], all axes but the batch's"
        )
    build.layers.append(Flatten())


def _average_pool(build: Builder, link: Link) -> None:
    """Of spikes: their sum, and the division goes into the next layer's `input_scale`, so that they stay integers."""
    kernel, stride = _window(link, AVERAGE)
    if build.follows_spikes() and build.precedes(*WEIGHTED) and build.input_max == 1:
        build.layers.append(SumPool2d(kernel, stride))
        build.input_max = math.prod(build.layers[-1].kernel_size)  # type: ignore[arg-type]
        build.input_scale = 1.0 / build.input_max
    else:
        build.layers.append(AvgPool2d(kernel, stride))


def _max_pool(build: Builder, link: Link) -> None:
    build.layers.append(MaxPool2d(*_window(link, MAXIMUM)))


def _dropout(build: Builder, link: Link) -> None:
    if not build.precedes(*WEIGHTED):
        raise ValueError("it stands before no Linear or Conv2d, whose inputs squat drops; move it there")
    p = link.module.p if link.module is not None else (*link.arguments[0], link.arguments[1].get("p", 0.5))[0]
    build.dropout = float(p)  # put right before that layer, behind a Flatten: it drops single values


def _window(link: Link, plain: dict[str, tuple[Any, ...]]) -> tuple[Any, Any]:
    """Kernel and stride of a pooling module or function; `plain` says what its other arguments may be, in their order.

    Raises:
        ValueError: where one of them is something else.
    """
    if link.module is not None:
        given = {name: getattr(link.module, name) for name in ("kernel_size", "stride", *plain)}
    else:
        given = {**dict(zip(("kernel_size", "stride", *plain), link.arguments[0], strict=False)), **link.arguments[1]}
    odd = [f"{name}={given[name]}" for name, accepted in plain.items() if name in given and given[name] not in accepted]
    if odd:
        raise ValueError(f"{', '.join(odd)}: expected plain windows without padding")
    return given["kernel_size"], given.get("stride")


CONVERTERS: dict[str, Converter] = {
    "torch.Linear": _linear,
    "torch.Conv2d": _conv2d,
    "brevitas.QuantLinear": _quantized(_linear),
    "brevitas.QuantConv2d": _quantized(_conv2d),
    "torch.BatchNorm1d": _batch_norm,
    "torch.BatchNorm2d": _batch_norm,
    "torch.Flatten": _flatten,
    "torch.Identity": lambda build, link: None,
    "torch.AvgPool2d": _average_pool,
    "function.avg_pool2d": _average_pool,
    "torch.MaxPool2d": _max_pool,
    "function.max_pool2d": _max_pool,
    "torch.Dropout": _dropout,
    "function.dropout": _dropout,
    "function.flatten": _reshape,
    "function.view": _reshape,
    "function.reshape": _reshape,
    "function.squeeze": _reshape,
    "function.unsqueeze": _reshape,
}
"""By package and class, or function. A new layer is one entry."""
