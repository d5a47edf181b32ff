"""Lapicque: a LIF neuron whose decay and input gain come from resistance, capacitance and time step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from squat.checks import check_real
from squat.neurons.lif import DEFAULT_SURROGATE, LIF
from squat.quant.spec import StateSpec
from squat.surrogate import Surrogate


class Lapicque(LIF):
    """`LIF` as an RC circuit, integrated by Euler's method (snnTorch's `Lapicque`).

        a[t] = (1 - dt/(R C)) u[t-1] + (dt/C) i[t] - theta*s[t-1]                   then as `LIF`

    Two of `beta`, `R` and `C` fix the third through `beta = exp(-dt/(R C))`; `beta` alone takes `R = 1`. As in snnTorch
    `beta` is the exact decay of the circuit, while the membrane decays by its Euler step `1 - dt/(R C) = 1 + ln(beta)`,
    so `Lapicque(0.9)` decays by 0.895. Below `beta = exp(-1)` that step would be negative, which snnTorch lets through
    and which is refused here.

    Args:
        beta: decay of the circuit in one time step, in [exp(-1), 1), or None.
        R: resistance, > 0, or None.
        C: capacitance, > 0, or None.
        time_step: dt, > 0, in the unit of `R*C`.
        threshold: firing threshold, > 0.
        learn_beta: trains the membrane's decay; the gain `dt/C` stays.
        state, reset, zero_reset, surrogate, learn_threshold, ste, arithmetic, initial, refractory, reset_delay: as for
            `LIF`, but the zero reset drops the input by default, as in snnTorch's `Lapicque`, which always resets with
            delay.

    Raises:
        TypeError, ValueError: for values outside these ranges, or if `beta`, `R` and `C` say too little or too much.

    Source: Lapicque 1907; Eshraghian et al. 2023 (snnTorch).

    Example:
        >>> from squat import Lapicque
        >>> neuron = Lapicque(R=5.0, C=2.0, time_step=0.5)
        >>> neuron.decay(), neuron.receive(torch.tensor(1.0))
        (tensor(0.9500), tensor(0.2500))
    """

    def __init__(
        self,
        beta: float | None = None,
        R: float | None = None,
        C: float | None = None,
        time_step: float = 1.0,
        threshold: float = 1.0,
        *,
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
        self.circuit = {"beta": beta, "R": R, "C": C, "time_step": time_step}
        resistance, capacitance, dt = _circuit(beta, R, C, time_step)
        rate = 1 / (resistance * capacitance)
        decay = 1 - dt / (resistance * capacitance)
        if decay < 0:
            raise ValueError(
                f"beta={beta!r}, R={R!r}, C={C!r}, time_step={time_step!r}: the membrane would decay by "
                f"1 - time_step/(R*C) = {float(decay):.4g}, expected at least 0; use a smaller time_step, or "
                "LIF(beta) for a membrane that decays by beta itself"
            )
        super().__init__(
            decay, threshold, state=state, reset=reset, zero_reset=zero_reset, surrogate=surrogate,
            learn_beta=learn_beta, learn_threshold=learn_threshold, ste=ste, arithmetic=arithmetic, initial=initial,
            refractory=refractory, reset_delay=reset_delay,
        )  # fmt: skip
        # One after the other, since snnTorch rounds after each.
        self._gains = tuple(float(gain) for gain in (resistance, rate, dt))

    def receive(self, x: Tensor) -> Tensor:
        """The current that charges the membrane, `x * dt/C`."""
        for gain in self._gains:
            x = x * gain
        return x

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        return super().config() | self.circuit

    def extra_repr(self) -> str:
        """The arguments, those of the circuit first."""
        given = ", ".join(f"{name}={value}" for name, value in self.circuit.items() if value is not None)
        return f"{given}, {super().extra_repr().partition(', ')[2]}"


def _circuit(beta: Any, R: Any, C: Any, time_step: Any) -> tuple[Tensor, Tensor, Tensor]:
    """R, C and dt as snnTorch rounds them, 0-dim float32."""
    dt = _float32("time_step", time_step)
    if beta is None and R is not None and C is not None:
        return _float32("R", R), _float32("C", C), dt
    if beta is None or (R is not None and C is not None):
        raise ValueError(f"beta={beta!r}, R={R!r}, C={C!r}: expected beta, beta with R or C, or R with C")
    check_real("beta", beta, math.exp(-1), 1.0, remedy="use LIF(beta) for a membrane that decays by beta itself")
    if beta == 1:
        raise ValueError("beta=1: expected a circuit that leaks, beta < 1; use LIF(1.0) for one that does not")
    log = torch.log(1 / _float32("beta", beta))
    if C is not None:
        capacitance = _float32("C", C)
        return dt / (capacitance * log), capacitance, dt
    resistance = _float32("R", 1.0 if R is None else R)
    return resistance, dt / (resistance * log), dt


def _float32(name: str, value: Any) -> Tensor:
    return torch.tensor(check_real(name, value, 0.0, open_low=True), dtype=torch.float32)
