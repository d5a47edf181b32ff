"""CubaLIF and RCubaLIF: LIF neurons behind a leaky synaptic current, each state with a spec of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from squat.checks import check_choice, check_type
from squat.neurons.decays import LEARN_DECAY
from squat.neurons.lif import DEFAULT_SURROGATE, LIF
from squat.neurons.rlif import RLIF
from squat.neurons.several import SeveralStates
from squat.ops.states.cuba import EQUATIONS, CubaOptions
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.surrogate import Surrogate
from squat.text import brief


class CubaState(NamedTuple):
    """Membrane and synaptic current at the end of a sequence; pass it to the next call to continue.

    Attributes:
        u: membrane `[B, ...]`, as stored (without delay, after the reset).
        current: synaptic current `[B, ...]`.
        codes: codes of the membrane, uint8 `[B, ...]`, or None for a float membrane. Under the integer rule they
            decide, else `u`.
        current_codes: codes of the current, or None.
        fresh: no step has run yet; the values do not count.
    """

    u: Tensor
    current: Tensor
    codes: Tensor | None = None
    current_codes: Tensor | None = None
    fresh: bool = False

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> CubaState:
        """The state without its history, for truncated backpropagation through time."""
        return self._replace(u=self.u.detach(), current=self.current.detach())


_register_namedtuple(CubaState, serialized_type_name="squat.CubaState")


class _Cuba(SeveralStates):
    equations, state_type, states_per_neuron = EQUATIONS, CubaState, 2
    spec_arguments = ("current_state",)
    own_arguments: ClassVar[tuple[str, ...]] = ("alpha", "learn_alpha", "as_published")
    own_decays = ("alpha",)
    wide = (*SeveralStates.wide, "alpha", "alpha_logit")

    def _set_current(
        self, alpha: float | Sequence[float] | Tensor, learn_alpha: bool | str, current_state: Any, as_published: bool
    ) -> None:
        self.learn_alpha = check_choice("learn_alpha", learn_alpha, LEARN_DECAY)
        self.set_decay("alpha", alpha, learn_alpha)
        self.set_own_spec("current_state", current_state)
        self.as_published = check_type("as_published", as_published, bool, "True or False")

    def loop_options(self) -> CubaOptions:
        """With what enters the membrane."""
        return CubaOptions(float(self.reset == "zero"), self.as_published)

    def own_parameters(self) -> tuple[Tensor, ...]:
        """alpha and beta."""
        return self.decay("alpha"), self.decay()


class CubaLIF(_Cuba, LIF):
    """LIF neurons behind a leaky synaptic current (snnTorch's `Synaptic`), float or quantized, each state by its spec.

        a_i[t] = alpha*i[t-1] + x[t]                            i[t] = level_i[#{k : a_i[t] > bound_i[k]}]
        a_u[t] = (beta*u[t-1] + i[t]) - theta*s[t-1]            u[t] = level[#{k : a_u[t] > bound[k]}]
        s[t]   = (u[t] > theta)

    The quantized current `i[t]` enters the membrane, so that a machine that stores states on a few levels can compute
    it; snnTorch adds the unquantized `a_i[t]` (`as_published=True`). snnTorch has one grid for all states; here the
    current may have another, wider one: it easily exceeds the 1.2 thresholds at which the published grids end.

    Args:
        alpha: decay of the current in [0, 1], one or several as in `LIF`.
        beta: decay of the membrane in [0, 1], one or several as in `LIF`.
        threshold: firing threshold, > 0; the levels of both states refer to it.
        state: spec of the membrane, or None for a float membrane.
        current_state: spec of the current, None for a float current, or `"same"` as the membrane's.
        reset: `"subtract"` the threshold, to `"zero"` (the membrane only; the step's input is dropped), or `"none"`.
        reset_delay: True resets with the step after a spike. False resets behind the quantizer of the same step, which
            leaves the membrane off the grid, as in snnTorch.
        surrogate: surrogate gradient of the spike.
        learn_alpha: False, `"clamp"` (to [0, 1] in the forward pass) or `"sigmoid"`.
        learn_beta: the same for beta.
        learn_threshold: train the threshold; the levels follow it.
        ste: straight-through estimator, `"identity"` as published or `"clipped"` to the range of the levels.
        arithmetic: `"integer"` (the integer rule where weights and both states are quantized; without delayed reset and
            as published it is the float rule) or `"float"`.
        initial: `"zero"`, off the grid as published, or `"code_of_zero"`.
        as_published: the unquantized current enters the membrane, as in snnTorch.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized states.

    Example:
        >>> import torch
        >>> from squat import CubaLIF, Uniform
        >>> neuron = CubaLIF(0.5, 0.9, state=Uniform(4), current_state=Uniform(4, 1.0, 1.0))
        >>> spikes, state = neuron(torch.full((5, 1, 1), 0.3))
        >>> spikes.flatten(), state.current
        (tensor([0., 0., 1., 0., 0.]), tensor([[0.4000]]))
    """

    own_arguments = (*_Cuba.own_arguments, "reset_delay")

    def __init__(
        self,
        alpha: float | Sequence[float] | Tensor = 0.8,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        state: StateSpec | None = None,
        current_state: StateSpec | str | None = "same",
        reset: str = "subtract",
        reset_delay: bool = True,
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_alpha: bool | str = False,
        learn_beta: bool | str = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
        as_published: bool = False,
    ) -> None:
        super().__init__(
            beta, threshold, state=state, reset=reset, zero_reset="drop_input", surrogate=surrogate,
            learn_beta=learn_beta, learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic,
            initial=initial,
        )  # fmt: skip
        self._set_current(alpha, learn_alpha, current_state, as_published)
        self.reset_delay = check_type("reset_delay", reset_delay, bool, "True or False")


class RCubaLIF(_Cuba, RLIF):
    """Recurrent layer of `CubaLIF` neurons (snnTorch's `RSynaptic`) with its own weights.

        a_i[t] = (alpha*i[t-1] + W_in x[t] + b) + W_rec s[t-1]          then as `CubaLIF`

    With integer weights of one shared scale and quantized states the layer runs on the integers that would be deployed.
    The reset comes with the step after a spike; snnTorch fails without that delay.

    Args:
        in_features: inputs.
        features: neurons.
        alpha: decay of the current in [0, 1], or one per neuron.
        beta: decay of the membrane in [0, 1], or one per neuron.
        threshold: firing threshold, > 0; the levels of both states refer to it.
        weight: weight spec for both matrices, or None for float weights.
        bias: whether there is one.
        shared_scale: one scale for input and recurrent weights.
        recurrence: `"full"` or `"one_to_one"`, as for `RLIF`.
        input_scale: factor of integer inputs, as for `RLIF`.
        input_max: largest integer input, as for `RLIF`.
        input_min: smallest integer input, as for `RLIF`.
        state: spec of the membrane, or None for a float membrane.
        current_state: spec of the current, None for a float current, or `"same"` as the membrane's.
        reset, surrogate, learn_alpha, learn_beta, learn_threshold, ste, arithmetic, initial, as_published: as for
            `CubaLIF`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized states.

    Example:
        >>> import torch
        >>> from squat import IntWeight, RCubaLIF, Uniform
        >>> layer = RCubaLIF(140, 32, weight=IntWeight(4), state=Uniform(4))
        >>> spikes, state = layer(torch.ones(20, 3, 140))
        >>> spikes.shape, state.current.shape
        (torch.Size([20, 3, 32]), torch.Size([3, 32]))
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        alpha: float | Sequence[float] | Tensor = 0.8,
        beta: float | Sequence[float] | Tensor = 0.9,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        weight: IntWeight | None = None,
        bias: bool = True,
        shared_scale: bool = True,
        recurrence: str = "full",
        input_scale: float = 1.0,
        input_max: int = 1,
        input_min: int = 0,
        state: StateSpec | None = None,
        current_state: StateSpec | str | None = "same",
        reset: str = "subtract",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_alpha: bool | str = False,
        learn_beta: bool | str = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
        as_published: bool = False,
    ) -> None:
        super().__init__(
            in_features, features, beta, threshold, weight=weight, bias=bias, shared_scale=shared_scale,
            recurrence=recurrence, input_scale=input_scale, input_max=input_max, input_min=input_min,
            state=state, reset=reset, zero_reset="drop_input", surrogate=surrogate, learn_beta=learn_beta,
            learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic, initial=initial,
        )  # fmt: skip
        self._set_current(alpha, learn_alpha, current_state, as_published)
