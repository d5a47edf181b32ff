"""`from_snntorch` of networks with several heads: what is converted to `Heads`, and what is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import squat
from squat.compat import compare

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")


def spikes(seed, steps=7):
    return (torch.rand(steps, 3, 6, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


class Net(nn.Module):
    """A trunk and layers for three heads, around `step(net, x, state)`; sums of dyadic weights are exact.

    `state` keeps membranes by name; what a step returns, by name, is stacked over time.
    """

    def __init__(self, step, give=lambda rows: tuple(map(torch.stack, rows.values())), **neuron):
        super().__init__()
        torch.manual_seed(0)
        self.step, self.give = step, give
        for name in ("", "_a", "_b", "_c"):
            setattr(self, f"fc{name}", nn.Linear(6, 6))
            setattr(self, f"lif{name}", snntorch.Leaky(0.75, threshold=0.25, **neuron))
        for parameter in self.parameters():
            if parameter.dim():
                parameter.data = (parameter.data * 64).round() / 64
        self.last = nn.Linear(6, 2)
        self.norm, self.drop, self.same = nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Identity()
        self.shared, self.rec = nn.Linear(6, 6), snntorch.RLeaky(0.75, linear_features=6)
        self.eval()

    def forward(self, x):
        memory, rows = {}, {}
        for now in x:
            for name, value in self.step(self, now, memory).items():
                rows.setdefault(name, []).append(value)
        return self.give(rows)

    def fire(self, name, x, memory):
        out, memory[name] = getattr(self, f"lif{name}")(getattr(self, f"fc{name}")(x), memory.get(name))
        return out


def two(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.fire("_a", hidden, memory), "b": net.fire("_b", hidden, memory)}


def interleaved(net, x, memory):
    hidden = net.fire("", x, memory)
    a, b = net.fc_a(hidden), net.fc_b(hidden)
    out_b, memory["b"] = net.lif_b(b, memory.get("b"))
    out_a, memory["a"] = net.lif_a(a, memory.get("a"))
    return {"b": out_b, "a": out_a}


def readout(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.last(hidden), "b": net.fire("_b", hidden, memory)}


def bare(net, x, memory):
    return {"a": net.fire("_a", x, memory), "b": net.fire("_b", x, memory)}


def three(net, x, memory):
    hidden = net.fire("", x, memory)
    return {name: net.fire(name, hidden, memory) for name in ("_a", "_b", "_c")}


def nested(net, x, memory):
    hidden = net.fire("", x, memory)
    a = net.fire("_a", hidden, memory)
    return {"b": net.fire("_b", a, memory), "last": net.last(a), "c": net.fire("_c", hidden, memory)}


def apart(net, x, memory):
    hidden = net.fire("", x, memory)
    a = net.fire("_a", hidden, memory)
    last, c = net.last(a), net.fire("_c", hidden, memory)
    return {"last": last, "c": c, "b": net.fire("_b", a, memory)}


def skipping(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.fire("_a", hidden, memory) + hidden, "b": net.fire("_b", hidden, memory)}


def dropping(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.drop(net.fire("_a", hidden, memory)), "b": net.fire("_b", hidden, memory)}


SHAPES = [
    (two, ["a", "b"], {}),
    (interleaved, ["b", "a"], {}),
    (readout, ["a", "b"], {}),
    (bare, ["a", "b"], {}),
    (three, ["_a", "_b", "_c"], {}),
    (nested, ["b", "last", "c"], {}),
    (apart, ["last", "b", "c"], {}),
    (skipping, ["a", "b"], {}),
    (dropping, ["a", "b"], {}),
    (two, ["a", "b"], {"reset_mechanism": "zero"}),
]


@pytest.mark.parametrize(("step", "names", "neuron"), SHAPES)
def test_heads_give_what_they_gave(step, names, neuron):
    theirs = Net(step, lambda rows: {name: torch.stack(row) for name, row in rows.items()}, **neuron)
    ours = squat.from_snntorch(theirs, spikes(0))
    x = spikes(1, 11)
    with torch.no_grad():
        expected, out = theirs(x), ours(x)[0]
    torch.testing.assert_close(out, torch.cat([expected[name] for name in names], 2))
    fired = {name: row for name, row in expected.items() if bool(((row == 0) | (row == 1)).all())}
    assert len(fired) >= len(names) - 1 - (step is skipping)
    assert all(bool(row.any()) and not bool(row.all()) for row in fired.values())
    assert compare(theirs, ours, x).differing == 0


RESULTS = [
    lambda rows: [torch.stack(row) for row in rows.values()],
    lambda rows: torch.stack([torch.cat(pair, 1) for pair in zip(*rows.values(), strict=True)]),
    lambda rows: torch.stack([torch.stack(row) for row in rows.values()]),
    lambda rows: tuple(torch.stack(row).mean(0) for row in rows.values()),
    lambda rows: (torch.stack(rows["a"]).sum(0), rows["b"][-1]),
]


@pytest.mark.parametrize("give", RESULTS)
def test_results_may_hold_heads_in_any_way(give):
    ours = squat.from_snntorch(Net(two, give), spikes(0))
    x = spikes(1)
    with torch.no_grad():
        expected, out = Net(two)(x), ours(x)[0]
    assert [type(layer).__name__ for layer in ours.layers] == ["Linear", "LIF", "Heads"]
    assert all(map(torch.equal, ours[-1].split(out), expected))


def test_a_head_may_give_membranes_and_hidden_spikes_are_tapped():
    def step(net, x, memory):
        hidden = net.fire("", x, memory)
        a = net.fire("_a", hidden, memory)
        net.fire("_b", hidden, memory)
        return {"a": a, "b": memory["_b"], "hidden": hidden}

    theirs = Net(step)
    ours = squat.from_snntorch(theirs, spikes(0))
    x = spikes(1)
    a, b, hidden = theirs(x)
    out, states = ours(x)
    first, second = ours[-1].split(out)
    assert torch.equal(first, a)
    torch.testing.assert_close(second, b)
    assert [type(layer).__name__ for layer in ours[-1].heads[1].layers] == ["Linear", "Membrane"]
    assert torch.equal(squat.tapped(states)[0], hidden)


def scaled(net, x, memory):
    found = two(net, x, memory)
    return found | {"b": 2 * found["b"]}


def product(net, x, memory):
    found = two(net, x, memory)
    return {"a": found["a"], "b": found["a"] * found["b"]}


def added(net, x, memory):
    found = two(net, x, memory)
    return {"sum": found["a"] + found["b"]}


def written(net, x, memory):
    found = two(net, x, memory)
    found["a"][:, :3] = 0
    return found


def shrunk(net, x, memory):
    found = two(net, x, memory)
    memory["_a"] = memory["_a"] * 0.5
    return found


def crossed(net, x, memory):
    found = two(net, x, memory)
    memory["_a"], memory["_b"] = memory["_b"], memory["_a"]
    return found


def some_steps(net, x, memory):
    found = two(net, x, memory)
    memory["t"] = memory.get("t", 0) + 1
    return found if memory["t"] % 2 else {"b": found["b"]}


def other_inputs(net, x, memory):
    return {"a": net.fire("_a", x, memory), "b": net.fire("_b", x.clamp(0, 1), memory)}


def other_scales(net, x, memory):
    return {"a": net.fire("_a", x, memory), "b": net.fire("_b", 0.5 * x, memory)}


def unread(net, x, memory):
    return {"b": two(net, x, memory)["b"]}


def unread_last(net, x, memory):
    return {"a": two(net, x, memory)["a"]}


def currents(net, x, memory):
    hidden = net.fire("", x, memory)
    current = net.fc_a(hidden)
    a, memory["_a"] = net.lif_a(current, memory.get("_a"))
    return {"current": current, "a": a, "b": net.fire("_b", hidden, memory)}


def inside(net, x, memory):
    hidden = net.fire("", x, memory)
    a = net.fire("_a", hidden, memory)
    return {"sum": hidden + net.fire("_b", a, memory), "last": net.last(a)}


def normed(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.norm(hidden), "b": net.fire("_b", hidden, memory)}


def changing(net, x, memory):
    hidden = net.fire("", x, memory)
    memory["t"] = memory.get("t", 0) + 1
    a = net.fire("_a", hidden if memory["t"] < 3 else x, memory)
    return {"a": a, "b": net.fire("_b", hidden, memory)}


def unequal_shapes(net, x, memory):
    hidden = net.fire("", x, memory)
    return {"a": net.last(hidden.view(3, 1, 6)), "b": net.fire("_b", hidden, memory)}


def idle(net, x, memory):
    hidden = net.fire("", x, memory)
    b = net.fire("_b", hidden, memory)
    return {"same": net.same(hidden), "b": b}


def shared_weights(net, x, memory):
    current = net.shared(net.fire("", x, memory))
    spikes, *memory["rec"] = net.rec(current, *memory.get("rec", (None, None)))
    memory["rec"] = [spikes, *memory["rec"]]
    a, memory["_a"] = net.lif_a(current, memory.get("_a"))
    return {"rec": spikes, "a": a}


REFUSED = [
    (idle, "one of them holds nothing but nn.Identity; return what that is given"),
    (shared_weights, r"rec \(snntorch.RLeaky\): it stands behind no float Linear"),
    (scaled, r"makes another output of what lif_a or lif_b gives at each step; take it out"),
    (product, r"mul\(...\) makes another output of what lif_a or lif_b gives at each step"),
    (added, r"both branches hold several layers or neurons"),
    (written, r"an assignment by index changes in place what lif_a gave in step 0"),
    (shrunk, r"lif_a gets a state in step 1 that is not what it returned in the step before"),
    (crossed, r"lif_. gets a state in step 1 that is not what it returned in the step before"),
    (some_steps, r"its result reads lif_a in some of 7 steps \(0, 2, 4, 6\); expected all, or the last"),
    (other_inputs, r"its heads start from different inputs, at fc_a and fc_b; convert a network for each"),
    (other_scales, r"its heads start from different inputs, at fc_a and fc_b; convert a network for each"),
    (unread, r"fc_b takes no output of lif_a, the layer that runs before it, and nothing else does; remove it"),
    (unread_last, r"its result reads lif_b in some of 7 steps \(none\); expected all, or the last"),
    (currents, r"stack\(...\) reads fc_a, but only the last layer, lif_a or lif_b, and spikes of hidden layers can be"),
    (inside, r"its heads share fc_a, in a branch that one of them adds; expected heads that part before the branches"),
    (normed, r"norm \(torch.BatchNorm1d\): it stands behind no Linear"),
    (changing, r"layers and functions, or their arguments, change from step to step"),
    (unequal_shapes, r"give steps that do not fit side by side \(last \[1, 2\], lif_b \[6\]\); flatten them"),
]


@pytest.mark.parametrize(("step", "text"), REFUSED)
def test_heads_that_do_not_fit_are_refused(step, text):
    give = lambda rows: [torch.stack(row) for row in rows.values()]  # noqa: E731 - some rows are shorter
    with pytest.raises(ValueError, match=f"this network cannot be converted: .*{text}"):
        squat.from_snntorch(Net(step, give), spikes(0))


class Once(Net):
    def forward(self, x):
        memory, rows, current = {}, [], self.last(x)
        for _ in range(5):
            rows.append(self.fire("_b", self.fire("", x, memory), memory))
        return torch.stack(rows), current


def test_a_head_that_runs_once_is_refused():
    with pytest.raises(
        ValueError, match="its result reads last, which runs once before the loop; move it into the loop"
    ):
        squat.from_snntorch(Once(None), spikes(0)[0])


def test_heads_of_deployable_networks_are_lowered_one_by_one():
    ours = squat.from_snntorch(Net(two), spikes(0))
    squat.quantize_(ours, weights=squat.IntWeight(4), states=squat.Anchored(4))
    ours.eval()
    for k, part in enumerate(ours[-1].split(ours(spikes(1))[0])):
        machine = squat.lower(squat.Sequential(*ours.layers[:-1], *ours[-1].heads[k].layers))
        assert torch.equal(torch.tensor(machine.run(spikes(1)).output).float(), part)
