"""Neurons of several states: carried states, streams, files, networks, their own arguments and their errors."""

from __future__ import annotations

import math

import pytest
import torch

import squat
from plain_neuron import largest_error
from several_neurons import FEATURES, SEVERAL, make, sequence
from squat.layers import Current
from squat.neurons.several import SeveralStates

SPECS = [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(8)]
each_neuron = pytest.mark.parametrize("name", SEVERAL)
each_spec = pytest.mark.parametrize("spec", SPECS, ids=str)


def assert_states_equal(left, right):
    for field in left._fields:
        mine, other = getattr(left, field), getattr(right, field)
        assert torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine is other, field


@each_neuron
@each_spec
@torch.no_grad()
def test_halves_and_steps_equal_the_whole(name, spec):
    # Float products of float weights depend on how many rows are multiplied at once; integer ones do not.
    weight = {"weight": squat.IntWeight(4)} if issubclass(SEVERAL[name], squat.RLIF) else {}
    for arguments in [{}, {"reset": "zero"}, {"initial": "code_of_zero"}][: 2 if spec is None else 3]:
        neuron = make(name, state=spec, **arguments, **weight).eval()
        x = (sequence() > 0.2).float() if weight else sequence()
        whole, last = neuron(x)
        assert arguments or 0 < float(whole.mean()) < 1
        first, state = neuron(x[:4])
        second, state = neuron(x[4:], state)
        assert torch.equal(torch.cat([first, second]), whole)
        assert_states_equal(state, last)
        state = None
        for t, step in enumerate(x):
            spikes, state = neuron.step(step, state)
            assert torch.equal(spikes, whole[t])
        assert_states_equal(state, last)
        again = make(name, state=spec, reset=neuron.reset, **weight).eval()
        assert torch.equal(neuron(x, last._replace(fresh=True))[0], again(x)[0])


@each_neuron
@each_spec
def test_gradients_flow_through_the_carried_state(name, spec):
    learned = {argument: True for argument in ("learn_threshold", "learn_kappa") if hasattr(make(name), argument)}
    decays = ("learn_beta", "learn_alpha", "learn_rho")
    learned |= {argument: "clamp" for argument in decays if hasattr(make(name), argument)}
    neuron = make(name, state=spec, surrogate=squat.FastSigmoid(5.0), **learned).double()
    x = sequence(8, seed=1).double()
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)).double()

    def gradients(cut):
        leaf = x.clone().requires_grad_()
        neuron.zero_grad()
        first, state = neuron(leaf[:cut]) if cut else (leaf[:0], None)
        second, state = neuron(leaf[cut:], state)
        ((torch.cat([first, second]) * weight).sum() + state.u.square().sum()).backward()
        return [leaf.grad, *(parameter.grad for parameter in neuron.parameters())]

    expected = gradients(0)
    assert float(expected[0][:3].abs().max()) > 0
    for cut in (1, 5):
        for mine, whole in zip(gradients(cut), expected, strict=True):
            assert largest_error(mine, whole) <= 1e-10


@each_neuron
def test_a_detached_state_stops_the_gradient(name):
    neuron, x = make(name), sequence().requires_grad_()
    _, state = neuron(x[:3])
    neuron(x[3:], state.detach())[0].sum().backward()
    assert not x.grad[:3].any()
    assert x.grad[3:].any()


@each_neuron
def test_saved_and_loaded(name, tmp_path):
    net = squat.Sequential(make(name, state=squat.ThresholdCentered(4), reset="zero")).eval()
    squat.save(net, tmp_path / "net.safetensors")
    again, x = squat.load(tmp_path / "net.safetensors"), sequence()
    assert again[0].config() == net[0].config()
    assert torch.equal(again(x)[0], net(x)[0])


@each_neuron
def test_a_spec_of_its_own_survives_the_config(name):
    argument = SEVERAL[name].spec_arguments[0]
    neuron = make(name, state=squat.Uniform(2), **{argument: squat.Uniform(6, upper_limit=3.0)})
    assert neuron.specs[0] == squat.Uniform(6, upper_limit=3.0)
    assert neuron.specs[-1] == squat.Uniform(2)
    assert squat.neurons.base.decode_config(neuron.config())[argument] == squat.Uniform(6, upper_limit=3.0)
    neuron.set_state_spec(squat.Uniform(3))
    assert neuron.specs[0] == squat.Uniform(6, upper_limit=3.0)
    assert neuron.specs[-1] == squat.Uniform(3)


@each_neuron
def test_half_precision_keeps_parameters_wide(name):
    neuron, x = make(name, state=squat.ThresholdCentered(8)), sequence().half()
    before = {
        key: value.clone() for key, value in neuron.state_dict().items() if not key.startswith(("weight", "bias"))
    }
    neuron.half()
    for key, value in before.items():
        assert torch.equal(neuron.state_dict()[key], value), key
    out, state = neuron(x)
    assert out.dtype == torch.float16
    assert state.u.dtype == torch.float32


