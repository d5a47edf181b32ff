"""Layers without states: one converter for each class of torch and Brevitas, and each function between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from squat import layers
from squat.compat.builder import Builder, copy_parameter
from squat.compat.structure import Link
from squat.layers import Conv1d, Conv2d, Dropout, Flatten, Linear, Unflatten
from squat.layers.weighted import WeightedLayer
from squat.quant.weight import IntWeight, WeightQuantizer

Converter = Callable[[Builder, Link], None]
NO_PADDING = (0, (0,), (0, 0))
AVERAGE = {
    "padding": NO_PADDING, "ceil_mode": (False,), "count_include_pad": (True, False), "divisor_override": (None,)
}  # fmt: skip
MAXIMUM = {"padding": NO_PADDING, "dilation": (1, (1,), (1, 1)), "ceil_mode": (False,), "return_indices": (False,)}
"""What the arguments of pooling behind kernel and stride may be."""
SHAPES = ("flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze")
"""Functions that arrange values, judged by what they gave."""
WEIGHTED = (
    *("torch.Linear", "torch.Conv1d", "torch.Conv2d"),
    *("brevitas.QuantLinear", "brevitas.QuantConv1d", "brevitas.QuantConv2d"),
)


def _linear(build: Builder, link: Link) -> None:
    theirs = link.module
    layer = Linear(theirs.in_features, theirs.out_features, theirs.bias is not None, **build.input_arguments(link))
    _add_weighted(build, layer, theirs)


def _convolution(build: Builder, link: Link) -> None:
    theirs = link.module
    if theirs.groups != 1 or set(theirs.dilation) != {1}:
        raise ValueError(f"groups={theirs.groups}, dilation={theirs.dilation}: expected 1, squat has no other")
    if theirs.padding_mode != "zeros":
        raise ValueError(f"padding_mode={theirs.padding_mode!r}: expected 'zeros'")
    sizes: tuple[Any, ...] = theirs.kernel_size, theirs.stride, _padding(theirs)
    kind = Conv2d if len(theirs.kernel_size) == 2 else Conv1d
    sizes = sizes if kind is Conv2d else tuple(size for (size,) in sizes)
    arguments = {"bias": theirs.bias is not None, **build.input_arguments(link)}
    _add_weighted(build, kind(theirs.in_channels, theirs.out_channels, *sizes, **arguments), theirs)


def _padding(theirs: Any) -> tuple[int, ...]:
    """Zeros on either side of every axis.

    Raises:
        ValueError: where there are more on one side than on the other.
    """
    kernel, stride = theirs.kernel_size, theirs.stride
    if theirs.padding == "valid":
        return (0,) * len(kernel)
    if theirs.padding != "same":
        return tuple(theirs.padding)
    if any(size % 2 == 0 for size in kernel) or set(stride) != {1}:
        raise ValueError(
            f"padding='same' with kernel_size={kernel}, stride={stride} pads more behind than before; squat pads both "
            "sides alike: use odd kernels and stride 1, or padding by numbers"
        )
    return tuple(size // 2 for size in kernel)


def _add_weighted(build: Builder, layer: WeightedLayer, theirs: Any) -> None:
    copy_parameter(layer.weight, theirs.weight)
    if layer.bias is not None:
        copy_parameter(layer.bias, theirs.bias)
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
    try:
        quantized = theirs.quant_weight()
    except AssertionError as error:  # raised by Brevitas
        raise ValueError(
            f"its weight quantizer needs more than the weights ({error}), as accumulator-aware ones (A2Q) do, whose "
            "integers depend on the width of the inputs; use another, such as Int8WeightPerTensorFloat"
        ) from error
    scale = quantized.scale.detach().float().flatten()
    spec = IntWeight(int(quantized.bit_width), "tensor" if scale.numel() == 1 else "channel", "max")
    layer.set_weight_spec(spec)
    quantizer: Any = layer.quantizer
    if not torch.equal(quantizer.scale.flatten(), scale):  # not by maximum, so a parameter or a constant
        layer.set_weight_spec(IntWeight(spec.bits, spec.granularity, "learned"))
        quantizer = layer.quantizer
        quantizer.log_scale.data.copy_(scale.log().reshape(quantizer.log_scale.shape))
    integers = (quantized.value / quantized.scale).round() - quantized.zero_point
    if not torch.equal(_integers(quantizer, layer.weight), integers.to(layer.weight.dtype).reshape(layer.weight.shape)):
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
        raise ValueError("it stands behind no Linear, Conv1d or Conv2d whose weights could take it in; move it there")
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


def _norm_for_each_step(build: Builder, link: Link) -> None:
    raise ValueError(
        f"a norm for each of {len(link.module)} steps: squat normalises all steps alike; use one BatchNorm behind the "
        "layer, or batch_norm=True of squat's layers"
    )


def _flatten(build: Builder, link: Link) -> None:
    start, end = (link.module.start_dim, link.module.end_dim) if link.module is not None else (1, -1)
    axes = build.axes(link)
    first, last = (axis % axes if axes and axis < axes else axis for axis in (start, end))
    if (start, end) == (1, -1) or (first, last) == (1, (axes or 0) - 1):
        build.layers.append(Flatten())
    elif link.outputs:
        _reshape(build, link)
    elif first != last:
        raise ValueError(
            f"start_dim={start}, end_dim={end}: expected 1 and -1, everything behind the batch axis; for "
            "what amounts to that, or to another shape of a step, pass an example input"
        )


def _unflatten(build: Builder, link: Link) -> None:
    if link.outputs:
        _reshape(build, link)
        return
    axis, sizes = link.module.dim, link.module.unflattened_size
    if build.axes(link) not in (None, 2) or axis not in (1, -1) or any(size < 1 for size in sizes):
        raise ValueError(f"dim={axis}, unflattened_size={sizes}: expected sizes of features, or an example input")
    build.layers.append(Unflatten(tuple(sizes)))


def _reshape(build: Builder, link: Link) -> None:
    """`x.view(batch, -1)`, `x.flatten(1)`, `x.reshape(...)`: judged by what came out."""
    before, after = link.inputs[0], link.outputs[0]
    if before.shape == after.shape:
        return
    if after.dim() < 2 or after.shape[0] != before.shape[0]:
        raise ValueError(f"{tuple(before.shape)} to {tuple(after.shape)}: expected the batch axis first, as it was")
    build.layers.append(Flatten() if after.dim() == 2 else Unflatten(tuple(after.shape[1:])))


def _average_pool(build: Builder, link: Link) -> None:
    """Of spikes: their sum, and the division goes into the next layer's `input_scale`, so that they stay integers."""
    kernel, stride = _window(link, AVERAGE)
    suffix = link.key[-2:]
    if build.follows_spikes() and build.precedes(*WEIGHTED) and build.input_max == 1:
        build.layers.append(_pool("Sum", suffix)(kernel, stride))
        build.input_max = build.layers[-1].window  # type: ignore[assignment]
        build.input_scale = 1.0 / build.input_max
    else:
        build.layers.append(_pool("Avg", suffix)(kernel, stride))


