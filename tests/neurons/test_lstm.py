"""SpikingLSTM: snnTorch's SLSTM bit for bit where its sizes are equal, torch's cell where they are not, and errors."""

from __future__ import annotations

import pytest
import torch

import squat
from oracles import PUBLISHED, same_floats, snntorch_quantizer
from plain_neuron import largest_error
from squat import ops
from squat.integer.lower import obstacles

STEPS, BATCH, INPUTS, CELLS = 14, 3, 10, 9
SPECS = [None, *(scheme(bits) for scheme in PUBLISHED for bits in (1, 2, 4, 8))]
each_spec = pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.ThresholdCentered(8)], ids=str)


def sequence(inputs=INPUTS, seed=0, steps=STEPS):
    return torch.randn(steps, BATCH, inputs, generator=torch.Generator().manual_seed(seed)) * 2


def layer(inputs=INPUTS, cells=CELLS, threshold=0.3, seed=0, gain=3.0, **arguments):
    """A layer whose gates are driven hard enough to fire."""
    torch.manual_seed(seed)
    made = squat.SpikingLSTM(inputs, cells, threshold, **arguments)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(gain)
    made.set_weight_spec(made.weight_spec)
    return made.eval()


def copied(ours, oracle):
    """snnTorch's cell with the weights in force of ours."""
    matrices = [(scale.reshape(-1, 1) * w_int) for _, (w_int, scale) in ours.quantized_weights()]
    w_in, w_rec = matrices or (ours.weight_in, ours.weight_rec)
    for name, value in (
        ("weight_ih", w_in),
        ("weight_hh", w_rec),
        ("bias_ih", ours.bias_in),
        ("bias_hh", ours.bias_rec),
    ):
        if value is not None:
            getattr(oracle, name).copy_(value)


