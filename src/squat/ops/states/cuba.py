"""CubaLIF: a leaky synaptic current drives the leaky membrane (snnTorch's `Synaptic` and `RSynaptic`).

    i[t] = (alpha*i[t-1] + x[t]) + r[t]                  the synaptic current
    u[t] = (beta*u[t-1] + i[t]) - theta*s[t-1]           the membrane; with the zero reset (1 - s[t-1]) * (...)
    s[t] = (u[t] > theta)

`r[t] = W_rec s[t-1]` with recurrence. The current enters the membrane after its quantizer; as published, before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from squat.ops.states.equations import (
    BEFORE,
    DROP,
    Equations,
    margin_of_membrane,
    pull_margin_of_membrane,
    pull_margin_of_membrane_parameters,
)

CURRENT, MEMBRANE = 0, 1
ALPHA, BETA = 2, 3


class CubaOptions(NamedTuple):
    """Options; `published`: the unquantized current enters the membrane."""

    zero: float
    published: bool
    membrane: int = MEMBRANE


def update(o, k, p, x, r, s, fired, before, now, raw):
    """State `k` before its quantizer, in snnTorch's order of operations."""
    if k == CURRENT:
        return p[ALPHA] * before[CURRENT] + x + r
    current = raw[CURRENT] if o.published else now[CURRENT]
    u = p[BETA] * before[MEMBRANE] + current - p[DROP] * fired
    return u - o.zero * fired * u


def pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    """Adjoint of `update` in currents and states."""
    if k == CURRENT:
        gx[n] += g
        g_before[CURRENT, n] += p[ALPHA, n] * g
        return
    kept = g - o.zero * fired[n] * g
    g_before[MEMBRANE, n] += p[BETA, n] * kept
    if o.published:
        g_raw[CURRENT, n] += kept
    else:
        g_now[CURRENT, n] += kept


def pull_parameters(o, k, p, g, fired, before, now, n, gp):
    """Adjoint of `update` in the parameters."""
    if k == CURRENT:
        gp[ALPHA, n] += before[CURRENT, n] * g
        return
    gp[BETA, n] += before[MEMBRANE, n] * (g - o.zero * fired[n] * g)
    gp[DROP, n] -= fired[n] * g


EQUATIONS: Any = Equations(
    options=CubaOptions,
    states=("current", "u"),
    parameters=("alpha", "beta"),
    update=update,
    margin=margin_of_membrane,
    pull=pull,
    pull_parameters=pull_parameters,
    pull_margin=pull_margin_of_membrane,
    pull_margin_parameters=pull_margin_of_membrane_parameters,
    membrane_only=True,
    in_thresholds=(True, True),
    sources=((BEFORE,), (BEFORE, CURRENT)),
)
