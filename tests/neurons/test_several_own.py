"""What each neuron of several states does of its own: equations, resets, arguments, integer weights."""

from __future__ import annotations

import random

import pytest
import torch

import squat
from oracles import PUBLISHED, nearest_code
from plain_neuron import largest_error
from several_neurons import BATCH, FEATURES, make, sequence


def test_alpha_has_the_checks_of_beta():
    with pytest.raises(ValueError, match=r"alpha=1.5: expected a finite number in \[0, 1\]"):
        squat.CubaLIF(alpha=1.5)
    with pytest.raises(ValueError, match=r"alpha: 3 values of shape \(3,\) for an input of 7 neurons"):
        squat.CubaLIF(alpha=[0.1, 0.2, 0.3])(sequence())
    with pytest.raises(ValueError, match=r"learn_alpha='tanh': expected one of"):
        squat.CubaLIF(learn_alpha="tanh")
    with pytest.raises(TypeError, match=r"reset_delay=1: expected True or False"):
        squat.CubaLIF(reset_delay=1)


def test_the_quantized_current_enters_the_membrane_unless_as_published():
    x = torch.tensor([0.35, 0.0, 0.0]).reshape(3, 1, 1)
    coarse = squat.Uniform(2)  # levels -1, -0.267, 0.467, 1.2
    current = squat.CubaLIF(0.5, 0.9, current_state=coarse)(x[:1])[1]
    published = squat.CubaLIF(0.5, 0.9, current_state=coarse, as_published=True)(x[:1])[1]
    assert float(current.current) == float(published.current) == float(coarse.levels()[2])
    assert float(current.u) == float(coarse.levels()[2])
    assert float(published.u) == float(x[0])


def test_a_wider_grid_keeps_a_current_that_the_published_one_cuts():
    x = torch.full((40, 1, 1), 1.5)
    cut = squat.CubaLIF(0.8, 0.9, state=squat.Uniform(8))(x)[1].current
    kept = squat.CubaLIF(0.8, 0.9, state=squat.Uniform(8), current_state=squat.Uniform(8, 7.0, 7.0))(x)[1].current
    assert float(cut) == pytest.approx(1.2)
    assert float(kept) == pytest.approx(7.5, abs=0.2)


class PlainALIF:
    """ALIF from its published equations, one neuron and one number a time; quantized by the published rule."""

    def __init__(self, neuron):
        self.rho, self.beta = (each_of(neuron.decay(name)) for name in ("rho", "beta"))
        self.kappa, self.theta, self.reset = float(neuron.kappa), float(neuron.threshold), neuron.reset
        scales = (1.0, self.theta)  # what the levels refer to
        self.levels = [spec and spec.levels(scale) for spec, scale in zip(neuron.specs, scales, strict=True)]

    def quantized(self, k, value):
        levels = self.levels[k]
        if levels is None:
            return value
        return float(levels[nearest_code(levels, torch.tensor([value], dtype=torch.float64))])

    def membrane(self, n, u, current, fed, spike):
        u = self.beta[n] * u + current + fed
        if spike and self.reset == "zero":
            return 0.0
        return u - self.theta if spike and self.reset == "subtract" else u

    def spikes(self, currents, recurrent):
        neurons = range(len(recurrent))
        u, a, s, out = [0.0 for _ in neurons], [0.0 for _ in neurons], [0 for _ in neurons], []
        for current in currents:
            fed = [sum(recurrent[n][m] for m in neurons if s[m]) for n in neurons]
            a = [self.quantized(0, self.rho[n] * a[n] + s[n]) for n in neurons]
            u = [self.quantized(1, self.membrane(n, u[n], current[n], fed[n], s[n])) for n in neurons]
            s = [int(u[n] > self.theta + self.kappa * a[n]) for n in neurons]
            out.append(s)
        return out


def each_of(decay):
    return decay.double().expand(FEATURES).tolist()


