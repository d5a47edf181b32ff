"""`Heads`: outputs side by side and apart again, states carried, files, quantization, and what takes no heads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat

SPEC = {"weight": squat.IntWeight(4)}
STATE = {"state": squat.Anchored(4), "threshold": 0.25}
X = (torch.rand(8, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def network(weights=SPEC, states=STATE, sizes=(4, 2)):
    torch.manual_seed(0)
    heads = (squat.Sequential(squat.Linear(5, size, **weights), squat.LIF(**states)) for size in sizes)
    return squat.Sequential(squat.Linear(6, 5, **weights), squat.LIF(**states), squat.Heads(*heads)).eval()


def alone(net, k):
    """The network of one head."""
    return squat.Sequential(*net.layers[:-1], *net[-1].heads[k].layers).eval()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.booleans())
def test_every_head_gives_what_its_network_gives_alone(sizes, integer):
    net = network(*((SPEC, STATE) if integer else ({}, {"threshold": 0.25})), sizes)
    out, _ = net(X)
    parts = net[-1].split(out)
    assert net[-1].sizes == tuple(sizes)
    assert all(torch.equal(part, alone(net, k)(X)[0]) for k, part in enumerate(parts))
    assert bool(out.any())


def test_states_of_all_heads_are_carried_in_parts_and_steps():
    net = network()
    whole, states = net(X)
    first, half = net(X[:3])
    second, after = net(X[3:], half)
    assert torch.equal(torch.cat([first, second]), whole)
    for before, now in zip(states[2], after[2], strict=True):
        assert torch.equal(before[1].codes, now[1].codes)
    steps, carried = [], None
    with torch.no_grad():
        for now in X:
            out, carried = net.step(now, carried)
            steps.append(out)
    assert torch.equal(torch.stack(steps), whole)
    assert torch.equal(net[2].step(whole.new_ones(3, 5))[0], net[2](whole.new_ones(1, 3, 5))[0][0])
    for out in (whole, steps[-1], whole.sum(0)):  # a sequence, a step, counts
        assert [part.shape[-1] for part in net[2].split(out)] == [4, 2]


def test_currents_and_neurons_beside_each_other():
    torch.manual_seed(0)
    lif, slow = squat.LIF(0.5, **STATE), squat.LIF(0.9, **STATE)
    net = squat.Sequential(squat.Linear(6, 5, **SPEC), squat.Heads(squat.Sequential(lif), squat.Sequential(slow)))
    out, states = net(X)  # both take the exact current, and stay integer
    assert torch.equal(out, torch.cat([neuron(net[0](X))[0] for neuron in (lif, slow)], 2))
    assert all(state[0].codes is not None for state in states[1])
    readout = squat.Linear(5, 2, **SPEC)
    mixed = squat.Sequential(*net.layers[:1], lif, squat.Heads(squat.Sequential(slow), squat.Sequential(readout)))
    assert torch.equal(mixed[2].split(mixed(X)[0])[1], readout(lif(net[0](X))[0]).dense())


def test_a_nested_stack_or_branch_takes_exact_currents():
    torch.manual_seed(0)
    product, lif = squat.Linear(6, 5, **SPEC), squat.LIF(**STATE)
    plain, states = squat.Sequential(product, lif)(X)
    for inner in (squat.Sequential(lif), squat.Residual(squat.Sequential(lif))):
        out, after = squat.Sequential(product, inner)(X)
        added = product(X).dense() if type(inner) is squat.Residual else 0.0
        assert torch.equal(out, plain + added)
        assert torch.equal(after[1][0].codes, states[1].codes)


def test_images_are_joined_over_channels():
    torch.manual_seed(0)
    heads = squat.Heads(*(squat.Sequential(squat.Conv2d(1, channels, 3)) for channels in (3, 2)))
    x = torch.rand(4, 2, 1, 5, 5)
    out, _ = heads(x)
    assert out.shape == (4, 2, 5, 3, 3)
    assert all(torch.equal(part, head(x)[0]) for part, head in zip(heads.split(out), heads.heads, strict=True))
    assert torch.equal(heads.split(out[1])[1], heads.split(out)[1][1])


def test_gradients_reach_all_heads_and_the_layers_before():
    net = network().train()
    first, _ = net[-1].split(net(X)[0])
    first.sum().backward()
    assert bool(net[0].weight.grad.any())
    assert bool(net[2].heads[0][0].weight.grad.any())
    assert not bool(net[2].heads[1][0].weight.grad.any())


def test_segments_and_compiled_graphs_give_the_same():
    net = network()
    out, states = net(X)
    again, after = squat.checkpoint_over_time(net, X)
    assert torch.equal(again, out)
    assert torch.equal(after[2][1][1].codes, states[2][1][1].codes)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert torch.equal(compiled(X)[0], out)
    assert [part.shape[2] for part in net[2].split(out)] == [4, 2]


def test_files_hold_all_heads(tmp_path):
    nested = squat.Heads(*(squat.Sequential(squat.Heads(*network()[-1].heads)) for _ in range(2)))
    for k, net in enumerate((network(), squat.Sequential(squat.Linear(6, 5), squat.LIF(), nested))):
        squat.save(net, tmp_path / f"{k}.squat")
        assert torch.equal(squat.load(tmp_path / f"{k}.squat")(X)[0], net.eval()(X)[0])


def test_quantize_goes_into_heads_and_back():
    net = network({}, {"threshold": 0.25})
    before = net(X)[0]
    report = squat.quantize_(
        net, weights={"2.heads.1.*": squat.IntWeight(8), "*": squat.IntWeight(4)}, states=squat.Anchored(4)
    )
    assert [row.after.bits for row in report.rows if row.part == "weights"] == [4, 4, 8]
    assert net[2].heads[1][1].state_spec == squat.Anchored(4)
    squat.dequantize_(net)
    assert torch.equal(net(X)[0], before)


def test_a_network_for_each_head_is_lowered():
    net = network()
    text = r"layer 2 \(Heads\): ends in several heads.*Sequential\(\*net.layers\[:-1\], \*net\[-1\].heads\[0\].layers\)"
    with pytest.raises(ValueError, match=text):
        squat.lower(net)
    for k, part in enumerate(net[-1].split(net(X)[0])):
        machine = squat.lower(alone(net, k))
        assert torch.equal(torch.tensor(machine.run(X).output).float(), part)


def test_what_takes_no_heads_says_so():
    net = network({}, {})
    with pytest.raises(ValueError, match=r"layer 2 \(Heads\) has no counterpart in snnTorch"):
        squat.to_snntorch(net)
    with pytest.raises(ValueError, match=r"layer 2 \(Heads\): its neurons cannot be calibrated; .* without branches"):
        squat.calibrate(net, [X], states=squat.Anchored(4))


def test_errors():
    head = squat.Sequential(squat.Linear(5, 2))
    with pytest.raises(
        TypeError, match=r"heads\[1\]=.*expected a squat.Sequential; wrap the layers of each head in one"
    ):
        squat.Heads(head, squat.Linear(5, 2))
    with pytest.raises(
        ValueError, match="heads: 1 given, expected at least two; layers of one follow in the Sequential"
    ):
        squat.Heads(head)
    heads = squat.Heads(head, squat.Sequential(squat.Linear(5, 3)))
    with pytest.raises(ValueError, match="sizes: unknown before the first call; run the network first"):
        heads.split(torch.ones(1, 1, 5))
    heads(torch.ones(2, 1, 5))
    with pytest.raises(ValueError, match=r"out: shape \(2, 1, 4\), expected 5 features on axis -1, which are 2 \+ 3"):
        heads.split(torch.ones(2, 1, 4))
    with pytest.raises(ValueError, match="states: 1 entries, expected 2, one for each head"):
        heads(torch.ones(2, 1, 5), (None,))
    images = squat.Heads(*(squat.Sequential(squat.Conv2d(1, 2, size)) for size in (1, 3)))
    with pytest.raises(
        ValueError, match=r"the heads give \(2, 1, 2, 4, 4\), \(2, 1, 2, 2, 2\); .* put a Flatten behind"
    ):
        images(torch.ones(2, 1, 1, 4, 4))
