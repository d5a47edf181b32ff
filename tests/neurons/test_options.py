"""Refractory period and reset without delay of LIF and RLIF: an oracle in Python floats, gradients, states, errors."""

from __future__ import annotations

import random

import pytest
import torch

import squat
from oracles import PUBLISHED
from plain_neuron import largest_error
from plain_options import PlainOptions, stored
from squat.integer.lower import obstacles
from squat.layers import Current
from squat.neurons.base import decode_config

STEPS, BATCH, NEURONS = 16, 3, 7
QUICK, ALL = range(60), range(60, 200)
OPTIONS = [{"refractory": 2}, {"reset_delay": False}, {"refractory": 1, "reset_delay": False}]
RESETS = [{}, {"reset": "zero"}, {"reset": "zero", "zero_reset": "drop_input"}, {"reset": "none"}]
SPECS = [None, squat.Uniform(4), squat.ThresholdCentered(2), squat.Anchored(8)]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
each_spec = pytest.mark.parametrize("spec", SPECS, ids=str)
recurrent_or_not = pytest.mark.parametrize("recurrent", [False, True], ids=["LIF", "RLIF"])


def sequence(steps=STEPS, seed=0, neurons=NEURONS):
    return torch.randn(steps, BATCH, neurons, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.3


def make(recurrent, **arguments):
    torch.manual_seed(0)
    return squat.RLIF(NEURONS, NEURONS, 0.9, 0.4, **arguments) if recurrent else squat.LIF(0.9, 0.4, **arguments)


@torch.no_grad()
def compare_with_the_oracle(seed):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    scheme = rng.choice([None, *PUBLISHED])
    arguments = {
        "state": None if scheme is None else scheme(rng.choice((2, 3, 4, 8)), upper_limit=rng.choice((0.2, 3.0))),
        "refractory": rng.choice((0, 1, 2, 5)),
        "reset_delay": rng.random() < 0.5,
        "reset": rng.choice(["subtract", "subtract", "zero", "none"]),
        "zero_reset": rng.choice(["keep_input", "drop_input"]),
        "arithmetic": "float",
    }
    beta = torch.rand(NEURONS, generator=generator) if rng.random() < 0.5 else rng.random()
    threshold, weights = rng.randint(6, 150) / 64, None
    x = (torch.randn(STEPS, 1, NEURONS, generator=generator).double() + 0.5) * threshold
    if rng.random() < 0.5:
        neuron = squat.RLIF(NEURONS, NEURONS, beta, threshold, bias=False, **arguments).double()
        neuron.weight_in.copy_(torch.eye(NEURONS))
        # Multiples of 1/16: exact in any order of summation.
        neuron.weight_rec.copy_(torch.randint(-12, 13, neuron.weight_rec.shape, generator=generator) / 16)
        x, weights = (x * 1024).round() / 1024, neuron.weight_rec.tolist()
    else:
        neuron = squat.LIF(beta, threshold, **arguments).double()
    oracle = PlainOptions(neuron, weights)
    spikes, state = neuron(x)
    assert spikes[:, 0].tolist() == oracle.run(x[:, 0].tolist()), neuron
    if neuron.has_options:
        assert stored(neuron, state)[0].tolist() == oracle.u, neuron
    return float(spikes.mean())


def test_the_plain_recursion():
    rates = [compare_with_the_oracle(seed) for seed in QUICK]
    assert sum(0.02 < rate < 0.98 for rate in rates) > len(rates) // 2, "too many silent or saturated configurations"


@pytest.mark.slow
def test_the_plain_recursion_in_many_more_configurations():
    for seed in ALL:
        compare_with_the_oracle(seed)


class Forced(squat.LIF):
    """Without options, but on the loop that is for them."""

    has_options = True


@pytest.mark.parametrize("reset", RESETS, ids=str)
@each_spec
def test_no_rest_is_lif_on_its_own_loop(reset, spec):
    arguments = {"state": spec, "arithmetic": "float", "learn_beta": "clamp", "learn_threshold": True, **reset}
    x, results = sequence().double(), []
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).double()
    for kind in (squat.LIF, Forced):
        neuron, leaf = kind(0.8, 0.5, **arguments).double(), x.clone().requires_grad_()
        out, state = neuron(leaf)
        ((out * weight).sum() + state.u.square().sum()).backward()
        results.append((out, state, [leaf.grad, neuron.beta.grad, neuron.log_threshold.grad]))
    (out, state, gradients), (forced, forced_state, forced_gradients) = results
    assert torch.equal(out, forced)
    assert torch.equal(state.u, forced_state.u)
    assert state.rest is None
    assert spec is None or torch.equal(state.codes, forced_state.codes)
    for gradient, expected in zip(forced_gradients, gradients, strict=True):
        assert largest_error(gradient, expected) <= 1e-10


