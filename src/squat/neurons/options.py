"""What the own loop of LIF neurons does not have: a refractory period, a reset without delay, several thresholds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from squat.checks import check_int, check_type
from squat.neurons.base import Neuron
from squat.neurons.granularity import over_neurons
from squat.neurons.state import LIFState
from squat.operators import outside_graphs
from squat.ops.states import StatesConfig, states
from squat.ops.states.lif import EQUATIONS, LifOptions
from squat.quant.spec import StateSpec, level_tables

LONGEST_REST = 2**24
"""Up to here float32 counts in ones."""


class WithOptions(Neuron):
    """Mixed into `LIF` and `RLIF`: with an option set they run on the loop over several states, else on their own."""

    refractory = 0
    reset_delay = True
    several_thresholds = True

    @property
    def has_options(self) -> bool:
        """Whether one is set, or thresholds differ."""
        return bool(self.refractory) or not self.reset_delay or self.thresholds > 1

    def set_options(self, refractory: int, reset_delay: bool) -> None:
        """Check and keep the options, which the constructors do first.

        Raises:
            TypeError, ValueError: for values outside their ranges.
        """
        self.refractory = check_int("refractory", refractory, 0, LONGEST_REST)
        self.reset_delay = check_type("reset_delay", reset_delay, bool, "True or False")

    @property
    def integer_states(self) -> bool:
        """As of neurons without options; with one the float rule runs."""
        # Spelled out, since traced code takes a property that is read through super() for true.
        return self.state_spec is not None and self.arithmetic == "integer" and not self.has_options

    def set_state_spec(self, spec: StateSpec | None) -> None:
        """Swap the state spec in place; None makes the state float.

        Raises:
            TypeError: if `spec` is not a state spec.
            ValueError: for a spec that forces decays, with an option.
        """
        if self._given() and isinstance(spec, StateSpec) and spec.decays:
            raise ValueError(
                f"state={spec} with {self._given()}: expected a spec with decay='free'; only neurons without these "
                "options force a decay"
            )
        super().set_state_spec(spec)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values; options that are not set are left out."""
        given = {"refractory": self.refractory} if self.refractory else {}
        return super().config() | given | ({} if self.reset_delay else {"reset_delay": False})

    def extra_repr(self) -> str:
        """The arguments, options last."""
        return ", ".join(text for text in (super().extra_repr(), self._given()) if text)

    def _given(self) -> str:
        given = [f"refractory={self.refractory}"] if self.refractory else []
        given += [] if self.reset_delay else ["reset_delay=False"]
        return ", ".join(given)

    def _start(self, state: LIFState | None, batch: torch.Size, dtype: torch.dtype) -> dict[str, Any]:
        start = super()._start(state, batch, dtype)
        if state is not None and not state.fresh and (state.rest is None) == self.has_options:
            held = "missing" if state.rest is None else "given"
            own = self._given() or "neither refractory nor reset_delay=False"
            own += f", and {self.thresholds} thresholds" if self.thresholds > 1 else ""
            raise ValueError(f"state: rest is {held}, but this neuron has {own}; carry the state of the same neuron")
        return start

    def _through_time(
        self, current: Tensor, state: LIFState | None, batch: torch.Size, steps: int, integer: bool, **options: Any
    ) -> tuple[Tensor, LIFState]:
        """Output `[T, B, N]` of the loop on currents `[T or 1, B, N]`, and the state in the shape of `batch`."""
        if not self.has_options:
            return super()._through_time(current, state, batch, steps, integer, **options)
        dtype, recurrent = current.dtype, {key: options[key] for key in ("w_rec", "rec_scale") if key in options}
        theta = over_neurons("threshold", self.threshold.to(dtype), batch[1:])
        drop = theta if self.reset == "subtract" else torch.zeros_like(theta)
        rows = (theta, drop, self.decay_over(batch[1:], dtype))
        parameters = torch.stack([row.expand(current.shape[2]) for row in rows])
        start = self._states_before(state, batch, current)
        out, last, (_, _, codes) = outside_graphs(states)(
            current, parameters, self.threshold, self._states_config(), steps=steps, start=start, **recurrent
        )
        rest, reset, u = (value.reshape(batch) for value in last)
        codes = None if codes is None else codes.reshape(batch)
        return out, LIFState(u, codes, rest=rest.detach(), reset=reset.detach())

    def _states_config(self) -> StatesConfig:
        """The constants of the loop. Its own delay is on, since the equations reset at once by themselves."""
        surrogate: Any = self.surrogate
        zero, keep_input = self.reset == "zero", self.zero_reset == "keep_input"
        options = LifOptions(float(zero), keep_input, not self.reset_delay, float(self.refractory))
        return StatesConfig(EQUATIONS, options, (None, None, self.state_spec), surrogate, self.ste == "clipped")

    def _states_before(self, state: Any, batch: torch.Size, like: Tensor) -> Tensor | None:
        """Rest, reset and membrane to start from, `[3, B, N]`; None for zeros."""
        start, zeros, spec = self._start(state, batch, like.dtype), like.new_zeros(like.shape[1:]), self.state_spec
        if spec is not None and start.get("from_code_of_zero"):
            codes = spec.encode(zeros, float(self.threshold.detach()))
            return torch.stack([zeros, zeros, self._level_of(codes, like)])
        if "u0" not in start:
            return None
        u = start["u0"]
        if "codes0" in start:  # they decide, and the membrane carries the gradient
            u = self._level_of(start["codes0"], like) + (u - u.detach())
        return torch.stack([state.rest.to(like).flatten(1), state.reset.to(like).flatten(1), u])

    def _level_of(self, codes: Tensor, like: Tensor) -> Tensor:
        spec: Any = self.state_spec
        levels, _, _ = level_tables(spec, float(self.threshold.detach()), like.dtype)
        return levels.to(like.device)[codes.int()]
