"""Integer layers from trained ones: the quantizers' integers and the tables of the training loop, copied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from squat.integer.copy_states import copy_states
from squat.integer.parts import Layer, Neurons, Shape
from squat.integer.pools import Pool
from squat.integer.states import States
from squat.layers import Conv1d, Conv2d, Current, Linear, SumPool2d
from squat.neurons import RLIF, ConvRLIF
from squat.neurons.granularity import rows_of
from squat.neurons.several import SeveralStates
from squat.ops.lif.tables import code_tables

TABLE_LIMIT = 2**16
"""Entries of a layer's table: 256 neurons with their own decay at 8 bits, 4096 at 4 bits."""


def copy_weighted(
    module: Linear | Conv2d, pool: SumPool2d | None, neuron: Any, name: str, shape: Shape
) -> tuple[Layer, Tensor, Tensor | None]:
    """A layer of weights with the neurons behind it, if any, and the scale and bias of its sums.

    Args:
        module: with integer weights, in evaluation mode.
        pool: of its currents, or None.
        neuron: an LIF or LI with quantized state, or None.
        name: for messages.
        shape: of one step of its input.

    Raises:
        ValueError: where tables would not fit.
    """
    quantizer: Any = module.quantizer
    w_int, scale, bias, bound = module.quantized()
    stride, padding = (module.stride, module.padding) if isinstance(module, Conv2d) else ((1, 1), (0, 0))
    weight, weight_shift = _unshifted(w_int, quantizer)
    layer = Layer(
        name, shape, weight, quantizer.spec.bits, module.input_max, recurrent=None, input_unit=1,
        recurrent_unit=1, stride=stride, padding=padding, neurons=None, weight_shift=weight_shift,
        input_min=module.input_min,
    )  # fmt: skip
    if pool is not None:
        layer = replace(layer, pool=pool_of(pool, layer.sum_shape))
        _, scale, bias, bound, _ = pool.constants(Current(w_int, scale, bias, bound))
    if isinstance(neuron, ConvRLIF):
        return _on_images(neuron, Current(w_int, scale, bias, bound), layer), scale, bias
    if neuron is not None:
        scale, bias = neuron.receive(scale), None if bias is None else neuron.receive(bias)
        layer = replace(
            layer, neurons=_copy(neuron, w_int.dtype, scale, bias, int(bound), layer, seen_shape(module, layer))
        )
    return layer, scale, bias


def seen_shape(module: nn.Module, layer: Layer) -> Shape:
    """One step as the neurons behind a layer see it: signals `(C, L)` are images of one row in the machine only."""
    shape = layer.output_shape
    return (shape[0], shape[2]) if isinstance(module, Conv1d) else shape


def pool_of(pool: SumPool2d, shape: Shape) -> Pool:
    """The integer pool of images or signals of this shape."""
    return Pool(shape, pool.kernel_size, pool.stride, "max" if pool.kind == "max" else "sum")


def _on_images(neuron: ConvRLIF, current: Current, layer: Layer) -> Layer:
    """The layer with the neuron behind it, and its recurrence by convolution."""
    ((quantizer, _),) = neuron.quantized_weights()
    if quantizer.spec.bits != layer.weight_bits:
        raise ValueError(
            f"its recurrent weights have {quantizer.spec.bits} bits, those of its inputs {layer.weight_bits}; expected "
            "equal bits, give both the same weight spec"
        )
    weight, unit, bias, bound = neuron.integer_layer(current)
    layer = replace(layer, recurrent=_array(weight, torch.int8), recurrent_unit=unit)
    shape = layer.output_shape
    return replace(layer, neurons=_copy_neurons(neuron, current.z.dtype, current.scale, bias, bound, layer, shape))


def copy_recurrent(module: RLIF, name: str) -> Layer:
    """A recurrent layer with a shared weight scale, in evaluation mode.

    Raises:
        ValueError: where tables would not fit, or inputs and spikes share no grid.
    """
    ((quantizer, (joined, _)),) = module.quantized_weights()
    input_unit, recurrent_unit = module._units()
    _, _, scale, bias, bound = module.integer_layer()
    integers, weight_shift = _unshifted(joined, quantizer)
    w_in, w_rec = (np.ascontiguousarray(part) for part in np.split(integers, [module.in_features], axis=1))
    w_rec = w_rec if module.recurrence == "full" else np.diag(w_rec[:, 0])
    layer = Layer(
        name, (module.in_features,), w_in, quantizer.spec.bits, module.input_max, w_rec, input_unit, recurrent_unit,
        stride=(1, 1), padding=(0, 0), neurons=None, weight_shift=weight_shift, input_min=module.input_min,
    )  # fmt: skip
    return replace(layer, neurons=_copy(module, joined.dtype, scale, bias, bound, layer, layer.output_shape))


def _unshifted(w_int: Tensor, quantizer: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The integers as stored, and the shift of every channel."""
    shifts = quantizer.shifts()
    if shifts is None:
        return _array(w_int, torch.int8), None
    stored = w_int.detach().long() >> shifts.reshape(-1, *[1] * (w_int.dim() - 1))
    return _array(stored, torch.int8), _array(shifts, torch.int8)


def _copy(
    neuron: Any, dtype: torch.dtype, scale: Tensor, bias: Tensor | None, bound: int, layer: Layer, shape: Shape
) -> Neurons | States:
    if isinstance(neuron, SeveralStates):
        return copy_states(neuron, scale, bias, bound, shape)
    return _copy_neurons(neuron, dtype, scale, bias, bound, layer, shape)


def _copy_neurons(
    neuron: Any, dtype: torch.dtype, scale: Tensor, bias: Tensor | None, bound: int, layer: Layer, shape: Shape
) -> Neurons:
    spec = neuron.state_spec
    rows = rows_of([neuron.decay()], shape)
    _check_rows(rows, spec.bits)
    beta = neuron.decay_over(shape, dtype)
    beta = beta[:: layer.size // rows] if rows > 1 else beta
    # Where every neuron has a decay of its own, tables are by neuron, else by channel.
    repeats = layer.size // layer.channels if rows > layer.channels else 1
    scale = scale.repeat_interleave(repeats) if scale.dim() else scale
    bias = None if bias is None else bias.repeat_interleave(repeats)
    tables = code_tables(neuron.loop_config(True), dtype, beta, neuron.threshold, scale, bias, bound)
    integers: Any = tables.integers
    start = None
    if neuron.initial == "code_of_zero":
        start = int(spec.encode(torch.zeros((), dtype=dtype), float(neuron.threshold)))
    return Neurons(
        bits=spec.bits,
        table=_array(integers.table, torch.int32),
        bound=_array(integers.bound[::repeats], torch.int32),
        bias=None if integers.bias is None else _array(integers.bias[::repeats], torch.int32),
        shift=integers.shift,
        first=tables.first,
        drop_input=neuron.reset == "zero" and neuron.zero_reset == "drop_input",
        start=start,
    )


def _check_rows(rows: int, bits: int) -> None:
    if rows > 1 and rows * 2**bits > TABLE_LIMIT:
        raise ValueError(
            f"{rows} decays need as many tables of {2**bits} entries, at most {TABLE_LIMIT} entries are made; train "
            "it with one beta, one per channel, or fewer state bits"
        )


def _array(values: Tensor, dtype: torch.dtype) -> np.ndarray:
    return values.detach().cpu().to(dtype).contiguous().numpy()