def plain_gradients(neuron, x, weight):
    """Through a loop in PyTorch, with masks and resets detached: of the input, beta and the threshold."""
    beta, theta, x = (value.detach().clone().requires_grad_() for value in (neuron.beta, neuron.threshold, x))
    u, total = torch.zeros_like(x[0]), 0.0
    spikes, due, rest = (torch.zeros_like(x[0]) for _ in range(3))
    for t in range(len(x)):
        rest = torch.where(spikes > 0, float(neuron.refractory), (rest - 1).clamp(min=0))
        awake = (rest == 0).to(x)
        resets = (spikes if neuron.reset_delay else due * awake).detach()
        a = beta * u + awake * x[t]
        if neuron.reset == "zero" and neuron.zero_reset == "keep_input":
            a = beta * (1 - resets) * u + awake * x[t]
        a = (1 - resets) * a if neuron.reset == "zero" and neuron.zero_reset == "drop_input" else a
        a = a - resets * theta if neuron.reset == "subtract" else a
        if neuron.state_spec is not None:
            level = neuron.levels.double()[neuron.state_spec.encode(a.detach(), float(theta.detach())).long()]
            inside = (a >= neuron.levels[0]) & (a <= neuron.levels[-1])
            slope = (level - torch.where(inside, a.detach(), 0.0)) / theta.detach()
            a = level + (a - a.detach()) + slope * (theta - theta.detach())
        total = total + (awake * neuron.surrogate(a - theta) * weight[t]).sum()
        spikes = (awake * (a > theta)).detach()
        u = a
        if not neuron.reset_delay:
            drop = {"subtract": theta, "zero": a, "none": 0.0}[neuron.reset]
            u = a - (spikes - resets) * drop
        due = (u > theta).to(x).detach()
    g_x, g_beta, g_theta = torch.autograd.grad(total, [x, beta, theta])
    return g_x, g_beta, g_theta * theta.detach()  # what is learned is the logarithm


@each_option
@pytest.mark.parametrize("reset", RESETS, ids=str)
@each_spec
def test_gradients_of_the_plain_loop(options, reset, spec):
    neuron = squat.LIF(
        torch.linspace(0.3, 1.0, NEURONS), 0.4, state=spec, learn_beta="clamp", learn_threshold=True,
        surrogate=squat.FastSigmoid(5.0), **options, **reset,
    ).double()  # fmt: skip
    x, weight = sequence().double(), sequence(seed=1).double()
    leaf = x.clone().requires_grad_()
    (neuron(leaf)[0] * weight).sum().backward()
    for gradient, expected in zip(
        (leaf.grad, neuron.beta.grad, neuron.log_threshold.grad), plain_gradients(neuron, x, weight), strict=True
    ):
        assert bool(expected.any())
        assert largest_error(gradient, expected) <= 1e-10


@torch.no_grad()
def test_a_neuron_rests_for_the_stated_steps():
    x = torch.full((400, 1, 1), 5.0)
    for steps in (0, 1, 4):
        times = squat.LIF(0.9, refractory=steps)(x)[0].flatten().nonzero().flatten()
        assert set(times.diff().tolist()) == {steps + 1}
    silent = torch.zeros(6, 1, 1)
    silent[0], silent[1:3] = 1.5, 50.0  # which arrives while it rests
    assert squat.LIF(0.5, refractory=2)(silent)[0].flatten().tolist() == [1, 0, 0, 0, 0, 0]
    assert float(squat.LIF(0.5, refractory=2)(silent[:3])[1].u) == (1.5 * 0.5 - 1.0) * 0.5


@torch.no_grad()
def test_resets_at_once_and_once_more_where_the_membrane_stays_high():
    x = torch.tensor([2.5, 0.0, 0.0]).reshape(3, 1, 1)
    assert squat.LIF(1.0)(x)[0].flatten().tolist() == [1, 1, 0]
    neuron = squat.LIF(1.0, reset_delay=False)
    assert neuron(x)[0].flatten().tolist() == [1, 0, 0]
    state = neuron(x[:1])[1]
    assert (float(state.u), float(stored(neuron, state))) == (2.5, 1.5)
    state = neuron(x[:2])[1]  # 1.5 - 1 = 0.5 does not fire, so the advance is taken back
    assert (float(state.u), float(state.reset), float(stored(neuron, state))) == (0.5, 1.0, 1.5)


