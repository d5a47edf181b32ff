"""What neurons of several states share: a spec for each state, their parameters by place, and the call of the loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from squat.checks import check_type
from squat.neurons.base import Neuron
from squat.neurons.granularity import over_neurons
from squat.operators import outside_graphs
from squat.ops.product import FLOAT32_EXACT, check_sums
from squat.ops.states import StatesConfig, Sums, states
from squat.ops.states.equations import Equations
from squat.ops.states.loop import refuse_export
from squat.quant.spec import StateSpec

SPEC_ACCEPTED = "a state spec such as Uniform(4), None for a float state, or 'same' as the membrane"


class SeveralStates(Neuron):
    """Mixed into `LIF` or `RLIF`, which make the currents: another loop, with a state of several parts.

    A subclass names its equations and its state, and makes its own parameters and specs.
    """

    equations: ClassVar[Equations]
    state_type: ClassVar[type[Any]]
    spec_arguments: ClassVar[tuple[str, ...]]
    """For each state but the membrane the constructor's argument, and attribute, that holds its spec."""
    own_arguments: ClassVar[tuple[str, ...]]
    """Further arguments of the constructor, and attributes."""
    own_decays: ClassVar[tuple[str, ...]]
    """Which of them are decays."""
    reset_delay = True
    as_published = False

    @property
    def integer_states(self) -> bool:
        """As of `LIF`, where every state has a spec, resets are delayed, and none reads an unquantized one."""
        complete = all(spec is not None for spec in self.specs)
        # Nothing through super(): traced code takes a property that is read there for true.
        return self.arithmetic == "integer" and complete and self.reset_delay and not self.as_published

    @property
    def specs(self) -> tuple[StateSpec | None, ...]:
        """The spec of every state in the order of the equations, None for float states."""
        others = (getattr(self, name) for name in self.spec_arguments)
        return (*(self.state_spec if spec == "same" else spec for spec in others), self.state_spec)

    def set_state_spec(self, spec: StateSpec | None) -> None:
        """Swap the membrane's spec in place, and that of the states that have the same; None makes them float.

        Raises:
            TypeError: if `spec` is not a state spec.
            ValueError: for a spec that forces decays, and levels in units of several thresholds.
        """
        super().set_state_spec(checked_spec("state", spec))
        for name, follows in zip(self.spec_arguments, self.equations.in_thresholds, strict=False):
            own = getattr(self, name, None)
            if follows and isinstance(own, StateSpec):
                self.check_one_grid(name, own)

    def set_own_spec(self, name: str, spec: Any) -> None:
        """Check and keep the spec of a state beside the membrane, by the name of its argument.

        Raises:
            TypeError: if `spec` is not a state spec, None or `"same"`.
            ValueError: for a spec that forces decays, or whose levels refer to one threshold where there are several.
        """
        setattr(self, name, checked_spec(name, spec))
        self.set_state_spec(self.state_spec)

    def own_parameters(self) -> tuple[Tensor, ...]:
        """The parameters that the equations name, in order, each 0-dim or of the shape that it was given in."""
        raise TypeError(f"{type(self).__name__} has no parameters of its own; define own_parameters")

    def loop_options(self) -> Any:
        """The options that the equations name."""
        return self.equations.options(float(self.reset == "zero"))

    def dropped(self, theta: Tensor, own: Sequence[Tensor]) -> Tensor:
        """What the reset by subtraction takes from the state that it acts on, given the neuron's own parameters."""
        return theta

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        config = super().config()
        del config["zero_reset"]
        for name in (*self.own_arguments, *self.spec_arguments):
            value = self.decay(name) if name in self.own_decays else getattr(self, name)
            value = value.detach().tolist() if isinstance(value, Tensor) else value
            config[name] = value.to_json() if isinstance(value, StateSpec) else value
        return config

    def states_config(self) -> StatesConfig:
        """The constants of the loop."""
        surrogate: Any = self.surrogate
        return StatesConfig(
            equations=self.equations,
            options=self.loop_options(),
            specs=self.specs,
            surrogate=surrogate,
            clipped=self.ste == "clipped",
            delayed=self.reset_delay,
        )

    def loop_parameters(self, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """Threshold, what the reset subtracts, and the neuron's own parameters, `[P, N]` for neurons of this shape."""
        given = zip(("threshold", *self.equations.parameters), (self.threshold, *self.own_parameters()), strict=True)
        theta, *own = (over_neurons(name, value.to(dtype), shape) for name, value in given)
        drop = self.dropped(theta, own) if self.reset == "subtract" else torch.zeros_like(theta)
        return torch.stack([row.expand(math.prod(shape)) for row in (theta, drop, *own)])

    def _through_time(
        self, current: Tensor, state: Any, batch: torch.Size, steps: int, integer: bool, **options: Any
    ) -> tuple[Tensor, Any]:
        """Output `[T, B, N]` of the loop on currents `[T or 1, B, N]`, and the state in the shape of `batch`."""
        recurrent = {name: options[name] for name in ("w_rec", "rec_scale") if name in options}
        dtype, sums = current.dtype, None
        refuse_export()
        if integer:
            sums = outside_graphs(_sums)(current, options, self.loop_parameters(torch.float64, batch[1:]).detach())
            current = current * options["scale"].to(dtype)
            current = current if sums.bias is None else current + options["bias"].to(dtype)
            recurrent |= {"rec_scale": options["scale"]} if "w_rec" in recurrent else {}
        start, start_codes = self._carried(state, batch, dtype), None
        if integer and start is not None:
            start_codes = self._carried_codes(state, batch)
            levels = self._levels_of([code.long() for code in start_codes], dtype)
            start = torch.stack(levels) + (start - start.detach())  # codes decide, values carry the gradient
        out, last, codes = outside_graphs(states)(
            current, self.loop_parameters(dtype, batch[1:]), self.threshold, self.states_config(), steps=steps,
            start=start, sums=sums, start_codes=start_codes, **recurrent,
        )  # fmt: skip
        shaped = {"u": last[-1].reshape(batch), "codes": None if codes[-1] is None else codes[-1].reshape(batch)}
        for name, value, code in zip(self.equations.states[:-1], last, codes, strict=False):
            shaped |= {name: value.reshape(batch), f"{name}_codes": None if code is None else code.reshape(batch)}
        return out, self.state_type(**shaped)

    def state_of_codes(self, codes: Sequence[Tensor], dtype: torch.dtype) -> Any:
        """A state to carry on from, of codes uint8 `[B, ...]` for each state."""
        shaped: dict[str, Tensor] = {}
        values = self._levels_of([code.long() for code in codes], dtype)
        for name, value, code in zip(self.equations.states, values, codes, strict=True):
            shaped |= {name: value, "codes" if name == "u" else f"{name}_codes": code}
        return self.state_type(**shaped)

    def _levels_of(self, codes: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """What the codes of each state stand for."""
        found, theta = [], float(self.threshold.detach())
        for spec, follows, code in zip(self.specs, self.equations.in_thresholds, codes, strict=True):
            if spec is None:
                raise ValueError(f"a state of {type(self).__name__} is float: it has no codes")
            found.append(spec.levels(theta if follows else 1.0).to(code.device, dtype)[code])
        return found

    def _carried(self, state: Any, batch: torch.Size, dtype: torch.dtype) -> Tensor | None:
        """The states to start from, `[S, B, N]`; None for zeros."""
        if state is None:
            if self.initial == "zero":
                return None
            return torch.stack([self._code_of_zero(k, batch, dtype) for k in range(len(self.specs))])
        check_type("state", state, self.state_type, f"a {self.state_type.__name__} that this neuron returned")
        if state.fresh:
            return None
        values = [getattr(state, name) for name in self.equations.states]
        for name, value in zip(self.equations.states, values, strict=True):
            if value.shape != batch:
                raise ValueError(
                    f"state: {name} of shape {tuple(value.shape)}, expected {tuple(batch)} like one step of the input; "
                    "carry the state of the same neuron and batch"
                )
        return torch.stack([value.to(dtype).flatten(1) for value in values])

    def _carried_codes(self, state: Any, batch: torch.Size) -> Tensor:
        """Codes of the states to start from, `[S, B, N]`."""
        if state is None:
            return torch.stack([self.codes_of_zero(k, batch).flatten(1) for k in range(len(self.specs))])
        codes = [getattr(state, f"{name}_codes") for name in self.equations.states[:-1]] + [state.codes]
        if any(code is None or code.dtype != torch.uint8 or code.shape != batch for code in codes):
            raise ValueError(
                f"state: codes are missing or not uint8 {tuple(batch)}, but the states are quantized; carry the state "
                "of the same neuron"
            )
        for spec, code in zip(self.specs, codes, strict=True):
            if spec is not None and int(code.max()) >= 2**spec.bits:
                raise ValueError(
                    f"state: code {int(code.max())}, expected codes below {2**spec.bits} for {spec}; the state belongs "
                    "to another neuron"
                )
        return torch.stack([code.flatten(1) for code in codes])

    def codes_of_zero(self, k: int, batch: torch.Size) -> Tensor:
        """Codes of 0 of a state, uint8 in the shape of `batch`; zeros for a float state."""
        spec, unit = self.specs[k], float(self.threshold.detach()) if self.equations.in_thresholds[k] else 1.0
        zeros = torch.zeros(batch, device=self.threshold.device)
        return zeros.to(torch.uint8) if spec is None else spec.encode(zeros, unit)

    def _code_of_zero(self, k: int, batch: torch.Size, dtype: torch.dtype) -> Tensor:
        spec, unit = self.specs[k], float(self.threshold.detach()) if self.equations.in_thresholds[k] else 1.0
        zeros = torch.zeros(batch, dtype=dtype, device=self.threshold.device).flatten(1)
        if spec is None:
            return zeros
        levels = spec.levels(unit).to(zeros)
        return levels[spec.encode(zeros, unit).int()]


def _sums(z: Tensor, options: dict[str, Any], parameters: Tensor) -> Sums:
    """What a layer with integer weights hands the loop, checked."""
    bound, scale, bias = int(options["sum_bound"]), options["scale"], options["bias"]
    if not options["exact"]:
        check_sums(z, bound)
    if "w_rec" in options and bound >= FLOAT32_EXACT and z.dtype == torch.float32:
        raise ValueError(
            f"recurrent sums can reach {bound}: expected less than {FLOAT32_EXACT} in a float32 network; use fewer or "
            "smaller inputs, or net.double()"
        )
    return Sums(z.detach(), scale, bias, bound, parameters)


def checked_spec(name: str, spec: Any) -> Any:
    """`spec`, if it is one that the argument `name` takes."""
    if spec != "same" or name == "state":
        accepted = SPEC_ACCEPTED if name != "state" else SPEC_ACCEPTED.replace(", or 'same' as the membrane", "")
        check_type(name, spec, (StateSpec, type(None)), accepted)
    if isinstance(spec, StateSpec) and spec.decays:
        raise ValueError(
            f"{name}={spec}: expected a spec with decay='free' in a neuron of several states, whose states are driven "
            "by one another; only LIF, LI and RLIF force a decay"
        )
    return spec
