"""What `Linear` and convolutions share: parameters, weight spec, input checks, and the case of a constant input."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from squat.checks import check_dense, check_input_range, check_real, check_type
from squat.layers.batch_norm import BatchNorm
from squat.layers.current import Current
from squat.layers.dropout import Dropped
from squat.quant.weight import IntWeight, WeightQuantizer, row_bound
from squat.remember import Remembered, forget_all
from squat.text import OnScreen

INPUT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class WeightedLayer(OnScreen, nn.Module):
    """A layer of weights that multiplies in float (`weight=None`) or in integers (`weight=IntWeight(...)`).

    A subclass says what a product is (`float_product`, `integer_product`), how many axes its input has and which
    arguments made it (`config`).

    Args:
        weight_shape: shape of the weights, output channels first, input channels or features second.
        bias: whether there is one; it stays float here, the neuron rounds it to its accumulator grid.
        weight: the weight spec, or None for float weights.
        input_scale: what one unit of the input is worth, > 0.
        input_max: the largest integer input, >= 1.
        batch_norm: whether `squat.layers.BatchNorm` is folded into the weights and the bias.
        input_min: the smallest integer input, <= 0.
    """

    axes: tuple[str, ...]

    def __init__(
        self, weight_shape: tuple[int, ...], bias: bool, weight: IntWeight | None, input_scale: float, input_max: int,
        batch_norm: bool, input_min: int,
    ) -> None:  # fmt: skip
        super().__init__()
        check_type("bias", bias, bool, "True or False")
        check_type("batch_norm", batch_norm, bool, "True or False")
        self.input_scale = check_real("input_scale", input_scale, 0.0, open_low=True)
        self.input_max, self.input_min = check_input_range(input_max, input_min)
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.empty(weight_shape[0])) if bias else None
        self.norm = BatchNorm(weight_shape[0]) if batch_norm else None
        self.quantizer: WeightQuantizer | None = None
        self.reset_parameters()
        self.set_weight_spec(weight)

    @property
    def weight_spec(self) -> IntWeight | None:
        """The weight spec, None for float weights."""
        return None if self.quantizer is None else self.quantizer.spec

    def reset_parameters(self) -> None:
        """Draws weights and bias as torch's own layers do, from the global seed; a quantizer's scale follows.

        Behind batch normalisation the bias starts at 0, as in torch.
        """
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None and self.norm is not None:
            nn.init.zeros_(self.bias)
        elif self.bias is not None:
            limit = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -limit, limit)
        if self.quantizer is not None:
            self.quantizer.rescale(self.folded_weight())

    def set_weight_spec(self, spec: IntWeight | None) -> None:
        """Swaps the weight spec in place; the scale is found anew from the present float weights.

        Args:
            spec: the new spec, or None for float weights.

        Raises:
            TypeError: not an `IntWeight`.
            ValueError: NaN or infinity in the weights.
        """
        check_type("weight", spec, (IntWeight, type(None)), "an IntWeight, or None for float weights")
        quantizer = None
        if spec is not None:
            quantizer = WeightQuantizer(spec, self.weight.shape).to(self.weight.device).train(self.training)
            quantizer.rescale(self.folded_weight())
        self.quantizer, self._remembered = quantizer, Remembered()

    def folded_weight(self) -> Tensor:
        """The weights that are quantized and multiplied by: those of the layer, batch normalisation folded in."""
        return self.weight if self.norm is None else self.norm.fold(self.weight)

    def folded_bias(self) -> Tensor | None:
        """The bias that is added, batch normalisation folded in."""
        return self.bias if self.norm is None else self.norm.shift(self.bias)

    def forward(self, x: Tensor | Dropped) -> Tensor | Current:
        """The product with every time step; weights are quantized once, a constant input is multiplied once.

        Args:
            x: time first, any float dtype; for integer weights integers from `input_min` to `input_max`. Or what a
                `Dropout` made of it.

        Returns:
            A tensor for float weights, a `Current` for integer weights.

        Raises:
            TypeError: `x` is no tensor.
            ValueError: wrong number of axes, features or dtype; fractions or values out of range for integer weights.
        """
        x, worth = x if isinstance(x, Dropped) else (x, 1.0)
        self._check_input(x)
        # An expanded input has one step in memory. A leaf that wants a gradient gets it per step, by the long way.
        constant = x.shape[0] > 1 and x.stride(0) == 0 and not (x.is_leaf and x.requires_grad)
        steps = x[:1] if constant else x
        unit = self.input_scale * worth
        if self.quantizer is None:
            product: Tensor | Current = self._float_current(steps, unit)
        else:
            product = self._integer_current(steps, self.quantizer, unit)
        if not constant:
            return product
        if isinstance(product, Current):
            z = _over_time(product.z, x.shape[0])
            return product._replace(z=z, checked=z)
        return _over_time(product, x.shape[0])

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or to use; forgets what was kept, since a fused optimizer's steps leave no trace."""
        forget_all(self)
        return super().train(mode)

    def quantized_weights(self) -> list[tuple[WeightQuantizer, tuple[Tensor, Tensor]]]:
        """The quantizer with the integers and the scale of the coming sequence; nothing for float weights."""
        return [] if self.quantizer is None else [(self.quantizer, self.quantizer(self.folded_weight()))]

    def float_product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Product with float weights, plus the bias."""
        raise NotImplementedError

    def integer_product(self, x: Tensor, w_int: Tensor, bound: int | Tensor) -> Tensor:
        """Product with integer weights, without bias."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        raise NotImplementedError

    @property
    def checks_input(self) -> bool:
        """Whether the product refuses NaN and infinity by itself: that of integers does."""
        return self.quantizer is not None

    def _shared_config(self) -> dict[str, Any]:
        return {
            "bias": self.bias is not None,
            "weight": None if self.weight_spec is None else self.weight_spec.to_json(),
            "input_scale": self.input_scale,
            "input_max": self.input_max,
            **({} if self.norm is None else {"batch_norm": True}),
            **({"input_min": self.input_min} if self.input_min else {}),
        }

    def _float_current(self, x: Tensor, unit: float) -> Tensor:
        x = x.to(self.weight.dtype)
        x = x if unit == 1.0 else x * unit
        if self.norm is None:
            return self.float_product(x, self.weight, self.bias)
        bias = self.norm.shift(self.bias).to(x.dtype)
        y = self.float_product(x, self.folded_weight().to(x.dtype), None)
        y = self.norm.follow(y, 1.0) if self.training else y
        return y + bias.reshape(-1, *[1] * (y.dim() - 3))

    def _integer_current(self, x: Tensor, quantizer: WeightQuantizer, unit: float) -> Current:
        if self.training or torch.compiler.is_compiling():
            w_int, scale, bias, bound = self.quantized(unit)
        else:
            w_int, scale, bias, bound = self._remembered(
                (self.weight, self.bias, quantizer.stored_scale(), *_tensors_of(self.norm)),
                (self.input_scale, self.input_max, self.input_min),
                lambda: self.quantized(),
            )
        z = self.integer_product(x, w_int, bound)
        if self.norm is not None and self.training:
            z = self.norm.follow(z, scale.detach())
            if not torch.compiler.is_compiling() and int(self.norm.batches) == 1:
                quantizer.rescale(self.folded_weight())  # the first statistics change the weights' size at once
        return Current(z, scale, bias, bound, checked=z)

    def quantized(self, unit: float | None = None) -> tuple[Tensor, Tensor, Tensor | None, int | Tensor]:
        """Integer weights, what their sums are worth, the bias, and the bound of the sums.

        Args:
            unit: what one unit of the input is worth, None for `input_scale`.
        """
        assert self.quantizer is not None
        unit = self.input_scale if unit is None else unit
        w_int, scale = self.quantizer(self.folded_weight())
        bias = self.folded_bias()
        bias = None if bias is None else bias.to(w_int.dtype)
        scale = scale if unit == 1.0 else scale * unit
        return w_int, scale, bias, row_bound(w_int, max(self.input_max, -self.input_min))

    def _check_input(self, x: Tensor) -> None:
        shape = f"[{', '.join(self.axes)}]"
        if not isinstance(x, Tensor):
            raise TypeError(
                f"x: a {type(x).__name__}, expected a tensor {shape}; after a layer with integer weights put a neuron, "
                "or pass current.dense()"
            )
        check_dense("x", x)
        if x.dtype not in INPUT_DTYPES:
            raise ValueError(
                f"x: dtype {x.dtype}, expected float32, float64, float16 or bfloat16; convert it with x.float()"
            )
        if x.dim() != len(self.axes):
            raise ValueError(
                f"x: {x.dim()} axes {tuple(x.shape)}, expected {len(self.axes)} axes {shape}, time first; "
                "add missing axes with x.unsqueeze, join surplus ones with squat.layers.Flatten"
            )
        if x.shape[2] != self.weight.shape[1]:
            raise ValueError(
                f"x: {x.shape[2]} on axis 2 of {tuple(x.shape)}, expected {shape} with "
                f"{self.axes[2]}={self.weight.shape[1]}; build the layer with {self.axes[2]}={x.shape[2]}"
            )

    def extra_repr(self) -> str:
        """The constructor's arguments, the spec left to the quantizer's own line."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items() if name != "weight")


def _tensors_of(norm: BatchNorm | None) -> tuple[Tensor | None, ...]:
    return (None,) * 3 if norm is None else (norm.log_gain, norm.mean, norm.variance)


def _over_time(product: Tensor, steps: int) -> Tensor:
    return product.expand(steps, *product.shape[1:])