@each_option
@each_spec
@recurrent_or_not
@torch.no_grad()
def test_halves_and_steps_equal_the_whole(options, spec, recurrent):
    weight = {"weight": squat.IntWeight(4)} if recurrent else {}
    for arguments in [{}, {"reset": "zero"}, {"initial": "code_of_zero"}][: 2 if spec is None else 3]:
        neuron = make(recurrent, state=spec, **options, **arguments, **weight).eval()
        x = (sequence() > 0.2).float() if recurrent else sequence()
        whole, last = neuron(x)
        assert 0 < float(whole.mean()) < 1
        assert spec is None or torch.equal(neuron.levels[last.codes.int()], last.u)
        for cut in (1, 5, 6, 7):
            first, state = neuron(x[:cut])
            second, state = neuron(x[cut:], state)
            assert torch.equal(torch.cat([first, second]), whole)
            assert_states_equal(state, last)
        state, fresh = None, last._replace(fresh=True)
        for t, step in enumerate(x):
            spikes, state = neuron.step(step, state)
            assert torch.equal(spikes, whole[t])
        assert_states_equal(state, last)
        assert torch.equal(
            neuron(x, fresh)[0], make(recurrent, state=spec, **options, reset=neuron.reset, **weight)(x)[0]
        )


def assert_states_equal(left, right):
    for field in left._fields:
        mine, other = getattr(left, field), getattr(right, field)
        assert torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine is other, field


@each_option
@each_spec
@recurrent_or_not
def test_gradients_flow_through_the_carried_state(options, spec, recurrent):
    learned = {"learn_beta": "clamp", "learn_threshold": True, "surrogate": squat.FastSigmoid(5.0)}
    neuron = make(recurrent, state=spec, **options, **learned).double()
    x, weight = sequence(8, seed=1).double(), sequence(8, seed=2).double()

    def gradients(cut):
        leaf = x.clone().requires_grad_()
        neuron.zero_grad()
        first, state = neuron(leaf[:cut]) if cut else (leaf[:0], None)
        second, state = neuron(leaf[cut:], state)
        ((torch.cat([first, second]) * weight).sum() + state.u.square().sum()).backward()
        return [leaf.grad, *(parameter.grad for parameter in neuron.parameters())]

    expected = gradients(0)
    assert float(expected[0][:3].abs().max()) > 0
    for cut in (1, 3, 5):
        for mine, whole in zip(gradients(cut), expected, strict=True):
            assert largest_error(mine, whole) <= 1e-10


@each_option
@torch.no_grad()
def test_it_may_start_at_the_code_of_zero(options):
    spec = squat.ThresholdCentered(2)  # a silent neuron is at 0.80
    u = squat.LIF(0.9, state=spec, initial="code_of_zero", **options)(torch.full((1, 1, 1), 0.3))[1].u
    first = spec.levels()[spec.encode(torch.zeros(1)).long()]
    assert float(u) == float(spec.levels()[spec.encode(0.9 * first + 0.3).long()])
    assert float(u) != float(squat.LIF(0.9, state=spec, **options)(torch.full((1, 1, 1), 0.3))[1].u)


@each_option
def test_a_detached_state_stops_the_gradient(options):
    neuron, x = make(False, **options), sequence().requires_grad_()
    _, state = neuron(x[:3])
    neuron(x[3:], state.detach())[0].sum().backward()
    assert not x.grad[:3].any()
    assert x.grad[3:].any()


@each_option
def test_integer_sums_run_under_the_float_rule(options):
    z = (sequence() * 20).round()
    current = Current(z, torch.tensor(0.05), torch.linspace(0.0, 0.1, NEURONS), 100)
    neuron = make(False, state=squat.Uniform(4), **options)
    assert not neuron.integer_states
    assert make(False, state=squat.Uniform(4)).integer_states
    assert torch.equal(neuron(current)[0], neuron(current.dense())[0])


