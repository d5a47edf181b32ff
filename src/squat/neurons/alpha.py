"""AlphaLIF: neurons whose response to an input rises and falls, from two traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from squat.checks import check_choice, check_type
from squat.neurons.decays import LEARN_DECAY
from squat.neurons.lif import DEFAULT_SURROGATE, LIF
from squat.neurons.several import SeveralStates
from squat.ops.states.alpha import EQUATIONS, AlphaOptions
from squat.quant.spec import StateSpec
from squat.surrogate import Surrogate
from squat.text import brief

GAP = 2.0**-16
"""What learned decays keep from each other."""


class AlphaState(NamedTuple):
    """Membrane and traces at the end of a sequence; pass it to the next call to continue.

    Attributes:
        u: membrane `[B, ...]`.
        excitatory: excitatory trace `[B, ...]`.
        inhibitory: inhibitory trace `[B, ...]`, of the opposite sign.
        codes: codes of the membrane, uint8 `[B, ...]`, or None for a float membrane. Under the integer rule they
            decide, else `u`.
        excitatory_codes: codes of the excitatory trace, or None.
        inhibitory_codes: codes of the inhibitory trace, or None.
        fresh: no step has run yet; the values do not count.
    """

    u: Tensor
    excitatory: Tensor
    inhibitory: Tensor
    codes: Tensor | None = None
    excitatory_codes: Tensor | None = None
    inhibitory_codes: Tensor | None = None
    fresh: bool = False

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> AlphaState:
        """The state without its history, for truncated backpropagation through time."""
        return self._replace(
            u=self.u.detach(), excitatory=self.excitatory.detach(), inhibitory=self.inhibitory.detach()
        )


_register_namedtuple(AlphaState, serialized_type_name="squat.AlphaState")


class AlphaLIF(SeveralStates, LIF):
    """Neurons whose membrane is the difference of two traces of the input, one slower (snnTorch's `Alpha`).

        e[t] = (alpha*e[t-1] + x[t]) - theta/tau*s[t-1]         excitatory trace
        h[t] = beta*h[t-1] - x[t]                               inhibitory trace, alpha > beta
        u[t] = tau*(e[t] + h[t])                                tau = log(alpha)/(log(beta) - log(alpha)) + 1
        s[t] = (u[t] > theta)

    Each state goes through its own quantizer before it is used. An input is seen one step later, when the traces have
    come apart. The reset lowers the membrane by `theta`; it decays with alpha. `reset="zero"` clears both traces.

    snnTorch (`as_published=True`) makes the membrane of the unquantized traces, has one grid for all states, and by
    subtraction resets otherwise: the excitatory trace loses `theta`, the inhibitory one is cleared, which undoes the
    former and lets the membrane jump, and the membrane of that step is raised by the old `h[t-1]`, which is negative.

    Args:
        alpha: decay of the excitatory trace, one or several as in `LIF`, at most 1 and above beta.
        beta: decay of the inhibitory trace, above 0.
        threshold: firing threshold, > 0; the levels of all states refer to it.
        state: spec of the membrane, or None for a float membrane.
        trace_state: spec of both traces, None for float ones, or `"same"` as the membrane's.
        reset: `"subtract"`, to `"zero"` (snnTorch's default for this neuron), or `"none"`.
        surrogate: surrogate gradient of the spike.
        learn_alpha: False, `"clamp"` (to [0, 1] in the forward pass) or `"sigmoid"`; learned decays stay apart by
            2**-16, whatever an optimizer does.
        learn_beta: the same for beta.
        learn_threshold: train the threshold; the levels follow it.
        ste: straight-through estimator, `"identity"` as published or `"clipped"` to the range of the levels.
        arithmetic: `"integer"` (the integer rule where weights and all states are quantized; as published it is the
            float rule) or `"float"`.
        initial: `"zero"`, off the grid as published, or `"code_of_zero"`.
        as_published: membrane and resets as in snnTorch.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Eshraghian et al. 2023 (snnTorch); arXiv 2404.19668 for the quantized states.

    Example:
        >>> import torch
        >>> from squat import AlphaLIF
        >>> AlphaLIF(0.8, 0.5)(torch.full((6, 1, 1), 0.6))[0].flatten()
        tensor([0., 0., 0., 0., 1., 0.])
    """

    equations, state_type, states_per_neuron = EQUATIONS, AlphaState, 3
    spec_arguments = ("trace_state", "trace_state")
    own_arguments = ("alpha", "learn_alpha", "as_published")
    own_decays = ("alpha",)
    wide = (*SeveralStates.wide, "alpha", "alpha_logit")

    def __init__(
        self,
        alpha: float | Sequence[float] | Tensor = 0.95,
        beta: float | Sequence[float] | Tensor = 0.8,
        threshold: float | Sequence[float] | Tensor = 1.0,
        *,
        state: StateSpec | None = None,
        trace_state: StateSpec | str | None = "same",
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
            beta, threshold, state=state, reset=reset, zero_reset="drop_input", surrogate=surrogate,
            learn_beta=learn_beta, learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic,
            initial=initial,
        )  # fmt: skip
        self.learn_alpha = check_choice("learn_alpha", learn_alpha, LEARN_DECAY)
        self.set_decay("alpha", alpha, learn_alpha)
        self.set_own_spec("trace_state", trace_state)
        self.as_published = check_type("as_published", as_published, bool, "True or False")
        _check_apart(super().decay("alpha"), super().decay(), GAP if learn_alpha or learn_beta else 0.0)

    def decay(self, name: str = "beta") -> Tensor:
        """A decay in force; learned ones keep `GAP` from each other and from 0, so that no step can cross them."""
        value = super().decay(name)
        if not (self.learn_alpha if name == "alpha" else self.learn_beta):
            return value
        if name == "alpha":
            beta = value.new_full((), GAP) if self.learn_beta else super().decay()
            return value.maximum((beta if beta.shape == value.shape else beta.max()) + GAP)
        alpha = self.decay("alpha").detach()
        return value.clamp(min=GAP).minimum((alpha if alpha.shape == value.shape else alpha.min()) - GAP)

    def gain(self) -> Tensor:
        """`tau`, which scales the sum of the traces; 0-dim, or of the decays' shape.

        Raises:
            ValueError: if alpha is not above beta, or beta is 0.
        """
        alpha, beta = self.decay("alpha"), self.decay()
        _check_apart(alpha, beta, 0.0)
        return torch.log(alpha) / (torch.log(beta) - torch.log(alpha)) + 1

    def own_parameters(self) -> tuple[Tensor, ...]:
        """alpha, beta and tau."""
        return self.decay("alpha"), self.decay(), self.gain()

    def loop_options(self) -> AlphaOptions:
        """With what enters the membrane, and how subtracting resets."""
        clears = self.as_published and self.reset == "subtract"
        return AlphaOptions(float(self.reset == "zero"), self.as_published, float(clears))

    def dropped(self, theta: Tensor, own: Sequence[Tensor]) -> Tensor:
        """What lowers the membrane by `theta`; as published `theta` itself."""
        return theta if self.as_published else theta / own[-1]


def _check_apart(alpha: Tensor, beta: Tensor, gap: float) -> None:
    if alpha.numel() > 1 and beta.numel() > 1 and alpha.shape != beta.shape:
        raise ValueError(
            f"alpha of shape {tuple(alpha.shape)}, beta of shape {tuple(beta.shape)}: expected one, or both of one "
            "shape"
        )
    if not bool(((alpha - beta >= gap) & (alpha > beta) & (beta > 0)).all()):
        raise ValueError(
            f"alpha={alpha.detach().tolist()}, beta={beta.detach().tolist()}: expected alpha > beta > 0"
            f"{f', {gap:.3g} apart where they are learned' if gap else ''}, so that the response rises and falls; the "
            "inhibitory trace decays faster"
        )
