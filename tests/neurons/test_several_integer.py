"""The integer rule of neurons of several states against machines in numpy, written from the documentation.

A state that takes up synaptic sums runs on int64, in units of `scale / 2**shift`:

    acc = gain[s]*((z << shift) + bias) + round(value[s, c] * unit)         c' = #{k : acc > floor(bound[k] * unit)}

with `value` what its update makes of level `c` without input. The others are computed from quantized values as floats.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import squat
from several_neurons import FEATURES, SEVERAL, make, sequence
from squat.layers import Current

STEPS, BATCH = 14, 4
SPECS = [squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(8), squat.Anchored(3)]
WIDE = [
    squat.Uniform(4, 2.0, 2.0),
    squat.Uniform(8, 2.0, 3.0),
    squat.Anchored(2),
    squat.Anchored(6, low=-3.0, high=4.0),
]
each_neuron = pytest.mark.parametrize("name", SEVERAL)


class Summed:
    """A state that takes up sums."""

    def __init__(self, spec, unit_level, value, gain, scale, bias, bound):
        self.levels = spec.levels(unit_level).double().numpy()
        bounds = spec.boundaries(unit_level, torch.float64).numpy()
        values = np.stack(
            [np.broadcast_to(value(self.levels, s), (len(value(self.levels, s)), 2**spec.bits)) for s in (0, 1)]
        )
        scale = np.asarray(scale, np.float64).reshape(-1, 1)
        extent = max(np.abs(values).max(), np.abs(bounds).max(), np.abs(self.levels).max()) / scale.min()
        extent += 0 if bias is None else np.abs(bias / scale[:, 0]).max()
        shift = 2 * spec.bits
        while (bound + extent) * 2**shift + 2 >= 2**31:
            shift -= 1
        unit = 2.0**shift / scale
        self.table, self.bounds = np.rint(values * unit).astype(np.int64), np.floor(bounds * unit).astype(np.int64)
        self.bias = 0 if bias is None else np.rint(bias * unit[:, 0]).astype(np.int64)
        self.shift, self.gain = shift, np.array(gain)

    def next(self, z, s, code):
        acc = self.gain[s] * ((z << self.shift) + self.bias)
        if code is not None:
            neuron = np.arange(z.shape[-1]) if self.table.shape[1] > 1 else 0
            acc = acc + self.table[s, neuron, code]
        return (acc[..., None] > self.bounds).sum(-1)


class Computed:
    """A state that is computed from others, in float64."""

    def __init__(self, spec, unit_level):
        self.levels = spec.levels(unit_level).double().numpy()
        self.bounds = spec.boundaries(unit_level, torch.float64).numpy()

    def value(self, code):
        return 0.0 if code is None else self.levels[code]

    def next(self, value):
        return (value[..., None] > self.bounds).sum(-1)


def numbers(value):
    """Parameters in float64, `[1]` or `[N]`."""
    return value.detach().double().reshape(-1).numpy()


def machine(neuron, z, scale, bias, bound, w_rec=None):
    """Codes of every state and spikes, `[T, B, N]`."""
    kind = type(neuron).__name__.removeprefix("R")
    theta, zero = float(neuron.threshold), neuron.reset == "zero"
    drop = theta if neuron.reset == "subtract" else 0.0
    beta = numbers(neuron.decay())
    wide = beta.astype(np.float64).reshape(-1, 1)
    sums = (scale, bias, bound)
    dropped = (1, 0 if zero else 1)
    if kind == "CubaLIF":
        alpha = numbers(neuron.decay("alpha")).astype(np.float64).reshape(-1, 1)
        first = Summed(neuron.specs[0], theta, lambda v, s: alpha * v, (1, 1), *sums)
        last = Computed(neuron.specs[1], theta)
        parts = [first, last]
    elif kind == "AlphaLIF":
        alpha, tau = numbers(neuron.decay("alpha")), numbers(neuron.gain())
        lost = numbers(neuron.threshold / neuron.gain()).astype(np.float64).reshape(-1, 1) * (
            neuron.reset == "subtract"
        )
        rise = alpha.astype(np.float64).reshape(-1, 1)
        keep = [1, 0 if zero else 1]
        first = Summed(neuron.specs[0], theta, lambda v, s: keep[s] * (rise * v - lost * s), dropped, *sums)
        second = Summed(neuron.specs[1], theta, lambda v, s: keep[s] * wide * v, (-1, 0 if zero else -1), *sums)
        parts = [first, second, Computed(neuron.specs[2], theta)]
    else:
        rho, kappa = numbers(neuron.decay("rho")), float(neuron.kappa.detach())
        keep = [1, 0 if zero else 1]
        last = Summed(neuron.specs[1], theta, lambda v, s: keep[s] * (wide * v - drop * s), dropped, *sums)
        parts = [Computed(neuron.specs[0], 1.0), last]
    codes, s, history = [None] * len(parts), np.zeros(z.shape[1:], int), []
    for total in z.astype(np.int64):
        total = total if w_rec is None else total + s @ w_rec.astype(np.int64).T
        f = s.astype(np.float64)
        if kind == "CubaLIF":
            current = parts[0].next(total, s, codes[0])
            u = beta * parts[1].value(codes[1]) + parts[0].levels[current] - drop * f
            codes = [current, parts[1].next(u - f * u if zero else u)]
            s = (parts[1].value(codes[1]) > theta).astype(int)
        elif kind == "AlphaLIF":
            rising, falling = parts[0].next(total, s, codes[0]), parts[1].next(total, s, codes[1])
            both = parts[0].levels[rising] + parts[1].levels[falling]
            codes = [rising, falling, parts[2].next(tau * both)]
            s = (parts[2].value(codes[2]) > theta).astype(int)
        else:
            adaptation = parts[0].next(rho * parts[0].value(codes[0]) + f)
            codes = [adaptation, parts[1].next(total, s, codes[1])]
            limit = theta + kappa * parts[0].value(adaptation)
            s = (parts[1].levels[codes[1]] > limit).astype(int)
        history.append([*codes, s])
    return [np.stack(part) for part in zip(*history, strict=True)]


def variants(name):
    """Arguments, scale by channel or not, bias or not."""
    argument = SEVERAL[name].spec_arguments[0]
    for index, (reset, by_channel, bias) in enumerate(
        itertools.product(("subtract", "zero", "none"), (False, True), (False, True))
    ):
        arguments = {"state": SPECS[index % 4], argument: WIDE[index % 3 + index % 2], "reset": reset}
        if index % 3 == 1:
            arguments["beta"] = torch.linspace(0.3, 0.6 if name == "AlphaLIF" else 0.99, FEATURES)
        yield arguments, by_channel, bias


@each_neuron
@torch.no_grad()
def test_equal_to_the_machine(name):
    recurrent, fired, cases = issubclass(SEVERAL[name], squat.RLIF), 0.0, 0
    for seed, (arguments, by_channel, with_bias) in enumerate(variants(name)):
        generator = torch.Generator().manual_seed(seed)
        if recurrent:
            granularity = "channel" if by_channel else "tensor"
            weight = squat.IntWeight(4, granularity=granularity)
            neuron = make(name, weight=weight, bias=with_bias, **arguments).eval()
            x = (torch.rand(STEPS, BATCH, FEATURES, generator=generator) > 0.5).float()
            w_in, w_rec, scale, bias, bound = neuron.integer_layer()
            z = (x @ w_in.T).numpy()
            out, last = neuron(x)
        else:
            neuron = make(name, **arguments).eval()
            z = torch.randint(-20, 61, (STEPS, BATCH, FEATURES), generator=generator).float()
            scale = torch.rand(FEATURES, generator=generator) * 0.02 + 0.004 if by_channel else torch.tensor(0.0131)
            bias, bound, w_rec = torch.randn(FEATURES, generator=generator) * 0.1 if with_bias else None, 60, None
            out, last = neuron(Current(z, scale, bias, bound))
            z = z.numpy()
        *codes, spikes = machine(
            neuron, z, numbers(scale), None if bias is None else numbers(bias).astype(np.float64), bound,
            None if w_rec is None else w_rec.numpy(),
        )  # fmt: skip
        assert np.array_equal(out.numpy(), spikes), (seed, arguments)
        own = [getattr(last, f"{state}_codes") for state in neuron.equations.states[:-1]] + [last.codes]
        for mine, expected in zip(own, codes, strict=True):
            assert np.array_equal(mine.numpy(), expected[-1]), (seed, arguments)
        fired, cases = fired + float(out.mean()), cases + 1
    assert cases == 12
    assert fired > 0.5, "hardly a spike"


@each_neuron
@torch.no_grad()
def test_differs_from_the_float_rule_and_is_chosen_by_arithmetic(name):
    """Where one state is float, or the neuron is as published, the float rule runs."""
    argument = SEVERAL[name].spec_arguments[0]
    recurrent = issubclass(SEVERAL[name], squat.RLIF)

    def integers(**arguments):
        neuron = make(name, **{"state": squat.Uniform(4), argument: squat.Uniform(4), **arguments})
        return neuron.integer_states

    assert integers()
    assert not integers(arithmetic="float")
    assert not integers(state=None)
    assert not integers(**{argument: None})
    if hasattr(make(name), "learn_alpha"):
        assert not integers(as_published=True)
    if name == "CubaLIF":
        assert not integers(reset_delay=False)
    if recurrent:
        neuron = make(name, state=squat.Uniform(4), weight=squat.IntWeight(4), shared_scale=False)
        x = (sequence() > 0.2).float()
        again = make(name, state=squat.Uniform(4), weight=squat.IntWeight(4), shared_scale=False, arithmetic="float")
        assert torch.equal(neuron(x)[0], again(x)[0])


@each_neuron
@torch.no_grad()
def test_carried_codes_decide(name):
    weight = {"weight": squat.IntWeight(4)} if issubclass(SEVERAL[name], squat.RLIF) else {}
    neuron = make(name, state=squat.Uniform(4), **{SEVERAL[name].spec_arguments[0]: squat.Uniform(4)}, **weight).eval()
    x = (sequence() > 0.2).float()
    x = x if weight else Current(x * 30, torch.tensor(0.0131), None, 30)
    _, state = neuron(x)
    with pytest.raises(
        ValueError, match=r"state: codes are missing or not uint8 \(3, 7\), .*carry the state of the same"
    ):
        neuron(x, state._replace(codes=None))
    beyond = torch.full_like(state.codes, 16)
    with pytest.raises(ValueError, match=r"state: code 16, expected codes below 16 for Uniform.*another neuron"):
        neuron(x, state._replace(codes=beyond))


def test_sums_beyond_float32():
    neuron = squat.RCubaLIF(3, 2, weight=squat.IntWeight(8), state=squat.Uniform(2), input_max=2**20)
    with pytest.raises(
        ValueError, match=r"recurrent sums can reach \d+: expected less than 16777216 in a float32 network"
    ):
        neuron(torch.ones(2, 1, 3))


@each_neuron
@torch.no_grad()
def test_values_beside_the_codes_change_nothing(name):
    weight = {"weight": squat.IntWeight(4)} if issubclass(SEVERAL[name], squat.RLIF) else {}
    neuron = make(name, state=squat.Uniform(4), **{SEVERAL[name].spec_arguments[0]: squat.Uniform(4)}, **weight).eval()
    x = (sequence() > 0.2).float()
    x = x if weight else Current(x * 30, torch.tensor(0.0131), None, 30)
    _, state = neuron(x)
    values = {part: torch.zeros_like(getattr(state, part)) for part in neuron.equations.states}
    assert torch.equal(neuron(x, state._replace(**values))[0], neuron(x, state)[0])


@each_neuron
def test_what_cannot_be_exported_says_so_under_the_integer_rule_too(name):
    argument = SEVERAL[name].spec_arguments[0]
    specs = {"state": squat.Uniform(4), argument: squat.Uniform(4)}
    if issubclass(SEVERAL[name], squat.RLIF):
        net = squat.Sequential(make(name, weight=squat.IntWeight(4), **specs))
    else:
        net = squat.Sequential(squat.Linear(FEATURES, FEATURES, weight=squat.IntWeight(4)), make(name, **specs))
    with pytest.raises(RuntimeError, match=r"cannot be exported: their loops are not traced; use LIF or RLIF"):
        torch.export.export(net.eval(), ((sequence() > 0.2).float(),))