@each_neuron
def test_the_gpu_backend_runs_the_reference(name):
    neuron, x = make(name, state=squat.Uniform(4)), sequence()
    with squat.ops.backend("gpu"):
        assert torch.equal(neuron(x)[0], make(name, state=squat.Uniform(4))(x)[0])


@each_neuron
def test_traced_code_breaks_its_graph_here(name):
    neuron, x = make(name, state=squat.Uniform(4)), sequence()
    torch.compiler.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(neuron, backend="eager")(x)[0], neuron(x)[0])


@each_neuron
@pytest.mark.parametrize("arithmetic", ["integer", "float"])
def test_traced_code_knows_the_rule(name, arithmetic):
    neuron = make(name, state=squat.Uniform(4), arithmetic=arithmetic)
    torch.compiler.reset()
    traced = torch.compile(lambda: torch.tensor(1.0 if neuron.integer_states else 0.0), backend="eager")
    assert bool(traced()) == neuron.integer_states == (arithmetic == "integer")


def test_what_cannot_be_traced_says_so():
    neuron, x = squat.CubaLIF(), sequence()
    torch.compiler.reset()
    with torch.no_grad(), pytest.raises(torch._dynamo.exc.Unsupported, match=r"torch\.compiler\.disable"):
        torch.compile(neuron, backend="eager", fullgraph=True)(x)
    with pytest.raises(RuntimeError, match=r"cannot be exported: .* use LIF or RLIF"):
        torch.export.export(neuron, (x,))


@each_neuron
def test_calibrated_and_checkpointed_over_time(name):
    recurrent = issubclass(SEVERAL[name], squat.RLIF)
    net = squat.Sequential(*[] if recurrent else [squat.Linear(FEATURES, FEATURES)], make(name), squat.Linear(7, 3))
    x = (sequence() > 0.2).float()
    quantized, _ = squat.calibrate(net.eval(), [x], weights=squat.IntWeight(4), states=squat.Uniform(4))
    specs = next(layer for layer in quantized.layers if isinstance(layer, SeveralStates)).specs
    assert specs[-1] == squat.Uniform(4)
    assert specs[0] == (squat.Uniform(6, 4.0, 4.0) if name == "AlphaLIF" else squat.Uniform(4))
    out, states = squat.checkpoint_over_time(quantized.train(), x)
    whole, expected = quantized(x)
    assert torch.equal(out.z, whole.z)
    assert_states_equal(states[-2], expected[-2])
    out.dense().sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in quantized.parameters())


@pytest.mark.parametrize("name", [name for name in SEVERAL if not issubclass(SEVERAL[name], squat.RLIF)])
def test_integer_sums_as_input_run_under_the_float_rule_on_request(name):
    z = (sequence() * 20).round()
    current = Current(z, torch.tensor(0.05), torch.linspace(0.0, 0.1, FEATURES), 100)
    neuron = make(name, state=squat.Uniform(4), arithmetic="float")
    assert torch.equal(neuron(current)[0], neuron(current.dense())[0])


@each_neuron
def test_lowers(name):
    weight = squat.IntWeight(4)
    recurrent = issubclass(SEVERAL[name], squat.RLIF)
    neuron = make(name, state=squat.Uniform(4), **({"weight": weight} if recurrent else {}))
    before = [] if recurrent else [squat.Linear(FEATURES, FEATURES, weight=weight)]
    net = squat.Sequential(*before, neuron, squat.Linear(FEATURES, 3, weight=weight))
    assert squat.lower(net).neuron_layers[0].neurons.names == neuron.equations.states


@each_neuron
def test_bad_arguments(name):
    argument = SEVERAL[name].spec_arguments[0]
    with pytest.raises(TypeError, match=rf"{argument}=4: expected a state spec such as .*, None .* or 'same'"):
        make(name, **{argument: 4})
    with pytest.raises(TypeError, match=r"state='same': expected a state spec such as Uniform\(4\), None"):
        make(name, state="same")
    with pytest.raises(ValueError, match=r"state=Anchored.*expected a spec with decay='free'"):
        make(name, state=squat.Anchored(4, decay="at_least_one_code"))
    with pytest.raises(ValueError, match=r"initial='code_of_zero' with state=None"):
        make(name, initial="code_of_zero")


@each_neuron
def test_foreign_states(name):
    neuron = make(name)
    _, state = neuron(sequence())
    with pytest.raises(ValueError, match=rf"state: {SEVERAL[name].equations.states[0]} of shape .* like one step of"):
        neuron(sequence()[:, :2], state)
    with pytest.raises(TypeError, match=rf"state=.*expected a {SEVERAL[name].state_type.__name__} that this neuron"):
        neuron(sequence(), (state.u,))


@each_neuron
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_input_that_is_not_finite(name, value):
    x = sequence()
    x[2, 1, 3] = value
    with pytest.raises(ValueError, match=r"NaN or infinity"):
        make(name, state=squat.Uniform(4))(x)