@torch.no_grad()
def compare_adaptive(seed):
    """ALIF, or RALIF, of random arguments against the plain recursion; the share of spikes."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    bits = rng.choice((2, 3, 4, 6, 8))
    state, adaptation = (rng.choice([None, *PUBLISHED]) for _ in range(2))
    arguments = {
        "rho": torch.rand(FEATURES, generator=generator) if rng.random() < 0.5 else rng.random(),
        "beta": torch.rand(FEATURES, generator=generator) if rng.random() < 0.5 else rng.random(),
        "kappa": rng.choice((0.0, 0.01, 0.1, 0.3)),
        "threshold": rng.randint(6, 150) / 64,
        "reset": rng.choice(["subtract", "zero", "none"]),
        "state": state and state(bits, upper_limit=rng.choice((0.2, 1.0))),
        "adaptation_state": adaptation and adaptation(bits, upper_limit=3.0),
    }
    x = (torch.randn(20, 1, FEATURES, generator=generator).double() + 0.5) * arguments["threshold"]
    if rng.random() < 0.5:
        neuron, weights = squat.ALIF(**arguments).double(), torch.zeros(FEATURES, FEATURES)
    else:
        neuron = squat.RALIF(FEATURES, FEATURES, bias=False, **arguments).double()
        # Multiples of 1/16, and of 1/1024 the input: exact in any order of summation.
        weights = torch.randint(-12, 13, (FEATURES, FEATURES), generator=generator) / 16
        x = (x * 1024).round() / 1024
        neuron.weight_in.copy_(torch.eye(FEATURES))
        neuron.weight_rec.copy_(weights)
    spikes = neuron(x)[0][:, 0]
    assert spikes.tolist() == PlainALIF(neuron).spikes(x[:, 0].tolist(), weights.tolist()), arguments
    return float(spikes.mean())


def test_adaptive_neurons_are_the_plain_recursion():
    rates = [compare_adaptive(seed) for seed in range(40)]
    assert sum(0.02 < rate < 0.98 for rate in rates) > len(rates) // 2, "too many silent or saturated configurations"


@pytest.mark.slow
def test_adaptive_neurons_are_the_plain_recursion_in_many_more_configurations():
    for seed in range(40, 200):
        compare_adaptive(seed)


@torch.no_grad()
def test_ralif_is_the_published_recursion():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(30, 1, FEATURES, generator=generator).double() * 0.5 + 0.4
    layer = squat.RALIF(FEATURES, FEATURES, 0.9, 0.8, 0.3, 0.7, bias=False).double()
    layer.weight_in.copy_(torch.eye(FEATURES))
    expected = PlainALIF(layer).spikes(x[:, 0].tolist(), layer.weight_rec.tolist())
    assert layer(x)[0][:, 0].tolist() == expected
    alone = squat.ALIF(0.9, 0.8, 0.3, 0.7)
    silent = torch.zeros(FEATURES, FEATURES).tolist()
    assert alone(x)[0][:, 0].tolist() == PlainALIF(alone).spikes(x[:, 0].tolist(), silent)


@torch.no_grad()
def test_adaptation_slows_a_neuron_down():
    x = torch.full((200, 1, 1), 0.5)
    rates = [float(squat.ALIF(0.95, 0.9, kappa)(x)[0][100:].mean()) for kappa in (0.0, 0.1, 1.0)]
    assert rates[0] == float(squat.LIF(0.9)(x)[0][100:].mean())
    assert rates[0] > rates[1] > rates[2] > 0


@torch.no_grad()
def test_kappa_below_zero_counts_as_zero():
    x, neuron = sequence(), squat.ALIF(threshold=0.4, learn_kappa=True)
    neuron.kappa.fill_(-0.5)
    assert torch.equal(neuron(x)[0], squat.ALIF(kappa=0.0, threshold=0.4)(x)[0])
    with pytest.raises(ValueError, match=r"kappa=-1.0: expected a finite number >= 0"):
        squat.ALIF(kappa=-1.0)


@torch.no_grad()
def test_alpha_lif_resets_by_the_threshold():
    """After a spike the membrane lies `theta` below that of a neuron that did not reset."""
    x = torch.zeros(4, 1, 1)
    x[0] = 3.0
    neuron, free = squat.AlphaLIF(0.9, 0.5), squat.AlphaLIF(0.9, 0.5, reset="none")
    assert neuron(x[:2])[0].flatten().tolist() == [0, 1]
    assert float(free(x[:3])[1].u - neuron(x[:3])[1].u) == pytest.approx(1.0)


@torch.no_grad()
def test_alpha_must_lie_above_beta():
    for alpha, beta in ((0.5, 0.8), (0.5, 0.5), (0.5, 0.0)):
        with pytest.raises(ValueError, match=r"alpha=.*, beta=.*: expected alpha > beta > 0"):
            squat.AlphaLIF(alpha, beta)
    neuron = squat.AlphaLIF(0.9, 0.8)
    neuron.alpha.fill_(0.7)
    with pytest.raises(ValueError, match=r"expected alpha > beta > 0"):
        neuron(sequence())


@pytest.mark.parametrize("name", ["RCubaLIF", "RALIF"])
@pytest.mark.parametrize("shared_scale", [True, False])
def test_integer_weights_learn_under_the_float_rule(name, shared_scale):
    weight = squat.IntWeight(4)
    layer = make(name, weight=weight, state=squat.Uniform(4), shared_scale=shared_scale)
    x = (torch.rand(9, BATCH, FEATURES, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    results = []
    for backend in ("cpu", "reference"):
        layer.zero_grad()
        with squat.ops.backend(backend):
            out, _ = layer(x)
        (out * torch.linspace(0.1, 1.0, FEATURES)).sum().backward()
        results.append((out, layer.weight_in.grad.clone(), layer.weight_rec.grad.clone()))
    assert torch.equal(results[0][0], results[1][0])
    assert 0 < float(results[0][0].detach().mean()) < 1
    for mine, expected in zip(results[0][1:], results[1][1:], strict=True):
        assert bool(expected.any())
        assert largest_error(mine, expected) <= 1e-5
