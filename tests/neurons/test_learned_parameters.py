"""No step of an optimizer can make a learned parameter invalid; what is lost to NaN is named; files of before load."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import squat
from helpers import NEURONS
from squat.files import read_metadata
from squat.neurons.thresholds import LOG_LIMIT
from squat.quant.weight import WeightQuantizer
from squat.train import fit, module
from synthetic import run_config, spike_data

BEFORE = Path(__file__).parents[1] / "files_before"
"""Written by revision 4c8d4e4, which kept a learned threshold as it is."""
anything = st.floats(allow_nan=False, allow_infinity=True, width=32)


@given(anything, st.floats(2**-20, 2**20, width=32))
def test_a_learned_threshold_is_positive_whatever_is_learned(moved, start):
    neuron = squat.LIF(threshold=start, learn_threshold=True)
    assert neuron.threshold.item() == start
    with torch.no_grad():
        neuron.log_threshold.fill_(moved)
    factor = math.exp(max(-LOG_LIMIT, min(LOG_LIMIT, moved)))
    assert neuron.threshold.item() == pytest.approx(start * factor, rel=1e-6)
    neuron.threshold = torch.tensor(start)
    assert neuron.threshold.item() == start


@pytest.mark.parametrize("moved", [-20.0, 20.0])
def test_a_threshold_beyond_its_limit_comes_back_and_goes_no_further(moved):
    neuron = squat.LIF(threshold=0.5, learn_threshold=True)
    with torch.no_grad():
        neuron.log_threshold.fill_(moved)
    for inward in (True, False):
        neuron.log_threshold.grad = None
        (neuron.threshold * math.copysign(1.0, moved if inward else -moved)).backward()
        step = -float(neuron.log_threshold.grad)
        assert step * moved < 0 if inward else step == 0


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("rate", [1e3, -1e3, math.inf])
def test_no_step_ends_a_run(name, rate):
    options = {"learn_threshold": True, "state": squat.Uniform(4)}
    made = {name: True for name in ("learn_alpha", "learn_rho", "learn_beta", "learn_kappa")}
    made = {key: "clamp" for key in made if key != "learn_kappa"} | {"learn_kappa": True}
    known = squat.neurons.NEURONS[name.split()[0].rstrip(",")].__init__.__annotations__
    neuron = NEURONS[name](4, **options, **{key: value for key, value in made.items() if key in known})
    x = torch.rand(5, 2, 4)
    neuron(x)[0].sum().backward()
    with torch.no_grad():
        for own, parameter in neuron.named_parameters():
            if "weight" not in own and "bias" not in own:
                parameter -= (rate * torch.where(parameter.grad == 0, 1.0, parameter.grad)).nan_to_num(nan=1.0)
    out, _ = neuron(x)
    assert bool(out.isfinite().all())


def test_the_integer_rule_keeps_its_accumulators_at_the_ends():
    for moved in (-math.inf, math.inf):
        neuron = squat.LIF(threshold=0.5, state=squat.Uniform(8), learn_threshold=True)
        with torch.no_grad():
            neuron.log_threshold.fill_(moved)
        squat.Sequential(squat.Linear(4, 3, weight=squat.IntWeight(8)), neuron)(torch.ones(3, 2, 4))


def test_decays_of_alpha_cannot_cross():
    neuron = squat.AlphaLIF(0.9, 0.5, learn_alpha="clamp", learn_beta="clamp")
    before = neuron.decay("alpha"), neuron.decay()
    assert [value.item() for value in before] == pytest.approx([0.9, 0.5])
    for alpha, beta in ((-3.0, 4.0), (0.2, 0.3), (0.0, 0.0), (1.0, 1.0), (math.inf, -math.inf)):
        with torch.no_grad():
            neuron.alpha.fill_(alpha)
            neuron.beta.fill_(beta)
        assert 0 < neuron.decay().item() < neuron.decay("alpha").item() <= 1
        assert bool(neuron(torch.rand(6, 2, 3))[1].u.isfinite().all())
    with pytest.raises(ValueError, match=r"expected alpha > beta > 0, 1.53e-05 apart where they are learned"):
        squat.AlphaLIF(0.5, 0.499999, learn_beta="clamp")
    with pytest.raises(ValueError, match=r"alpha of shape \(3,\), beta of shape \(3, 1, 1\): expected one, or both of"):
        squat.AlphaLIF(torch.full((3,), 0.9), torch.full((3, 1, 1), 0.5))


@pytest.mark.parametrize(
    ("neuron", "name", "text"),
    [
        (squat.LIF(learn_beta="clamp"), "beta", "beta: NaN after training"),
        (squat.LIF(learn_beta="sigmoid", state=squat.Uniform(4)), "beta_logit", "beta: NaN after training"),
        (squat.CubaLIF(learn_alpha="clamp"), "alpha", "alpha: NaN after training"),
        (squat.ALIF(learn_kappa=True), "kappa", "kappa: NaN after training"),
        (squat.LIF(learn_threshold=True), "log_threshold", "threshold=nan after training"),
    ],
)
def test_a_parameter_lost_to_nan_is_named(neuron, name, text):
    with torch.no_grad():
        getattr(neuron, name).fill_(math.nan)
    with pytest.raises(ValueError, match=text):
        neuron(torch.rand(3, 2, 4))


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_lost_scale_or_gain_is_named(lost):
    quantizer = WeightQuantizer(squat.IntWeight(4, scale="learned"), torch.Size((3, 4)))
    with torch.no_grad():
        quantizer.log_scale.fill_(lost)
    with pytest.raises(ValueError, match=r"log_scale: its exponential is (nan|inf|0) after training, expected"):
        quantizer(torch.ones(3, 4))
    layer = squat.Linear(4, 3, batch_norm=True)
    with torch.no_grad():
        layer.norm.log_gain.fill_(lost)
    with pytest.raises(ValueError, match=r"log_gain: its exponential is (nan|inf|0) after training, expected"):
        layer(torch.ones(3, 2, 4))


def test_the_gradient_is_that_of_the_threshold_times_itself():
    """Of a float state: the surrogate's term and the reset's, by finite steps of one neuron that fires once."""
    neuron = squat.LIF(0.5, 0.4, learn_threshold=True, surrogate=squat.FastSigmoid(2.0)).double()
    x = torch.full((2, 1, 1), 0.5, dtype=torch.float64)
    neuron(x)[1].u.sum().backward()
    assert float(neuron.log_threshold.grad) == pytest.approx(-0.4)  # u = 0.25 + 0.5 - theta


def test_a_threshold_that_is_learned_is_set_and_not_written():
    neuron = squat.LIF(learn_threshold=True)
    with torch.no_grad():
        neuron.threshold.mul_(2.0)
        with pytest.raises(ValueError, match=r"threshold: changed in place, .*; set it, neuron\.threshold = value"):
            neuron(torch.ones(2, 1, 3))
        neuron.threshold = neuron.threshold * 2
        assert neuron.threshold.item() == 2.0
    for each in (squat.LIF(), neuron):
        with pytest.raises(TypeError, match=r"threshold: a Parameter, expected a tensor; .* learn_threshold=True"):
            each.threshold = torch.nn.Parameter(torch.ones(()))


def test_states_of_learned_and_of_fixed_thresholds_are_exchanged():
    fixed, learned = squat.LIF(threshold=0.3), squat.LIF(threshold=0.7, learn_threshold=True)
    with torch.no_grad():
        learned.log_threshold.fill_(0.2)
    expected = learned.threshold.item()
    fixed.load_state_dict(learned.state_dict())
    assert fixed.threshold.item() == expected
    learned.load_state_dict(squat.LIF(threshold=0.5).state_dict())
    assert learned.threshold.item() == 0.5


def test_network_files_of_before_load():
    path = BEFORE / "learned_thresholds.safetensors"
    net, seen = squat.load(path), read_metadata(path)
    thresholds = {f"layers.{k}.threshold": n.threshold.item() for k, n in enumerate(net) if hasattr(n, "threshold")}
    assert thresholds == seen["thresholds"]
    assert torch.equal(net(torch.tensor(seen["x"]))[0], torch.tensor(seen["out"]))
    net.train()(torch.tensor(seen["x"]))[0].sum().backward()
    assert all(neuron.log_threshold.grad is not None for neuron in net if hasattr(neuron, "threshold"))


def test_runs_of_before_go_on(tmp_path, monkeypatch):
    """Two epochs of three were written before."""
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    options = {"hidden": (4,), "weights": squat.IntWeight(4), "states": squat.Uniform(4), "learn_threshold": True}
    seen = []
    real = module.augment
    monkeypatch.setattr(module, "augment", lambda x, config, at: seen.append(at.epoch) or real(x, config, at))
    result = fit(run_config(epochs=3, network=options), tmp_path / "run", data=spike_data(), progress=False)
    assert set(seen) == {2}
    assert len(result.history) == 3
    (threshold,) = [layer.threshold.item() for layer in result.network.layers if hasattr(layer, "threshold")]
    assert threshold == pytest.approx(1.0556, abs=0.05)
    assert threshold != 1.0
