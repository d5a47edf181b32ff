"""ALIF and RALIF: LIF neurons with an adaptive threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from squat.checks import check_choice, check_real, check_type
from squat.neurons.decays import LEARN_DECAY, refuse_nan
from squat.neurons.lif import DEFAULT_SURROGATE, LIF
from squat.neurons.rlif import RLIF
from squat.neurons.several import SeveralStates
from squat.neurons.thresholds import LARGEST
from squat.ops.states.alif import EQUATIONS
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.surrogate import Surrogate
from squat.text import brief


class ALIFState(NamedTuple):
    """Membrane and adaptation at the end of a sequence; pass it to the next call to continue.

    Attributes:
        u: membrane `[B, ...]`.
        adaptation: adaptation `[B, ...]`, in spikes.
        codes: codes of the membrane, uint8 `[B, ...]`, or None for a float membrane. Under the integer rule they
            decide, else `u`.
        adaptation_codes: codes of the adaptation, or None.
        fresh: no step has run yet; the values do not count.
    """

    u: Tensor
    adaptation: Tensor
    codes: Tensor | None = None
    adaptation_codes: Tensor | None = None
    fresh: bool = False

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> ALIFState:
        """The state without its history, for truncated backpropagation through time."""
        return self._replace(u=self.u.detach(), adaptation=self.adaptation.detach())


_register_namedtuple(ALIFState, serialized_type_name="squat.ALIFState")


class _Adaptive(SeveralStates):
    equations, state_type, states_per_neuron = EQUATIONS, ALIFState, 2
    spec_arguments = ("adaptation_state",)
    own_arguments = ("rho", "kappa", "learn_rho", "learn_kappa")
    own_decays = ("rho",)
    wide = (*SeveralStates.wide, "rho", "rho_logit", "kappa")

    def _set_adaptation(
        self, rho: float | Sequence[float] | Tensor, kappa: float, learn_rho: bool | str, learn_kappa: bool, spec: Any
    ) -> None:
        self.learn_rho = check_choice("learn_rho", learn_rho, LEARN_DECAY)
        self.set_decay("rho", rho, learn_rho)
        self.learn_kappa = check_type("learn_kappa", learn_kappa, bool, "True or False")
        strength = torch.tensor(check_real("kappa", kappa, 0.0))
        if learn_kappa:
            self.kappa = nn.Parameter(strength)
        else:
            self.register_buffer("kappa", strength)
        self.set_own_spec("adaptation_state", spec)

    def own_parameters(self) -> tuple[Tensor, ...]:
        """rho, beta and kappa, which stays at 0 or above."""
        kappa = refuse_nan("kappa", self.kappa).clamp(0.0, LARGEST) if self.learn_kappa else self.kappa
        return self.decay("rho"), self.decay(), kappa


class ALIF(_Adaptive, LIF):
    """LIF neurons with an adaptive threshold, which every spike raises: spiking memory beyond the membrane's.

        a[t] = rho*a[t-1] + s[t-1]                              the adaptation, in spikes
        u[t] = (beta*u[t-1] + x[t]) - theta*s[t-1]
        s[t] = (u[t] > theta + kappa*a[t])

    Each state goes through its own quantizer before it is used. A spike at step t raises the threshold from step t+1
    on; the adaptation passes the spike's surrogate gradient, the reset passes none. The reset subtracts the resting
    threshold `theta`, not the raised one.

    Args:
        rho: decay of the adaptation in [0, 1], one or several as in `LIF`.
        beta: decay of the membrane in [0, 1], one or several as in `LIF`.
        kappa: how much one spike raises the threshold, >= 0.
        threshold: resting threshold, > 0; the levels of the membrane refer to it.
        state: spec of the membrane, or None for a float membrane.
        adaptation_state: spec of the adaptation, None for a float one, or `"same"` as the membrane's. Its levels refer
            to one spike: `Uniform(4, upper_limit=3.0)` reaches 4 spikes.
        reset: `"subtract"` the threshold, to `"zero"` (the step's input is dropped), or `"none"`.
        surrogate: surrogate gradient of the spike.
        learn_rho: False, `"clamp"` (to [0, 1] in the forward pass) or `"sigmoid"`.
        learn_beta: the same for beta.
        learn_kappa: train kappa; below 0 it counts as 0.
        learn_threshold: train the resting threshold; the levels of the membrane follow it.
        ste: straight-through estimator, `"identity"` or `"clipped"` to the range of the levels.
        arithmetic: `"integer"` (the integer rule where weights and both states are quantized) or `"float"`.
        initial: `"zero"` or `"code_of_zero"`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Bellec et al. 2020 (e-prop), whose recursion this is; `kappa` is called beta there. Bellec et al. 2018
        (LSNN) and Yin et al. 2021 weigh the spike in `a` with `1 - rho`; their strength times `1 - rho` is `kappa`.

    Example:
        >>> import torch
        >>> from squat import ALIF
        >>> ALIF(0.9, 0.8, kappa=0.5)(torch.full((8, 1, 1), 0.9))[0].flatten()
        tensor([0., 1., 0., 1., 0., 1., 0., 0.])
    """

    def __init__(
        self,
        rho: float | Sequence[float] | Tensor = 0.96,
        beta: float | Sequence[float] | Tensor = 0.9,
        kappa: float = 0.07,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        state: StateSpec | None = None,
        adaptation_state: StateSpec | str | None = "same",
        reset: str = "subtract",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_rho: bool | str = False,
        learn_beta: bool | str = False,
        learn_kappa: bool = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
    ) -> None:
        super().__init__(
            beta, threshold, state=state, reset=reset, zero_reset="drop_input", surrogate=surrogate,
            learn_beta=learn_beta, learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic,
            initial=initial,
        )  # fmt: skip
        self._set_adaptation(rho, kappa, learn_rho, learn_kappa, adaptation_state)


class RALIF(_Adaptive, RLIF):
    """Recurrent layer of `ALIF` neurons with its own weights.

        x[t] = W_in input[t] + b + W_rec s[t-1]                 then as `ALIF`

    With integer weights of one shared scale and quantized states the layer runs on the integers that would be deployed.

    Args:
        in_features: inputs.
        features: neurons.
        rho: decay of the adaptation in [0, 1], or one per neuron.
        beta: decay of the membrane in [0, 1], or one per neuron.
        kappa: how much one spike raises the threshold, >= 0.
        threshold: resting threshold, > 0; the levels of the membrane refer to it.
        weight: weight spec for both matrices, or None for float weights.
        bias: whether there is one.
        shared_scale: one scale for input and recurrent weights.
        recurrence: `"full"` or `"one_to_one"`, as for `RLIF`.
        input_scale: factor of integer inputs, as for `RLIF`.
        input_max: largest integer input, as for `RLIF`.
        input_min: smallest integer input, as for `RLIF`.
        state, adaptation_state, reset, surrogate, learn_rho, learn_beta, learn_kappa, learn_threshold, ste, arithmetic,
            initial: as for `ALIF`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Bellec et al. 2020 (e-prop).

    Example:
        >>> import torch
        >>> from squat import RALIF, IntWeight, Uniform
        >>> layer = RALIF(140, 32, weight=IntWeight(4), state=Uniform(4), adaptation_state=Uniform(4, upper_limit=3.0))
        >>> spikes, state = layer(torch.ones(20, 3, 140))
        >>> spikes.shape, state.adaptation.shape
        (torch.Size([20, 3, 32]), torch.Size([3, 32]))
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        rho: float | Sequence[float] | Tensor = 0.96,
        beta: float | Sequence[float] | Tensor = 0.9,
        kappa: float = 0.07,
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
        adaptation_state: StateSpec | str | None = "same",
        reset: str = "subtract",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_rho: bool | str = False,
        learn_beta: bool | str = False,
        learn_kappa: bool = False,
        learn_threshold: bool = False,
        ste: str = "identity",
        arithmetic: str = "integer",
        initial: str = "zero",
    ) -> None:
        super().__init__(
            in_features, features, beta, threshold, weight=weight, bias=bias, shared_scale=shared_scale,
            recurrence=recurrence, input_scale=input_scale, input_max=input_max, input_min=input_min,
            state=state, reset=reset, zero_reset="drop_input", surrogate=surrogate, learn_beta=learn_beta,
            learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic, initial=initial,
        )  # fmt: skip
        self._set_adaptation(rho, kappa, learn_rho, learn_kappa, adaptation_state)
