"""Time constants from a distribution: ranges, shapes, seeds, use as parameters of neurons, files, errors."""

from __future__ import annotations

import math

import pytest
import torch

import squat
from squat.neurons.time_constants import DISTRIBUTIONS

MEDIANS = {"uniform": 55.0, "log_uniform": math.sqrt(1000.0), "normal": 55.0}
LOWER_QUARTILES = {"uniform": 32.5, "log_uniform": 10 * 10**0.25, "normal": 55.0 - 0.6403 * 22.5}


def sample(distribution, count=20_000, seed=0, **arguments):
    generator = torch.Generator().manual_seed(seed)
    return squat.sample_beta(count, 10.0, 100.0, distribution, generator=generator, **arguments)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_time_constants_are_distributed_as_promised(distribution):
    tau = -1.0 / sample(distribution).double().log()
    assert 9.99 < float(tau.min()) < 13
    assert 97 < float(tau.max()) < 100.01
    assert float(tau.median()) == pytest.approx(MEDIANS[distribution], rel=0.02)
    assert float(tau.quantile(0.25)) == pytest.approx(LOWER_QUARTILES[distribution], rel=0.02)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_seed_decides_and_a_time_step_scales(distribution):
    assert torch.equal(sample(distribution, 9), sample(distribution, 9))
    assert not torch.equal(sample(distribution, 9), sample(distribution, 9, seed=1))
    torch.testing.assert_close(sample(distribution, 9, dt=2.0), sample(distribution, 9) ** 2)
    before = torch.random.get_rng_state()
    sample(distribution, 9)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    first = squat.sample_beta(9, 1.0, 2.0, distribution)
    torch.manual_seed(5)
    assert torch.equal(squat.sample_beta(9, 1.0, 2.0, distribution), first)


def test_one_time_constant_is_no_distribution():
    assert squat.sample_beta(3, 20.0, 20.0, "normal").tolist() == pytest.approx([math.exp(-1 / 20)] * 3)


@pytest.mark.parametrize("learn_beta", ["clamp", "sigmoid"])
def test_neurons_learn_from_them_and_files_keep_what_they_learned(learn_beta, tmp_path):
    beta = squat.sample_beta(6, 2.0, 50.0)
    net = squat.Sequential(
        squat.Linear(6, 6), squat.LIF(beta, learn_beta=learn_beta), squat.RLIF(6, 6, beta, learn_beta=learn_beta)
    )
    torch.testing.assert_close(net[1].decay(), beta)
    x = torch.ones(8, 2, 6)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(x)[1][1].u.sum().backward()
    optimizer.step()
    assert not torch.equal(net[1].decay(), beta)
    squat.save(net, tmp_path / "net")
    loaded = squat.load(tmp_path / "net")
    for layer in (1, 2):
        assert torch.equal(loaded[layer].decay(), net[layer].decay())
    assert torch.equal(loaded(x)[0], net.eval()(x)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0, 2.0), "features=0: expected an integer >= 1"),
        ((3, 0.0, 2.0), "tau_low=0.0: expected a finite number > 0"),
        ((3, 4.0, 2.0), "tau_high=2.0: expected a finite number >= 4"),
        ((3, 1.0, 2.0, "gamma"), "distribution='gamma': expected one of 'uniform', 'log_uniform', 'normal'"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        squat.sample_beta(*arguments)
    with pytest.raises(ValueError, match="dt=0: expected a finite number > 0"):
        squat.sample_beta(3, 1.0, 2.0, dt=0)
