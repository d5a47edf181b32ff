"""ALIF: LIF whose threshold rises with every spike and decays back, the neuron of recurrent networks with long memory.

    a[t] = rho*a[t-1] + s[t-1]                           the adaptation, in spikes
    u[t] = ((beta*u[t-1] + x[t]) + r[t]) - theta*s[t-1]  the membrane; with the zero reset (1 - s[t-1]) * (...)
    s[t] = (u[t] > theta + kappa*a[t])

`r[t] = W_rec s[t-1]` with recurrence. The reset subtracts the resting threshold `theta`, and is detached; the spike
that the adaptation counts carries its gradient. Source: Bellec et al. 2020 (e-prop), equations of the ALIF neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from squat.ops.states.equations import BEFORE, DROP, SPIKE, THETA, Equations

ADAPTATION, MEMBRANE = 0, 1
RHO, BETA, KAPPA = 2, 3, 4


class AlifOptions(NamedTuple):
    """Options."""

    zero: float


def update(o, k, p, x, r, s, fired, before, now, raw):
    """State `k` before its quantizer."""
    if k == ADAPTATION:
        return p[RHO] * before[ADAPTATION] + s
    u = p[BETA] * before[MEMBRANE] + x + r - p[DROP] * fired
    return u - o.zero * fired * u


def margin(o, p, now):
    """How far the membrane is above the effective threshold."""
    return now[MEMBRANE] - (p[THETA] + p[KAPPA] * now[ADAPTATION])


def pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    """Adjoint of `update` in currents, spikes and states."""
    if k == ADAPTATION:
        gs[n] += g
        g_before[ADAPTATION, n] += p[RHO, n] * g
        return
    kept = g - o.zero * fired[n] * g
    gx[n] += kept
    g_before[MEMBRANE, n] += p[BETA, n] * kept


def pull_parameters(o, k, p, g, fired, before, now, n, gp):
    """Adjoint of `update` in the parameters."""
    if k == ADAPTATION:
        gp[RHO, n] += before[ADAPTATION, n] * g
        return
    gp[BETA, n] += before[MEMBRANE, n] * (g - o.zero * fired[n] * g)
    gp[DROP, n] -= fired[n] * g


def pull_margin(o, p, now, n, g, g_now):
    """Adjoint of `margin` in the states."""
    g_now[MEMBRANE, n] += g
    g_now[ADAPTATION, n] -= p[KAPPA, n] * g


def pull_margin_parameters(o, now, n, g, gp):
    """Adjoint of `margin` in the parameters."""
    gp[THETA, n] -= g
    gp[KAPPA, n] -= now[ADAPTATION, n] * g


EQUATIONS: Any = Equations(
    options=AlifOptions,
    states=("adaptation", "u"),
    parameters=("rho", "beta", "kappa"),
    update=update,
    margin=margin,
    pull=pull,
    pull_parameters=pull_parameters,
    pull_margin=pull_margin,
    pull_margin_parameters=pull_margin_parameters,
    membrane_only=False,
    in_thresholds=(False, True),
    sources=((BEFORE, SPIKE), (BEFORE, SPIKE)),
    ruler=ADAPTATION,
)
