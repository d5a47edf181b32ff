"""What each neuron of several states does of its own: equations, resets, arguments, integer weights."""

from __future__ import annotations

import pytest
import torch

import squat
from plain_neuron import largest_error
from several_neurons import BATCH, FEATURES, make, sequence


def test_alpha_has_the_checks_of_beta():
    with pytest.raises(ValueError, match=r"alpha=1.5: expected a finite number in \[0, 1\]"):
        squat.CubaLIF(alpha=1.5)
    with pytest.raises(ValueError, match=r"alpha: 3 decays for an input of 7 neurons"):
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
    """ALIF from its published equations, one neuron and one number a time."""

    def __init__(self, neuron):
        self.rho, self.beta = float(neuron.decay("rho")), float(neuron.decay())
        self.kappa, self.theta = float(neuron.kappa), float(neuron.threshold)

    def spikes(self, currents, recurrent):
        steps, neurons = len(currents), len(recurrent)
        u, a, s, out = [0.0] * neurons, [0.0] * neurons, [0] * neurons, []
        for t in range(steps):
            before = s
            a = [self.rho * a[n] + before[n] for n in range(neurons)]
            fed = [sum(recurrent[n][m] * before[m] for m in range(neurons)) for n in range(neurons)]
            u = [self.beta * u[n] + currents[t][n] + fed[n] - self.theta * before[n] for n in range(neurons)]
            s = [int(u[n] > self.theta + self.kappa * a[n]) for n in range(neurons)]
            out.append(s)
        return out


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
    neuron = squat.AlphaLIF(0.9, 0.8, learn_alpha="clamp")
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