def _max_pool(build: Builder, link: Link) -> None:
    build.layers.append(_pool("Max", link.key[-2:])(*_window(link, MAXIMUM)))


def _pool(kind: str, suffix: str) -> Any:
    return layers.MODULES[f"{kind}Pool{suffix}"]


def _dropout(build: Builder, link: Link) -> None:
    """In the place where it stands; of whole channels where torch drops those."""
    if link.module is not None:
        p, always = link.module.p, False
    else:
        given = {**dict(zip(("p", "training"), link.arguments[0], strict=False)), **link.arguments[1]}
        p, always = given.get("p", 0.5), given.get("training", True)
    if always:
        raise ValueError("training=True in use: it drops in evaluation mode too; pass training=self.training")
    build.layers.append(Dropout(float(p), channels=link.key.endswith(("1d", "2d"))))


def _window(link: Link, plain: dict[str, tuple[Any, ...]]) -> tuple[Any, Any]:
    """Kernel and stride of a pooling module or function; `plain` says what its other arguments may be, in their order.

    Raises:
        ValueError: where one of them is something else.
    """
    if link.module is not None:
        names = [name for name in ("kernel_size", "stride", *plain) if hasattr(link.module, name)]
        given = {name: getattr(link.module, name) for name in names}
    else:
        given = {**dict(zip(("kernel_size", "stride", *plain), link.arguments[0], strict=False)), **link.arguments[1]}
    odd = [f"{name}={given[name]}" for name, accepted in plain.items() if name in given and given[name] not in accepted]
    if odd:
        raise ValueError(f"{', '.join(odd)}: expected plain windows without padding")
    return _size(given["kernel_size"]), _size(given.get("stride"))


def _size(value: Any) -> Any:
    """One number where torch has it in a tuple of one; None for no stride, which torch passes on as an empty list."""
    listed = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return listed if len(listed) > 1 else next(iter(listed), None)


CONVERTERS: dict[str, Converter] = {
    "torch.Linear": _linear,
    "brevitas.QuantLinear": _quantized(_linear),
    **{f"torch.Conv{suffix}": _convolution for suffix in ("1d", "2d")},
    **{f"brevitas.QuantConv{suffix}": _quantized(_convolution) for suffix in ("1d", "2d")},
    **{f"torch.BatchNorm{suffix}": _batch_norm for suffix in ("1d", "2d")},
    **{f"snntorch.BatchNormTT{suffix}": _norm_for_each_step for suffix in ("1d", "2d")},
    "torch.Flatten": _flatten,
    "torch.Unflatten": _unflatten,
    "torch.Identity": lambda build, link: None,
    **{f"torch.AvgPool{suffix}": _average_pool for suffix in ("1d", "2d")},
    **{f"function.avg_pool{suffix}": _average_pool for suffix in ("1d", "2d")},
    **{f"torch.MaxPool{suffix}": _max_pool for suffix in ("1d", "2d")},
    **{f"function.max_pool{suffix}": _max_pool for suffix in ("1d", "2d")},
    **{f"torch.Dropout{suffix}": _dropout for suffix in ("", "1d", "2d")},
    **{f"function.dropout{suffix}": _dropout for suffix in ("", "1d", "2d")},
    **{f"function.{name}": _reshape for name in SHAPES},
}
"""By package and class, or function. A new layer is one entry."""
