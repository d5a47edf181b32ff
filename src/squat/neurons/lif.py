"""LIF and LI: elementwise neurons, with float or quantized membranes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from squat.layers.current import Current
from squat.neurons.base import Neuron, check_sequence, is_constant, widened
from squat.neurons.options import WithOptions
from squat.neurons.state import LIFState
from squat.ops.product import check_sums
from squat.quant.spec import StateSpec
from squat.surrogate import FastSigmoid, Surrogate

DEFAULT_SURROGATE = FastSigmoid(25.0)


class _Elementwise(Neuron):
    def forward(self, x: Tensor | Current, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Run the neurons through a sequence.

        Args:
            x: input current `[T, B, ...]`, or the `Current` of a layer with integer weights. A current that is constant
                over time (`x0.expand(T, ...)`) is read once.
            state: the state that an earlier call returned, to continue a sequence.

        Returns:
            Output `[T, B, ...]` in the dtype of the input, and the state after the last step.

        Raises:
            TypeError: for an input that is no floating-point tensor.
            ValueError: for less than three axes, no step or sample, NaN or infinity, or a foreign state.
        """
        integer = isinstance(x, Current) and self.integer_states
        scale = bias = None
        bound: int | Tensor = 0
        exact = False
        if isinstance(x, Current):
            check_sequence(x.z)
            shape, dtype = x.z.shape, x.z.dtype
            if integer:
                current, bound, exact = x.z, x.bound, x.exact
                received = (None if value is None else self.receive(value) for value in (x.scale, x.bias))
                scale, bias = (per_element(value, shape) for value in received)
            else:
                if not x.exact:
                    check_sums(x.z[:1] if is_constant(x.z) else x.z, x.bound)
                current = x.dense()
        else:
            check_sequence(x)
            shape, dtype, current = x.shape, x.dtype, widened(x)
        steps = current[:1] if is_constant(current) else current
        steps = steps if integer else self.receive(steps)
        out, state = self._through_time(
            steps.flatten(2), state, shape[1:], shape[0], integer, scale=scale, bias=bias, sum_bound=bound, exact=exact
        )
        return out.reshape(shape).to(dtype), state

    def receive(self, x: Tensor) -> Tensor:
        """What the membrane gets of a current, or of the scale and bias of one: all of it, but for `Lapicque`."""
        return x


class LIF(WithOptions, _Elementwise):
    """Leaky integrate-and-fire neurons with delayed reset, float or quantized membranes (snnTorch's `Leaky`).

        a[t] = (beta*u[t-1] + i[t]) - theta*s[t-1]      c[t] = #{k : a[t] > bound[k]}
        u[t] = level[c[t]]                              s[t] = (u[t] > theta)

    The first step has no leak and no reset (the membrane starts at float 0). Without a state spec `u = a`. Fed with a
    `Current` (a layer with integer weights) and a state spec, the loop runs on the integers that would be deployed;
    `arithmetic="float"` keeps the float rule.

    Args:
        beta: decay in [0, 1]: one, one per neuron (`[N]`, N the product of the axes behind the batch), or as torch
            broadcasts it over one step, such as `[C, 1, 1]`, one per channel of images.
        threshold: firing threshold, > 0; several for float states only, in the same shapes.
        state: state spec such as `ThresholdCentered(4)`, or None for a float membrane.
        reset: `"subtract"` the threshold, to `"zero"`, or `"none"`.
        zero_reset: for the zero reset, whether the input of the step after a spike counts (`"keep_input"`, as in
            snnTorch's `Leaky`) or is dropped with the membrane (`"drop_input"`, as in its other neurons).
        surrogate: surrogate gradient of the spike.
        learn_beta: False, `"clamp"` (to [0, 1] in the forward pass) or `"sigmoid"`.
        learn_threshold: train the logarithm of the threshold, so that it stays positive; the levels follow it.
        ste: straight-through estimator, `"identity"` as published or `"clipped"` to the range of the levels.
        arithmetic: `"integer"` (the integer rule where weights and states are quantized; with one of the last two
            arguments it is the float rule) or `"float"`.
        initial: `"zero"`, off the grid as published, or `"code_of_zero"`.
        refractory: steps after a spike in which a neuron rests: it receives no input and cannot fire, while leak and
            reset go on. In Norse's `lif_refrac` the membrane stands still instead; in Brian nothing fires, and each
            equation says whether it rests.
        reset_delay: True resets with the step after a spike. False resets behind the quantizer in the step of the
            spike, as in snnTorch; `state.u` then is the membrane before that reset, so that it is `level[codes]`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized state.

    Example:
        >>> import torch
        >>> from squat import LIF, Uniform
        >>> spikes, state = LIF(beta=0.9, state=Uniform(4))(torch.full((5, 1, 2), 0.6))
        >>> spikes[:, 0, 0]
        tensor([0., 1., 0., 1., 0.])
        >>> state.codes
        tensor([[11, 11]], dtype=torch.uint8)
        >>> LIF(refractory=2)(torch.full((7, 1, 1), 1.5))[0].flatten()
        tensor([1., 0., 0., 1., 0., 0., 1.])
    """

    def __init__(
        self,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        state: StateSpec | None = None,
        reset: str = "subtract",
        zero_reset: str = "keep_input",
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


class LI(_Elementwise):
    """Non-spiking leaky integrator, the readout neuron: `a[t] = beta*u[t-1] + i[t]`, output the (quantized) `u[t]`.

    Args:
        beta: decay in [0, 1], or one per neuron.
        threshold: what the levels of the state spec refer to; nothing fires.
        state: state spec, or None for a float membrane.
        learn_beta: False, `"clamp"` or `"sigmoid"`.
        learn_threshold: train the scale of the levels.
        ste: `"identity"` or `"clipped"`.
        arithmetic: `"integer"` or `"float"`, as for `LIF`.
        initial: `"zero"` or `"code_of_zero"`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Example:
        >>> import torch
        >>> from squat import LI
        >>> LI(beta=0.5)(torch.ones(3, 1, 1))[0].flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """

    spiking = False

    def __init__(
        self,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float = 1.0,
        *,
        state: StateSpec | None = None,
        learn_beta: bool | str = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
    ) -> None:
        super().__init__(
            beta, threshold, state, "none", "keep_input", None, learn_beta, learn_threshold, ste, arithmetic, initial
        )


def per_element(value: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """A per-channel value `[C]` for every element behind the batch axis, `[C*H*W]`."""
    if value is None or value.dim() == 0:
        return value
    positions = math.prod(shape[3:])
    return value if positions == 1 else value.repeat_interleave(positions)
