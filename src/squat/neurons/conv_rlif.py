"""ConvRLIF: LIF neurons on images whose recurrence is a convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_int, check_type
from squat.layers.current import Current
from squat.neurons.base import Neuron, check_sequence, widened
from squat.neurons.lif import DEFAULT_SURROGATE, per_element
from squat.neurons.state import LIFState
from squat.neurons.weights import OwnWeights
from squat.operators import outside_graphs
from squat.ops.conv_rlif import Recurrence, conv_rlif, conv_rlif_integer
from squat.ops.product import check_sums
from squat.quant.rounding import quantize_ste
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight, row_bound
from squat.surrogate import Surrogate

AXES = "[T, B, channels, H, W]"


class ConvRLIF(OwnWeights, Neuron):
    """LIF neurons on images that hear their neighbours' last spikes (snnTorch's `RLeaky` with a kernel).

        a[t] = (beta*u[t-1] + i[t]) + (w_rec * s[t-1] + b) - theta*s[t-1]       * a convolution; then as `LIF`

    Behind a `Conv2d` with integer weights, with a weight and a state spec, it runs the integer rule: its own integers
    then count `n` units of the input sums, whose scale they share. `n`, from 1 to 255, comes nearest to the scale that
    the weight spec would choose; where scales differ by channel, those of the `Conv2d` count.
    Elsewhere it runs the float rule; sums of integer weights are exact there too.

    Args:
        channels: of the images, C.
        kernel_size: rows and columns of the kernel, odd, one number or a pair; images are padded with 0.
        beta: decay in [0, 1]: one, one per channel (`[C, 1, 1]`), or one per neuron (`[C*H*W]`).
        threshold: firing threshold, > 0.
        weight: spec of the recurrent weights `[C, C, rows, columns]`, or None for float weights.
        bias: whether the recurrence has one per channel.
        state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, arithmetic, initial: as for `LIF`, but
            the zero reset drops the input by default, as in snnTorch's `RLeaky`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized state.

    Example:
        >>> from squat import ConvRLIF, IntWeight, Uniform
        >>> layer = ConvRLIF(4, 3, weight=IntWeight(4), state=Uniform(4))
        >>> spikes, state = layer(torch.ones(6, 2, 4, 8, 8))
        >>> spikes.shape, state.codes.shape
        (torch.Size([6, 2, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] = 3,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float = 1.0,
        *,
        weight: IntWeight | None = None,
        bias: bool = True,
        state: StateSpec | None = None,
        reset: str = "subtract",
        zero_reset: str = "drop_input",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_beta: bool | str = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
    ) -> None:
        super().__init__(
            beta, threshold, state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, arithmetic, initial
        )
        self.channels = check_int("channels", channels, 1)
        self.kernel_size = _odd_pair(kernel_size)
        self.weight_rec = nn.Parameter(torch.empty(channels, channels, *self.kernel_size))
        biased = check_type("bias", bias, bool, "True or False")
        self.bias = nn.Parameter(torch.empty(channels)) if biased else None
        self.reset_parameters()
        self.set_weight_spec(weight)

    def reset_parameters(self) -> None:
        """Draw weights and bias as torch's convolutions do, from the global seed."""
        nn.init.kaiming_uniform_(self.weight_rec, a=math.sqrt(5))
        if self.bias is not None:
            limit = 1 / math.sqrt(self.weight_rec[0].numel())
            nn.init.uniform_(self.bias, -limit, limit)

    def weight_matrices(self) -> list[Tensor]:
        """The recurrent weights."""
        return [self.weight_rec]

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        own = {"channels": self.channels, "kernel_size": list(self.kernel_size), "bias": self.bias is not None}
        return own | super().config() | {"weight": None if self.weight_spec is None else self.weight_spec.to_json()}

    def forward(self, x: Tensor | Current, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Run the neurons through a sequence.

        Args:
            x: input current `[T, B, channels, H, W]`, or the `Current` of a layer with integer weights.
            state: the state that an earlier call returned, to continue a sequence.

        Returns:
            Spikes `[T, B, channels, H, W]` in the dtype of the input, and the state after the last step.

        Raises:
            TypeError: for an input that is no floating-point tensor.
            ValueError: for wrong axes or channels, no step or sample, NaN or infinity, or a foreign state.
        """
        if isinstance(x, Current) and not x.exact:
            check_sums(x.z, x.bound)
        integer = x if self.arithmetic == "integer" and self.state_spec is not None and self.quantizers else None
        current = x if isinstance(x, Tensor) else x.dense() if integer is None else x.z
        check_sequence(current, AXES)
        if current.dim() != 5 or current.shape[2] != self.channels:
            raise ValueError(f"x: shape {tuple(current.shape)}, expected {AXES} with channels={self.channels}")
        values, shape = widened(current), current.shape
        beta = self.decay_over(shape[2:], values.dtype)
        start = self._start(state, shape[1:], values.dtype)
        if isinstance(integer, Current):
            out, u, codes = self._on_integers(integer, beta, start)
        else:
            recurrence, config = self._recurrence(values.dtype, tuple(shape[2:])), self.loop_config(False)
            out, u, codes = outside_graphs(conv_rlif)(
                values.flatten(2), beta, self.threshold, recurrence, config, **start
            )
        codes = None if codes is None else codes.reshape(shape[1:])
        return out.reshape(shape).to(current.dtype), LIFState(u.reshape(shape[1:]), codes)

    def integer_layer(self, x: Current) -> tuple[Tensor, int, Tensor | None, int]:
        """Under the integer rule: integers, what they count in the sums, the whole bias, and the bound of whole sums.

        Args:
            x: the current that comes in, whose scale the sums have.
        """
        ((quantizer, (_, own)),) = self.quantized_weights()
        unit = int((own.detach() / x.scale.detach()).max().round().clamp(1, 255))
        grid, qmax = (x.scale * unit).reshape(-1, 1, 1, 1), quantizer.spec.qmax
        limit = qmax + (0.0 if quantizer.spec.scale == "learned" else 0.5)
        weight = quantize_ste(self.weight_rec.to(x.z.dtype), grid, qmax, limit)
        biases = [bias.to(x.z.dtype) for bias in (x.bias, self.bias) if bias is not None]
        bound = int(x.bound) + unit * int(row_bound(weight, 1))
        return weight, unit, sum(biases[1:], biases[0]) if biases else None, bound

    def _on_integers(self, x: Current, beta: Tensor, start: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        weight, unit, bias, bound = self.integer_layer(x)
        scale, bias = (per_element(value, x.z.shape) for value in (x.scale, bias))
        return outside_graphs(conv_rlif_integer)(
            x.z.flatten(2), beta, self.threshold, weight * unit, tuple(x.z.shape[2:]), self.loop_config(True),
            scale=scale, bias=bias, bound=bound, remembered=self.remembered_tables, **start,
        )  # fmt: skip

    def _recurrence(self, dtype: torch.dtype, image: tuple[int, ...]) -> Recurrence:
        """The convolution of the coming sequence."""
        bias = None if self.bias is None else self.bias.to(dtype)
        if not self.quantizers:
            return Recurrence(self.weight_rec.to(dtype), bias, None, image)
        ((_, (w_int, scale)),) = self.quantized_weights()
        return Recurrence(w_int.to(dtype), bias, scale.to(dtype), image)


def _odd_pair(kernel_size: Any) -> tuple[int, int]:
    both = list(kernel_size) if isinstance(kernel_size, (tuple, list)) else [kernel_size, kernel_size]
    if len(both) != 2 or any(check_int("kernel_size", size, 1) % 2 == 0 for size in both):
        raise ValueError(
            f"kernel_size={kernel_size!r}: expected an odd number or a pair of them, so that images keep their size"
        )
    return both[0], both[1]
