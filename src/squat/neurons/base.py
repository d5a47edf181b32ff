"""What every LIF-like neuron shares: decay, threshold, state spec, initial state and the checks of inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_choice, check_dense, check_type
from squat.neurons.decays import LEARN_DECAY, Decaying
from squat.neurons.state import LIFState
from squat.ops.lif import LoopConfig, lif
from squat.quant.encoder import STE_RULES
from squat.quant.spec import StateSpec, spec_from_json
from squat.remember import Remembered
from squat.surrogate import Surrogate, surrogate_from_json

INPUT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Neuron(Decaying):
    """Base of LIF, LI and RLIF; see `LIF` for the arguments."""

    wide: tuple[str, ...] = ("beta", "beta_logit", *Decaying.wide, "levels")
    levels: Tensor

    def __init__(
        self,
        beta: float | Sequence[float] | Tensor,
        threshold: float | Sequence[float] | Tensor,
        state: StateSpec | None,
        reset: str,
        zero_reset: str,
        surrogate: Surrogate | None,
        learn_beta: bool | str,
        learn_threshold: bool,
        ste: str,
        arithmetic: str,
        initial: str,
    ) -> None:
        super().__init__()
        self.reset = check_choice("reset", reset, ("subtract", "zero", "none"))
        self.zero_reset = check_choice("zero_reset", zero_reset, ("keep_input", "drop_input"))
        self.ste = check_choice("ste", ste, STE_RULES)
        self.arithmetic = check_choice("arithmetic", arithmetic, ("integer", "float"))
        self.initial = check_choice("initial", initial, ("zero", "code_of_zero"))
        self.learn_beta = check_choice("learn_beta", learn_beta, LEARN_DECAY)
        if surrogate is not None:
            check_type("surrogate", surrogate, Surrogate, "a surrogate such as FastSigmoid(25.0)")
        self.surrogate = surrogate
        self.remembered_decay = Remembered()
        self.set_decay("beta", beta, learn_beta)
        self._set_threshold(threshold, learn_threshold)
        self.remembered_tables = Remembered()
        self.set_state_spec(state)

    def set_state_spec(self, spec: StateSpec | None) -> None:
        """Swap the state spec in place; None makes the state float.

        Raises:
            TypeError: if `spec` is not a state spec.
        """
        check_type("state", spec, (StateSpec, type(None)), "a state spec such as Uniform(4), or None for a float state")
        if self.initial == "code_of_zero" and spec is None:
            raise ValueError(
                "initial='code_of_zero' with state=None: expected a state spec; a float state starts at zero"
            )
        self.check_one_grid("state", spec)
        self.state_spec = spec
        levels = None if spec is None else spec.levels(float(self.threshold.detach())).to(self.threshold.device)
        self.register_buffer("levels", levels)

    def check_one_grid(self, name: str, spec: StateSpec | None) -> None:
        """Refuse levels in units of the threshold where there are several.

        Raises:
            ValueError: naming the argument `name`.
        """
        if spec is not None and self.thresholds > 1:
            raise ValueError(
                f"{name}={spec} with {self.thresholds} thresholds: expected one threshold, in units of which the "
                "levels are; divide the weights and bias of each channel before it by the channel's threshold and give "
                "threshold=1, which fires alike, or keep float states"
            )

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        config: dict[str, Any] = {
            "beta": self.decay().detach().tolist(),
            "threshold": self.threshold.detach().tolist(),
            "state": None if self.state_spec is None else self.state_spec.to_json(),
            "learn_beta": self.learn_beta,
            "learn_threshold": self.learn_threshold,
            "ste": self.ste,
            "arithmetic": self.arithmetic,
            "initial": self.initial,
        }
        if self.spiking and self.surrogate is not None:
            config |= {"reset": self.reset, "zero_reset": self.zero_reset, "surrogate": self.surrogate.to_json()}
        return config

    def extra_repr(self) -> str:
        """The arguments, specs in their own words."""
        values = {"beta": self.decay().detach(), "threshold": self.threshold.detach()}
        parts = [
            f"{name}={float(value):.4g}" if value.numel() == 1 else f"{name}=[{value.numel()} of {tuple(value.shape)}]"
            for name, value in values.items()
        ]
        parts.append(f"state={self.state_spec}")
        if self.spiking:
            parts += [f"reset={self.reset!r}", f"surrogate={self.surrogate}"]
        return ", ".join(parts)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("state_spec", "surrogate"):  # what traced code can hold of them
            object.__setattr__(self, f"{name}_text", json.dumps(None if value is None else value.to_json()))

    @property
    def integer_states(self) -> bool:
        """Whether the states run under the integer rule where the weights are integer too."""
        return self.state_spec is not None and self.arithmetic == "integer"

    def loop_config(self, integer: bool) -> LoopConfig | str:
        """The constants of the loop; where code is traced as the text that `squat.ops.lif.config_of` reads."""
        drop_input, clipped = self.zero_reset == "drop_input", self.ste == "clipped"
        if torch.compiler.is_compiling():
            flags = {"drop_input": drop_input, "clipped": clipped, "spiking": self.spiking, "integer": integer}
            texts = [f'"{name}": {"true" if flag else "false"}' for name, flag in flags.items()]
            texts = [f'"state": {self.state_spec_text}', f'"surrogate": {self.surrogate_text}', *texts]
            return f'{{{", ".join(texts)}, "reset": "{self.reset}"}}'
        return LoopConfig(
            state=self.state_spec,
            reset=self.reset,
            drop_input=drop_input,
            surrogate=self.surrogate,
            clipped=clipped,
            spiking=self.spiking,
            integer=integer,
        )

    def _start(self, state: LIFState | None, batch: torch.Size, dtype: torch.dtype) -> dict[str, Any]:
        """What the loop starts from: carried membrane and codes as `[B, N]`, none for a fresh start."""
        if state is None:
            return {"from_code_of_zero": self.initial == "code_of_zero" and self.state_spec is not None}
        check_type("state", state, LIFState, "a LIFState that this neuron returned")
        if state.u.shape != batch:
            raise ValueError(
                f"state: membrane of shape {tuple(state.u.shape)}, expected {tuple(batch)} like one step of the input; "
                "carry the state of the same neuron and batch"
            )
        if state.fresh:
            return {}
        if (state.codes is None) != (self.state_spec is None):
            raise ValueError(
                f"state: codes are {'missing' if state.codes is None else 'given'}, but this neuron has "
                f"state={self.state_spec}; carry the state of the same neuron"
            )
        if state.codes is None:
            return {"u0": state.u.to(dtype).flatten(1)}
        if state.codes.dtype != torch.uint8 or state.codes.shape != batch:
            raise ValueError(
                f"state: codes of dtype {state.codes.dtype} and shape {tuple(state.codes.shape)}, expected uint8 "
                f"{tuple(batch)}"
            )
        return {"u0": state.u.to(dtype).flatten(1), "codes0": state.codes.flatten(1)}

    def _through_time(
        self, current: Tensor, state: LIFState | None, batch: torch.Size, steps: int, integer: bool, **options: Any
    ) -> tuple[Tensor, LIFState]:
        """Output `[T, B, N]` of the loop on currents `[T or 1, B, N]`, and the state in the shape of `batch`."""
        out, u, codes = lif(
            current, self.decay_over(batch[1:], current.dtype), self.threshold, self.loop_config(integer), steps=steps,
            remembered=self.remembered_tables, **self._start(state, batch, current.dtype), **options,
        )  # fmt: skip
        codes = None if codes is None else codes.reshape(batch)
        return out, LIFState(u.reshape(batch), codes)

    @torch.no_grad()
    def _refresh_levels(self) -> None:
        """The buffer follows a learned threshold."""
        if self.state_spec is not None and self.learn_threshold:
            self.levels = self.state_spec.levels(float(self.threshold)).to(self.levels.device)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._refresh_levels()
        super()._save_to_state_dict(destination, prefix, keep_vars)


def decode_config(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments from `config()`: specs and surrogates become objects again.

    Raises:
        ValueError: for an unknown spec or surrogate.

    Example:
        >>> decode_config({"beta": 0.9, "state": {"type": "Anchored", "bits": 2}})["state"].bits
        2
    """
    decoders = {"weight": spec_from_json, "surrogate": surrogate_from_json}
    decoders |= {name: spec_from_json for name in config if name.endswith("state") and config[name] != "same"}
    return {name: decoders[name](value) if name in decoders else value for name, value in config.items()}


