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
from squat.neurons.lif import DEFAULT_SURROGATE, check_length
from squat.neurons.state import LIFState
from squat.neurons.weights import OwnWeights
from squat.operators import outside_graphs
from squat.ops.conv_rlif import Recurrence, conv_rlif
from squat.ops.product import check_sums
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.surrogate import Surrogate

AXES = "[T, B, channels, H, W]"


class ConvRLIF(OwnWeights, Neuron):
    """LIF neurons on images that hear their neighbours' last spikes (snnTorch's `RLeaky` with a kernel).

        a[t] = (beta*u[t-1] + i[t]) + (w_rec * s[t-1] + b) - theta*s[t-1]       * a convolution; then as `LIF`

    It runs the float rule, since its input current has another weight scale, and cannot be lowered. Sums of integer
    weights are exact nevertheless.

    Args:
        channels: of the images, C.
        kernel_size: rows and columns of the kernel, odd, one number or a pair; images are padded with 0.
        beta: decay in [0, 1], or one per neuron (`[C*H*W]`).
        threshold: firing threshold, > 0.
        weight: spec of the recurrent weights `[C, C, rows, columns]`, or None for float weights.
        bias: whether the recurrence has one per channel.
        state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, initial: as for `LIF`, but the zero reset
            drops the input by default, as in snnTorch's `RLeaky`.

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
        initial: str = "zero",
    ) -> None:
        super().__init__(
            beta, threshold, state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, "float", initial
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
        config = super().config()
        del config["arithmetic"]
        own = {"channels": self.channels, "kernel_size": list(self.kernel_size), "bias": self.bias is not None}
        return own | config | {"weight": None if self.weight_spec is None else self.weight_spec.to_json()}

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
        current = x.dense() if isinstance(x, Current) else x
        check_sequence(current, AXES)
        if current.dim() != 5 or current.shape[2] != self.channels:
            raise ValueError(f"x: shape {tuple(current.shape)}, expected {AXES} with channels={self.channels}")
        values, shape = widened(current), current.shape
        check_length("beta", self.decay(), shape[2:])
        beta = self._decay_in(values.dtype)
        config = self.loop_config(False)
        start = self._start(state, shape[1:], values.dtype)
        recurrence = self._recurrence(values.dtype, tuple(shape[2:]))
        out, u, codes = outside_graphs(conv_rlif)(values.flatten(2), beta, self.threshold, recurrence, config, **start)
        codes = None if codes is None else codes.reshape(shape[1:])
        return out.reshape(shape).to(current.dtype), LIFState(u.reshape(shape[1:]), codes)

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
