"""LIF with what its own loop does not have: a refractory period, and a reset in the step of the spike.

    rest[t]  = R if s[t-1] else max(rest[t-1] - 1, 0)       steps left; m[t] = (rest[t] == 0), else the neuron rests
    u[t]     = (beta*w[t-1] + m[t]*(x[t] + r[t])) - theta*reset[t]
    s[t]     = m[t] * (u[t] > theta)

With the zero reset `(1 - reset[t]) * (...)`, or, where the input is kept, `beta*(1 - reset[t])*w[t-1] + ...`. With
delay `w = u` and `reset[t] = s[t-1]`. Without, as in snnTorch, the reset follows behind the quantizer, and a membrane
that stays above the threshold is reset with the next step, which takes that back where no spike comes:

    w[t]     = u[t] - (s[t] - reset[t])*theta,  or, to zero,  u[t] - (s[t] - reset[t])*u[t]
    reset[t] = m[t] * (w[t-1] > theta)

The states hold `u`, on the grid of its quantizer, and what is needed to compute `w`. Masks and resets pass no gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from squat.ops.states.equations import DROP, THETA, Equations

REST, RESET, MEMBRANE = 0, 1, 2
BETA = 2


class LifOptions(NamedTuple):
    """Options; `keep_input`: the zero reset keeps the step's input; `at_once`: the reset has no delay.

    `refractory`: steps of rest, R.
    """

    zero: float
    keep_input: bool
    at_once: bool
    refractory: float


def update(o, k, p, x, r, s, fired, before, now, raw):
    """State `k` before its quantizer, in snnTorch's order of operations."""
    if k == REST:
        return before[REST] - 1 * (before[REST] > 0) + o.refractory * fired  # torch subtracts no booleans
    w = before[MEMBRANE]
    if o.at_once:
        w = w - (fired - before[RESET]) * (p[DROP] + o.zero * w)
    awake = now[REST] <= 0
    if k == RESET:
        return awake * (w > p[THETA]) + 0 * fired if o.at_once else fired
    if o.keep_input:
        w = w - o.zero * now[RESET] * w
    u = p[BETA] * w + awake * x + awake * r - p[DROP] * now[RESET]
    return u if o.keep_input else u - o.zero * now[RESET] * u


def margin(o, p, now):
    """How far the membrane is above the threshold; 0 in a neuron that rests."""
    return (now[REST] <= 0) * (now[MEMBRANE] - p[THETA])


def pull(o, k, p, g, fired, before, now, n, gx, gs, g_before, g_now, g_raw):
    """Adjoint of `update` in currents and states."""
    if k == REST:
        g_before[REST, n] += g
    if k != MEMBRANE:
        return
    cleared = o.zero * now[RESET, n]
    g_u = g if o.keep_input else g - cleared * g
    gx[n] += (now[REST, n] <= 0) * g_u
    g_w = p[BETA, n] * (g_u - cleared * g_u if o.keep_input else g_u)
    if o.at_once:
        u, due = before[MEMBRANE, n], fired[n] - before[RESET, n]
        g_before[RESET, n] += (p[DROP, n] + o.zero * u) * g_w
        g_w -= due * o.zero * g_w
    g_before[MEMBRANE, n] += g_w


def pull_parameters(o, k, p, g, fired, before, now, n, gp):
    """Adjoint of `update` in the parameters."""
    if k != MEMBRANE:
        return
    cleared = o.zero * now[RESET, n]
    g_u = g if o.keep_input else g - cleared * g
    g_w = g_u - cleared * g_u if o.keep_input else g_u
    w = before[MEMBRANE, n]
    gp[DROP, n] -= now[RESET, n] * g_u
    if o.at_once:
        due = fired[n] - before[RESET, n]
        w = w - due * (p[DROP, n] + o.zero * w)
        gp[DROP, n] -= due * p[BETA, n] * g_w
    gp[BETA, n] += w * g_w


def pull_margin(o, p, now, n, g, g_now):
    """Adjoint of `margin` in the states."""
    g_now[MEMBRANE, n] += (now[REST, n] <= 0) * g


def pull_margin_parameters(o, now, n, g, gp):
    """Adjoint of `margin` in the parameters."""
    gp[THETA, n] -= (now[REST, n] <= 0) * g


EQUATIONS: Any = Equations(
    options=LifOptions,
    states=("rest", "reset", "u"),
    parameters=("beta",),
    update=update,
    margin=margin,
    pull=pull,
    pull_parameters=pull_parameters,
    pull_margin=pull_margin,
    pull_margin_parameters=pull_margin_parameters,
    membrane_only=True,
    in_thresholds=(False, False, True),
    sources=(),
)