def check_sequence(x: Tensor, axes: str = "[T, B, ...]") -> None:
    """Refuse inputs that are no float sequence with at least one step and one sample."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: a {type(x).__name__}, expected a tensor {axes} or a Current")
    check_dense("x", x)
    if x.dtype not in INPUT_DTYPES:
        raise TypeError(
            f"x: dtype {x.dtype}, expected float32, float64, float16 or bfloat16; convert it with x.float()"
        )
    if x.dim() < 3:
        raise ValueError(
            f"x: {x.dim()} axes {tuple(x.shape)}, expected at least 3 axes {axes}, time first; add missing axes with "
            "x.unsqueeze, or use .step for one time step"
        )
    for axis, name in ((0, "time steps"), (1, "samples")):
        if x.shape[axis] == 0:
            raise ValueError(f"x: 0 {name} in shape {tuple(x.shape)}, expected at least one on axis {axis} of {axes}")


def is_constant(x: Tensor) -> bool:
    """Whether `x` is one step expanded over time (stride 0), so that one step need be computed only.

    A leaf that wants a gradient does not count: it gets one for each step.
    """
    return x.shape[0] > 1 and x.stride(0) == 0 and not (x.is_leaf and x.requires_grad)


def widened(x: Tensor) -> Tensor:
    """Half precision as float32: levels and boundaries need it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
