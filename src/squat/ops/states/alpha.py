"""AlphaLIF: an excitatory and an inhibitory trace of the input, whose sum is the membrane (snnTorch's `Alpha`).

    e[t] = (alpha*e[t-1] + x[t]) - drop*s[t-1]      excitatory
    h[t] = beta*h[t-1] - x[t]                       inhibitory, alpha > beta
    u[t] = tau*(e[t] + h[t])                        the membrane: a response that rises and falls
    s[t] = (u[t] > theta)

The zero reset multiplies `e` and `h` by `1 - s[t-1]`. `drop = theta/tau`, so that a reset lowers the membrane by
`theta`. As published, subtracting resets otherwise: `e` loses `theta`, `h` is cleared, and the membrane is made of the
traces before that, plus `h[t-1]`:

    u[t] = tau*(alpha*e[t-1] + x[t] + beta*h[t-1] - x[t]) + s[t-1]*h[t-1]
"""

from __future__ import annotations

from typing import Any, NamedTuple

from squat.ops.states.equations import (
    BEFORE,
    DROP,
    SPIKE,
    Equations,
    margin_of_membrane,
    pull_margin_of_membrane,
    pull_margin_of_membrane_parameters,
)

EXCITATORY, INHIBITORY, MEMBRANE = 0, 1, 2
ALPHA, BETA, TAU = 2, 3, 4


class AlphaOptions(NamedTuple):
    """Options; `published`: traces enter the membrane unquantized and before the reset.

    `clears`: 1.0 for the published reset by subtraction, which clears the inhibitory trace.
    """

    zero: float
    published: bool
    clears: float
    membrane: int = MEMBRANE


def update(o, k, p, x, r, s, fired, before, now, raw):
    """State `k` before its quantizer, in snnTorch's order of operations."""
    current = x + r
    excitatory = p[ALPHA] * before[EXCITATORY] + current
    inhibitory = p[BETA] * before[INHIBITORY] - current
    if k == EXCITATORY:
        excitatory = excitatory - p[DROP] * fired
        return excitatory - o.zero * fired * excitatory
    if k == INHIBITORY:
        return inhibitory - (o.zero + o.clears) * fired * inhibitory
    if o.published:
        u = p[TAU] * (excitatory + inhibitory)
        return u - o.zero * fired * u + o.clears * fired * before[INHIBITORY]
    return p[TAU] * (now[EXCITATORY] + now[INHIBITORY])


def pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    """Adjoint of `update` in currents and states."""
    if k == EXCITATORY:
        kept = g - o.zero * fired[n] * g
        gx[n] += kept
        g_before[EXCITATORY, n] += p[ALPHA, n] * kept
    elif k == INHIBITORY:
        kept = g - (o.zero + o.clears) * fired[n] * g
        gx[n] -= kept
        g_before[INHIBITORY, n] += p[BETA, n] * kept
    elif o.published:
        kept = p[TAU, n] * (g - o.zero * fired[n] * g)
        g_before[EXCITATORY, n] += p[ALPHA, n] * kept
        g_before[INHIBITORY, n] += p[BETA, n] * kept + o.clears * fired[n] * g
    else:
        g_now[EXCITATORY, n] += p[TAU, n] * g
        g_now[INHIBITORY, n] += p[TAU, n] * g


def pull_parameters(o, k, p, g, fired, before, now, n, gp):
    """Adjoint of `update` in the parameters."""
    kept = g - o.zero * fired[n] * g
    if k == EXCITATORY:
        gp[ALPHA, n] += before[EXCITATORY, n] * kept
        gp[DROP, n] -= fired[n] * kept
    elif k == INHIBITORY:
        gp[BETA, n] += before[INHIBITORY, n] * (kept - o.clears * fired[n] * g)
    elif o.published:
        gp[ALPHA, n] += p[TAU, n] * before[EXCITATORY, n] * kept
        gp[BETA, n] += p[TAU, n] * before[INHIBITORY, n] * kept
        gp[TAU, n] += (p[ALPHA, n] * before[EXCITATORY, n] + p[BETA, n] * before[INHIBITORY, n]) * kept
    else:
        gp[TAU, n] += (now[EXCITATORY, n] + now[INHIBITORY, n]) * g


EQUATIONS: Any = Equations(
    options=AlphaOptions,
    states=("excitatory", "inhibitory", "u"),
    parameters=("alpha", "beta", "tau"),
    update=update,
    margin=margin_of_membrane,
    pull=pull,
    pull_parameters=pull_parameters,
    pull_margin=pull_margin_of_membrane,
    pull_margin_parameters=pull_margin_of_membrane_parameters,
    membrane_only=True,
    in_thresholds=(True, True, True),
    sources=((BEFORE, SPIKE), (BEFORE, SPIKE), (EXCITATORY, INHIBITORY)),
)