@each_option
def test_networks_are_quantized_saved_and_checkpointed(options, tmp_path):
    net = squat.Sequential(
        squat.Linear(NEURONS, 5), squat.LIF(0.9, 0.3, **options), squat.RLIF(5, 4, 0.9, 0.3, **options)
    ).eval()
    x = (sequence() > 0.2).float()
    squat.quantize_(net, weights=squat.IntWeight(4), states=squat.ThresholdCentered(4))
    squat.save(net, tmp_path / "net.safetensors")
    again = squat.load(tmp_path / "net.safetensors")
    assert again[1].config() == net[1].config()
    assert decode_config(again[1].config()) | options == decode_config(again[1].config())
    assert torch.equal(again(x)[0], net(x)[0])
    out, states = squat.checkpoint_over_time(net.train(), x)
    whole, expected = net(x)
    assert torch.equal(out, whole)
    assert_states_equal(states[1], expected[1])
    out.sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())
    calibrated, _ = squat.calibrate(squat.dequantize_(net) and net.eval(), [x], states=squat.Uniform(4))
    assert calibrated[1].state_spec == squat.Uniform(4)
    assert (calibrated[1].refractory, calibrated[1].reset_delay) == (net[1].refractory, net[1].reset_delay)


@each_option
def test_lower_refuses_by_name(options):
    weight, state = squat.IntWeight(4), squat.Anchored(4)
    net = squat.Sequential(
        squat.Linear(3, 4, weight=weight), squat.LIF(state=state, **options),
        squat.RLIF(4, 3, weight=weight, state=state, **options),
    )  # fmt: skip
    found = obstacles(net)
    text = "has a refractory period or no reset delay, which no integer layer has; train it with refractory=0 and "
    assert found == [f"layer {at}: {text}reset_delay=True" for at in ("1 (LIF)", "2 (RLIF)")]


def test_half_precision_and_traced_code():
    neuron, x = squat.LIF(0.9, 0.3, state=squat.ThresholdCentered(8), refractory=1), sequence()
    expected = neuron(x)[0]
    assert neuron.half()(x.half())[0].dtype == torch.float16
    torch.compiler.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(neuron.float(), backend="eager")(x)[0], expected)
    with pytest.raises(RuntimeError, match=r"cannot be exported: .* without a refractory period and with reset_delay"):
        torch.export.export(neuron, (x,))
    with squat.ops.backend("gpu"):
        assert torch.equal(neuron(x)[0], expected)


def test_the_text_of_a_neuron_names_its_options():
    text = " ".join(repr(squat.LIF(refractory=3, reset_delay=False)).split())  # which has line breaks
    assert text.endswith("refractory=3, reset_delay=False)")
    assert "refractory" not in repr(squat.LIF())
    assert not {"refractory", "reset_delay"} & set(squat.LIF().config())


@recurrent_or_not
def test_bad_arguments(recurrent):
    for value in (-1, 1.5, True):
        with pytest.raises((TypeError, ValueError), match=rf"refractory={value}: expected"):
            make(recurrent, refractory=value)
    with pytest.raises(TypeError, match=r"reset_delay=0: expected True or False"):
        make(recurrent, reset_delay=0)
    with pytest.raises(ValueError, match=r"state=Anchored.* with refractory=1: expected a spec with decay='free'"):
        make(recurrent, refractory=1, state=squat.Anchored(4, decay="at_least_one_code"))


@recurrent_or_not
def test_foreign_states(recurrent):
    plain, resting = make(recurrent), make(recurrent, refractory=2)
    x = sequence()
    with pytest.raises(ValueError, match=r"state: rest is missing, but this neuron has refractory=2; carry the state"):
        resting(x, plain(x)[1])
    with pytest.raises(ValueError, match=r"state: rest is given, but this neuron has neither refractory nor"):
        plain(x, resting(x)[1])
    with pytest.raises(ValueError, match=r"state: membrane of shape .* like one step of the input"):
        resting(x[:, :2], resting(x)[1])


@each_option
def test_input_that_is_not_finite(options):
    x = sequence()
    x[2, 1, 3] = float("inf")
    with pytest.raises(ValueError, match=r"NaN or infinity"):
        make(False, state=squat.Uniform(4), **options)(x)


@torch.no_grad()
def test_lapicque_has_them_too():
    x = sequence() * 10
    neuron = squat.Lapicque(R=5.0, C=2.0, threshold=0.5, refractory=3, reset_delay=False)
    same = squat.LIF(float(neuron.decay()), 0.5, zero_reset="drop_input", refractory=3, reset_delay=False)
    assert torch.equal(neuron(x)[0], same(neuron.receive(x))[0])
    assert squat.Lapicque(**decode_config(neuron.config())).config() == neuron.config()
