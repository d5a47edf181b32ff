"""RLIF: recurrent LIF layer that owns its input and recurrent weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squat.checks import check_choice, check_input_range, check_int, check_real, check_type
from squat.neurons.base import check_sequence, is_constant, widened
from squat.neurons.granularity import over_neurons
from squat.neurons.lif import DEFAULT_SURROGATE
from squat.neurons.options import WithOptions
from squat.neurons.state import LIFState
from squat.neurons.weights import OwnWeights
from squat.ops.product import integer_linear
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight, row_bound
from squat.surrogate import Surrogate


class RLIF(WithOptions, OwnWeights):
    """Recurrent layer of LIF neurons (snnTorch's `RLeaky`) with its own, optionally integer, weights.

        i[t] = W_in x[t] + b + W_rec s[t-1]             then as `LIF`
        i[t] = W_in x[t] + b + w_rec * s[t-1]           one to one: every neuron hears itself only

    The loop runs one-to-one weights as a diagonal matrix. For recurrence by convolution see `ConvRLIF`.

    With one shared weight scale (the default) input and recurrent sums add up as integers, and with a state spec the
    whole layer runs on the integers that would be deployed.

    Args:
        in_features: inputs.
        features: neurons.
        beta: decay in [0, 1], or one per neuron.
        threshold: firing threshold, > 0, or one per neuron, for float states.
        weight: weight spec for both matrices, or None for float weights.
        bias: whether there is one.
        shared_scale: one scale for input and recurrent weights; separate ones run under the float rule.
        input_scale: what one unit of the input is worth beside a spike of the layer itself; under the integer rule
            1/n or n with n an integer (1/255 for pixels; 4 lets recurrent weights use a four times finer grid).
        input_max: the largest integer input.
        input_min: the smallest integer input, as for `squat.Linear`.
        recurrence: `"full"`, weights `[N, N]` from all to all, or `"one_to_one"`, `[N, 1]` (snnTorch's `V`).
        state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, arithmetic, initial, refractory,
            reset_delay: as for `LIF`, but the zero reset drops the input by default, as in snnTorch's `RLeaky`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized state.

    Example:
        >>> from squat import RLIF, IntWeight, ThresholdCentered
        >>> layer = RLIF(140, 32, beta=0.9, weight=IntWeight(4), state=ThresholdCentered(4))
        >>> spikes, state = layer(torch.ones(20, 3, 140))
        >>> spikes.shape, state.codes.dtype
        (torch.Size([20, 3, 32]), torch.uint8)
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        weight: IntWeight | None = None,
        bias: bool = True,
        shared_scale: bool = True,
        input_scale: float = 1.0,
        input_max: int = 1,
        input_min: int = 0,
        recurrence: str = "full",
        state: StateSpec | None = None,
        reset: str = "subtract",
        zero_reset: str = "drop_input",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_beta: bool | str = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
        refractory: int = 0,
        reset_delay: bool = True,
    ) -> None:
        self.set_options(refractory, reset_delay)
        super().__init__(
            beta, threshold, state, reset, zero_reset, surrogate, learn_beta, learn_threshold, ste, arithmetic, initial
        )
        self.in_features, self.features = check_int("in_features", in_features, 1), check_int("features", features, 1)
        for name, value in (("beta", self.decay()), ("threshold", self.threshold)):
            over_neurons(name, value.detach(), (features,))
        self.shared_scale = check_type("shared_scale", shared_scale, bool, "True or False")
        self.input_scale = check_real("input_scale", input_scale, 0.0, open_low=True)
        self.input_max, self.input_min = check_input_range(input_max, input_min)
        self.weight_in = nn.Parameter(torch.empty(features, in_features))
        self.recurrence = check_choice("recurrence", recurrence, ("full", "one_to_one"))
        self.weight_rec = nn.Parameter(torch.empty(features, features if recurrence == "full" else 1))
        self.bias = nn.Parameter(torch.empty(features)) if bias else None
        self.reset_parameters()
        self.set_weight_spec(weight)

    def reset_parameters(self) -> None:
        """Draw weights and bias as torch's linear layers do, from the global seed."""
        for weight in (self.weight_in, self.weight_rec):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if self.bias is not None:
            limit = 1 / math.sqrt(self.in_features)
            nn.init.uniform_(self.bias, -limit, limit)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return {
            "in_features": self.in_features,
            "features": self.features,
            **super().config(),
            "weight": None if self._spec is None else self._spec.to_json(),
            "bias": self.bias is not None,
            "shared_scale": self.shared_scale,
            "input_scale": self.input_scale,
            "input_max": self.input_max,
            "recurrence": self.recurrence,
            **({"input_min": self.input_min} if self.input_min else {}),
        }

    def forward(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Run the layer through a sequence.

        Args:
            x: `[T, B, in_features]`; for integer weights integer-valued, from `input_min` to `input_max`.
            state: the state that an earlier call returned, to continue a sequence.

        Returns:
            Spikes `[T, B, features]` in the dtype of the input, and the state after the last step.

        Raises:
            TypeError: for an input that is no floating-point tensor.
            ValueError: for wrong axes or features, no step or sample, NaN or infinity, or a foreign state.
        """
        check_sequence(x, "[T, B, in_features]")
        if x.dim() != 3 or x.shape[2] != self.in_features:
            raise ValueError(
                f"x: shape {tuple(x.shape)}, expected [T, B, in_features] with in_features={self.in_features}"
            )
        values = widened(x[:1] if is_constant(x) else x)
        dtype = values.dtype
        integer = self._spec is not None and self.integer_states and self.shared_scale
        options: dict[str, Any]
        if self._spec is None:
            bias = None if self.bias is None else self.bias.to(dtype)
            current = widened(F.linear(values * self.input_scale, self.weight_in.to(dtype), bias))
            options = {"w_rec": self._matrix(self.weight_rec.to(dtype))}
        else:
            current, options = self._quantized_current(values, integer)
        batch = torch.Size((x.shape[1], self.features))
        out, state = self._through_time(current, state, batch, x.shape[0], integer, **options)
        return out.to(x.dtype), state

    def weight_matrices(self) -> list[Tensor]:
        """Input and recurrent weights: one matrix where they share a scale."""
        if self.shared_scale:
            return [torch.cat((self.weight_in, self.weight_rec), dim=1)]
        return [self.weight_in, self.weight_rec]

    def integer_layer(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, int]:
        """Integer input and recurrent weights, scale, bias and bound of the sums, under the integer rule."""
        w_in, _, options = self._quantized(True)
        return w_in, options["w_rec"], options["scale"], options["bias"], int(options["sum_bound"])

    @property
    def checks_input(self) -> bool:
        """Whether the product refuses NaN and infinity by itself: that of integers does."""
        return self._spec is not None

    def _quantized_current(self, x: Tensor, integer: bool) -> tuple[Tensor, dict[str, Any]]:
        """Input sums and the loop's other arguments, for integer weights."""
        if self.training or torch.compiler.is_compiling():
            w_in, bound, options = self._quantized(integer)
        else:
            stored = [quantizer.stored_scale() for quantizer in self.quantizers]
            w_in, bound, options = self._remembered(
                (self.weight_in, self.weight_rec, self.bias, *stored),
                (integer, self.input_scale, self.input_max, self.input_min),
                lambda: self._quantized(integer),
            )
        z = integer_linear(x, w_in, bound, self.input_min, self.input_max).to(x.dtype)
        if integer:
            return z, options
        current = z * (options["scale_in"] * self.input_scale)
        current = current if self.bias is None else current + self.bias
        return current.to(x.dtype), {"w_rec": options["w_rec"], "rec_scale": options["rec_scale"]}

    def _quantized(self, integer: bool) -> tuple[Tensor, int | Tensor, dict[str, Any]]:
        """Integer input weights, the bound of their sums, and what the loop takes."""
        if self.shared_scale:
            ((_, (joined, scale_in)),) = self.quantized_weights()
            w_in, w_rec = joined[:, : self.in_features], joined[:, self.in_features :]
            scale_rec = scale_in
        else:
            (_, (w_in, scale_in)), (_, (w_rec, scale_rec)) = self.quantized_weights()
        w_rec = self._matrix(w_rec)
        input_units, spike_units = self._units() if integer else (1, 1)
        w_in = w_in * input_units if input_units != 1 else w_in.contiguous()
        largest = max(self.input_max, -self.input_min)
        bound = row_bound(w_in, largest)
        if not integer:
            return w_in, bound, {"w_rec": w_rec, "scale_in": scale_in, "rec_scale": scale_rec}
        w_rec = w_rec * spike_units if spike_units != 1 else w_rec
        total = row_bound(w_in, largest, w_rec)
        scale = scale_in * min(self.input_scale, 1.0)
        options = {"w_rec": w_rec, "scale": scale, "bias": self.bias, "sum_bound": total, "exact": True}
        return w_in, bound, options

    def _matrix(self, w_rec: Tensor) -> Tensor:
        """The recurrent weights as the loop takes them, `[N, N]`."""
        return w_rec if self.recurrence == "full" else torch.diag(w_rec[:, 0])

    def _units(self) -> tuple[int, int]:
        """What an input unit and a recurrent spike are worth on the integer grid that both sums share."""
        ratio = max(self.input_scale, 1.0 / self.input_scale)
        units = round(ratio)
        if units > 255 or not math.isclose(units, ratio, rel_tol=1e-9):
            raise ValueError(
                f"input_scale={self.input_scale!r}: expected n or 1/n with n an integer up to 255 in a recurrent layer "
                "under the integer rule, so that inputs and spikes share one grid; rescale the input, or use "
                "arithmetic='float'"
            )
        return (units, 1) if self.input_scale > 1.0 else (1, units)
