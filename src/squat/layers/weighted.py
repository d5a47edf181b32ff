"""What `Linear` and `Conv2d` share: parameters, the weight spec, the input checks, and the case of a constant input."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from squat.checks import check_int, check_real, check_type
from squat.layers.current import Current
from squat.quant.weight import IntWeight, WeightQuantizer, row_bound
from squat.remember import Remembered, forget_all

INPUT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class WeightedLayer(nn.Module):
    """A layer of weights that multiplies in float (`weight=None`) or in integers (`weight=IntWeight(...)`).

    A subclass says what a product is (`float_product`, `integer_product`), how many axes its input has and which
    arguments made it (`config`).

    Args:
        weight_shape: shape of the weights, output channels first, input channels or features second.
        bias: whether there is one; it stays float here, the neuron rounds it to its accumulator grid.
        weight: the weight spec, or None for float weights.
        input_scale: what one unit of the input is worth, > 0.
        input_max: the largest absolute integer input, >= 1.
    """

    axes: tuple[str, ...]

    def __init__(
        self, weight_shape: tuple[int, ...], bias: bool, weight: IntWeight | None, input_scale: float, input_max: int
    ) -> None:
        super().__init__()
        check_type("bias", bias, bool, "True or False")
        self.input_scale = check_real("input_scale", input_scale, 0.0, open_low=True)
        self.input_max = check_int("input_max", input_max, 1)
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.empty(weight_shape[0])) if bias else None
        self.quantizer: WeightQuantizer | None = None
        self.reset_parameters()
        self.set_weight_spec(weight)

    @property
    def weight_spec(self) -> IntWeight | None:
        """The weight spec, None for float weights."""
        return None if self.quantizer is None else self.quantizer.spec

    def reset_parameters(self) -> None:
        """Draws weights and bias as torch's own layers do, from the global seed; a quantizer's scale follows."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            limit = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -limit, limit)
        if self.quantizer is not None:
            self.quantizer.rescale(self.weight)

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
            quantizer.rescale(self.weight)
        self.quantizer, self._remembered = quantizer, Remembered()

    def forward(self, x: Tensor) -> Tensor | Current:
        """The product with every time step; weights are quantized once, a constant input is multiplied once.

        Args:
            x: time first, any float dtype; for integer weights integer-valued with `|x| <= input_max`.

        Returns:
            A tensor for float weights, a `Current` for integer weights.

        Raises:
            TypeError: `x` is no tensor.
            ValueError: wrong number of axes, features or dtype; fractions or too large values for integer weights.
        """
        self._check_input(x)
        # An expanded input has one step in memory. A leaf that wants a gradient gets it per step, by the long way.
        constant = x.shape[0] > 1 and x.stride(0) == 0 and not (x.is_leaf and x.requires_grad)
        steps = x[:1] if constant else x
        product = self._float_current(steps) if self.quantizer is None else self._integer_current(steps, self.quantizer)
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
        return [] if self.quantizer is None else [(self.quantizer, self.quantizer(self.weight))]

    def float_product(self, x: Tensor) -> Tensor:
        """Product with float weights, bias included."""
        raise NotImplementedError

    def integer_product(self, x: Tensor, w_int: Tensor, bound: int | Tensor) -> Tensor:
        """Product with integer weights, without bias."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        raise NotImplementedError

    @property
    def checks_input(self) -> bool:
        """Whether the product refuses NaN and infinity by itself: sums of integers do."""
        return self.quantizer is not None

    def _shared_config(self) -> dict[str, Any]:
        return {
            "bias": self.bias is not None,
            "weight": None if self.weight_spec is None else self.weight_spec.to_json(),
            "input_scale": self.input_scale,
            "input_max": self.input_max,
        }

    def _float_current(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        return self.float_product(x if self.input_scale == 1.0 else x * self.input_scale)

    def _integer_current(self, x: Tensor, quantizer: WeightQuantizer) -> Current:
        if self.training or torch.compiler.is_compiling():
            w_int, scale, bias, bound = self.quantized()
        else:
            w_int, scale, bias, bound = self._remembered(
                (self.weight, self.bias, quantizer.stored_scale()),
                (self.input_scale, self.input_max),
                lambda: self.quantized(),
            )
        z = self.integer_product(x, w_int, bound)
        return Current(z, scale, bias, bound, checked=z)

    def quantized(self) -> tuple[Tensor, Tensor, Tensor | None, int | Tensor]:
        """Integer weights, what their sums are worth, the bias, and the bound of the sums."""
        assert self.quantizer is not None
        w_int, scale = self.quantizer(self.weight)
        bias = None if self.bias is None else self.bias.to(w_int.dtype)
        scale = scale if self.input_scale == 1.0 else scale * self.input_scale
        return w_int, scale, bias, row_bound(w_int, self.input_max)

    def _check_input(self, x: Tensor) -> None:
        shape = f"[{', '.join(self.axes)}]"
        if not isinstance(x, Tensor):
            raise TypeError(
                f"x: a {type(x).__name__}, expected a tensor {shape}; after a layer with integer weights put a neuron, "
                "or pass current.dense()"
            )
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


def _over_time(product: Tensor, steps: int) -> Tensor:
    return product.expand(steps, *product.shape[1:])