@pytest.mark.parametrize("reset", ["none", "subtract", "zero"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_it_is_snntorchs_for_equal_sizes(spec, reset):
    snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")
    for threshold, weight, bias in ((0.3, None, True), (0.427, squat.IntWeight(4), True), (0.5, None, False)):
        ours = layer(CELLS, threshold=threshold, state=spec, weight=weight, bias=bias, reset=reset)
        quantizer = False if spec is None else snntorch_quantizer(spec, threshold)
        oracle = snntorch.SLSTM(
            CELLS, CELLS, bias, threshold=threshold, reset_mechanism=reset, state_quant=quantizer
        )  # fmt: skip
        copied(ours, oracle.lstm_cell)
        x, state = sequence(CELLS), None
        cell = hidden = torch.zeros(BATCH, CELLS)
        whole, _ = ours(x)
        for t in range(STEPS):
            spikes, state = ours.step(x[t], state)
            expected, cell_after, hidden_after = oracle(x[t].clone(), cell, hidden)
            cell, hidden = state.cell, state.u
            assert same_floats(hidden, hidden_after), f"hidden states differ at step {t}"
            assert same_floats(cell, cell_after), f"cell states differ at step {t}"
            assert same_floats(spikes, expected)
            assert torch.equal(spikes, whole[t])
        assert bool(whole.any())


@torch.no_grad()
def test_states_are_kept_where_snntorch_loses_them():
    """Unequal sizes: snnTorch answers equal inputs equally, without memory; here it is torch's cell, step by step."""
    snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")
    x, ours = sequence(steps=1).expand(4, BATCH, INPUTS), layer(threshold=0.05)
    oracle, cell = snntorch.SLSTM(INPUTS, CELLS, threshold=0.05), torch.nn.LSTMCell(INPUTS, CELLS)
    copied(ours, oracle.lstm_cell)
    copied(ours, cell)
    theirs, torchs, c, h, state = [], [], torch.zeros(BATCH, CELLS), torch.zeros(BATCH, CELLS), None
    carried = (torch.zeros(BATCH, CELLS), torch.zeros(BATCH, CELLS))
    for step in x:
        _, c, h = oracle(step, c, h)
        theirs.append(h)
        carried = cell(step.clone(), carried)
        torchs.append(carried[0])
        _, state = ours.step(step, state)
        assert torch.equal(state.u, carried[0])
    assert all(torch.equal(step, theirs[0]) for step in theirs)
    assert not torch.equal(torchs[1], torchs[0])


@each_spec
@pytest.mark.parametrize("weight", [None, squat.IntWeight(4)], ids=str)
def test_two_halves_and_single_steps_equal_the_whole(spec, weight):
    ours, x = layer(state=spec, cell_state=squat.Uniform(6), weight=weight, reset="subtract"), sequence()
    whole, last = ours(x)
    first, state = ours(x[:5])
    second, last_of_two = ours(x[5:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    state, steps = None, []
    for step in x:
        spikes, state = ours.step(step, state)
        steps.append(spikes)
    assert torch.equal(torch.stack(steps), whole)
    for other in (last_of_two, state):
        assert all(a is b or torch.equal(a, b) for a, b in zip(other, last, strict=True))
    assert bool(whole.any())
    assert not bool(whole.all())


@each_spec
def test_gradients_flow_through_the_carried_state(spec):
    arguments = {"learn_threshold": True, "surrogate": squat.FastSigmoid(5.0), "reset": "subtract"}
    ours, x = layer(state=spec, **arguments).double(), sequence().double()
    weight = sequence(CELLS, seed=2).double()

    def gradients(cut):
        leaf = x.clone().requires_grad_()
        ours.zero_grad()
        first, state = ours(leaf[:cut])
        spikes = first
        if cut < STEPS:
            second, state = ours(leaf[cut:], state)
            spikes = torch.cat([first, second])
        ((spikes * weight).sum() + state.u.square().sum() + state.cell.square().sum()).backward()
        return [leaf.grad, *(parameter.grad for parameter in ours.parameters())]

    expected = gradients(STEPS)
    assert float(expected[0][:3].abs().max()) > 0
    for cut in (1, 6):
        for left, right in zip(gradients(cut), expected, strict=True):
            assert largest_error(left, right) <= 1e-10
    leaf = x.clone().requires_grad_()
    _, state = ours(leaf[:4])
    ours(leaf[4:], state.detach())[0].sum().backward()
    assert not leaf.grad[:4].any()


def test_networks_carry_train_save_and_checkpoint_it(tmp_path):
    torch.manual_seed(1)
    net = squat.Sequential(
        squat.SpikingLSTM(
            INPUTS, CELLS, 0.05, state=squat.Uniform(4), cell_state=squat.Uniform(8), weight=squat.IntWeight(4)
        ),
        squat.Linear(CELLS, 4, weight=squat.IntWeight(4)),
        squat.LI(0.9, state=squat.Anchored(4)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for _ in range(12):
        out, _ = net(sequence())
        loss = torch.nn.functional.cross_entropy(out.mean(0), torch.tensor([0, 1, 2]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    whole, _ = net.eval()(sequence())
    squat.save(net, tmp_path / "net")
    loaded = squat.load(tmp_path / "net")
    assert torch.equal(loaded(sequence())[0], whole)
    assert loaded.layers[0].config() == net.layers[0].config()
    assert torch.equal(loaded.layers[0].cell_levels, net.layers[0].cell_levels)
    first, carried = net(sequence()[:6])
    assert torch.equal(torch.cat([first, net(sequence()[6:], carried)[0]]), whole)
    assert torch.equal(squat.checkpoint_over_time(net, sequence(), segments=3)[0], whole)
    assert obstacles(net)[0] == (
        "layer 0 (SpikingLSTM): has float gates (sigmoid and tanh), which no integer machine repeats; use RLIF"
    )


def test_calibration_quantizes_weights_and_hidden_state():
    net = squat.Sequential(layer(), squat.Linear(CELLS, 4), squat.LIF(0.9))
    data = [sequence(seed=seed) for seed in range(3)]
    quantized, report = squat.calibrate(net, data, weights=squat.IntWeight(8), states=squat.Uniform(6))
    assert len(report.weights) == 3
    expected, _ = layer(weight=squat.IntWeight(8), state=squat.Uniform(6))(sequence())
    assert torch.equal(quantized[0](sequence())[0], expected)
    assert quantized[0].state_spec == quantized[2].state_spec == squat.Uniform(6)


def test_weights_are_quantized_once_a_sequence(monkeypatch):
    ours = layer(weight=squat.IntWeight(4)).train()
    calls = []
    for quantizer in ours.quantizers:
        monkeypatch.setattr(quantizer, "forward", lambda w, run=quantizer.forward: calls.append(1) or run(w))
    ours(sequence())
    assert len(calls) == 2
    ours.eval()
    with torch.no_grad():
        ours(sequence())
        ours(sequence())
    assert len(calls) == 4


def test_half_precision_is_computed_in_float32():
    ours, x = layer(state=squat.Uniform(4)), sequence().half()
    expected, _ = ours(x.float())
    out, state = ours(x)
    assert out.dtype == torch.float16
    assert state.u.dtype == torch.float32
    assert torch.equal(out.float(), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x.float())[0], expected)


def test_errors():
    make = squat.SpikingLSTM
    with pytest.raises(ValueError, match=r"in_features=0: expected an integer >= 1"):
        make(0, 3)
    with pytest.raises(ValueError, match=r"threshold=-1: expected a finite number > 0"):
        make(3, 3, -1)
    with pytest.raises(ValueError, match=r"reset='soft': expected one of 'none', 'subtract', 'zero'"):
        make(3, 3, reset="soft")
    for name in ("state", "cell_state"):
        with pytest.raises(TypeError, match=rf"{name}=4: expected a state spec such as Uniform\(4\), or None"):
            make(3, 3, **{name: 4})
    forcing = squat.Anchored(4, decay="at_least_one_code")
    with pytest.raises(ValueError, match=r"cell_state=Anchored.*expected a spec with decay='free'; the forget gate"):
        make(3, 3, cell_state=forcing)
    with pytest.raises(TypeError, match=r"weight=4: expected an IntWeight, or None"):
        make(3, 3, weight=4)
    ours = layer()
    with pytest.raises(ValueError, match=r"x: shape \(14, 3, 4\), expected \[T, B, in_features\] with in_features=10"):
        ours(sequence(4))
    bad = sequence()
    bad[3, 1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"x contains NaN or infinity: expected finite inputs"):
        ours(bad)
    with pytest.raises(TypeError, match=r"state=.*expected an LSTMState that this layer returned"):
        ours(sequence(), squat.LIFState(torch.zeros(BATCH, CELLS)))
    _, state = ours(sequence())
    with pytest.raises(ValueError, match=r"state: cell state of shape \(2, 9\), expected \(3, 9\) like one step"):
        ours(sequence(), state._replace(cell=state.cell[:2]))
    with torch.no_grad():
        ours.weight_rec[0, 0] = float("inf")
    for backend in ("cpu", "reference"):
        with ops.backend(backend), pytest.raises(ValueError, match=r"a state contains NaN or infinity: expected"):
            ours(sequence())
