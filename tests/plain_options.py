"""LIF with a refractory period and a reset in the step of the spike, one neuron and one number a time: the oracle.

Written from the equations of the documentation and from snnTorch's source, not from squat's loops. With R:

    a neuron rests in the R steps after its spike: it gets no input and does not fire, while leak and reset go on
    delayed:  a[t] = beta*u[t-1] + i[t] - theta*s[t-1]
    at once:  u[t] -= theta behind the quantizer where s[t]; what stays above the threshold is reset with the next step,
              and that is undone behind the quantizer where no spike comes; a neuron that rests is not reset in advance
"""

from __future__ import annotations

import torch

from oracles import nearest_code


class PlainOptions:
    """Neurons with the arguments of `squat.LIF`, in Python floats; `weights[n][m]` from neuron m to n."""

    def __init__(self, neuron, weights=None):
        self.theta, self.spec = float(neuron.threshold), neuron.state_spec
        self.levels = None if self.spec is None else neuron.levels
        self.beta = neuron.decay().double().flatten().tolist()
        self.reset, self.keeps_input = neuron.reset, neuron.zero_reset == "keep_input"
        self.rest, self.delayed, self.weights = neuron.refractory, neuron.reset_delay, weights

    def quantized(self, a):
        """Nearest published level."""
        if self.levels is None:
            return a
        return float(self.levels[nearest_code(self.levels, torch.tensor([a], dtype=torch.float64))])

    def step(self, n, t, current, recurrent):
        """Neuron n at step t, given its currents; returns its spike."""
        rests = t <= self.until[n]
        if rests:
            current = recurrent = 0.0
        resets = self.due[n] and (self.delayed or not rests)
        u, beta = self.u[n], self.beta[n % len(self.beta)]
        if self.reset == "zero" and resets:
            u = current + recurrent if self.keeps_input else 0.0
        else:
            u = beta * u + current + recurrent
            if self.reset == "subtract" and resets:
                u = u - self.theta
        u = self.quantized(u)
        spike = u > self.theta and not rests
        if spike:
            self.until[n] = t + self.rest
        if self.delayed:
            self.u[n], self.due[n] = u, spike
            return spike
        if self.reset == "subtract":
            u -= (spike - resets) * self.theta
        elif self.reset == "zero":
            u -= (spike - resets) * u
        self.u[n], self.due[n] = u, u > self.theta
        return spike

    def run(self, currents):
        """Spikes of every step, as lists of 0 and 1, from rest; `self.u` then holds the membranes as stored."""
        count = len(currents[0])
        self.u, self.due, self.until = [0.0] * count, [False] * count, [-1] * count
        spikes, out = [False] * count, []
        for t, current in enumerate(currents):
            fed = [0.0] * count
            if self.weights is not None:
                fed = [sum(self.weights[n][m] for m in range(count) if spikes[m]) for n in range(count)]
            spikes = [self.step(n, t, current[n], fed[n]) for n in range(count)]
            out.append([int(spike) for spike in spikes])
        return out


def stored(neuron, state):
    """The membrane behind a reset at once, which snnTorch returns."""
    if neuron.reset_delay or neuron.reset == "none":
        return state.u
    theta = neuron.threshold.to(state.u)
    fires = ((state.u > theta) & (state.rest == 0)).to(state.u)
    drop = theta if neuron.reset == "subtract" else state.u
    return state.u - (fires - state.reset) * drop
