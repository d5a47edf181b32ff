"""`checkpoint_over_time`: the same outputs and gradients, in memory that grows like the square root of the length."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import squat
from plain_neuron import largest_error
from squat.models import NetworkConfig, build_network

WEIGHTS = {
    "float": None,
    "mse": squat.IntWeight(4),
    "max": squat.IntWeight(4, "channel", "max"),
    "learned": squat.IntWeight(4, scale="learned"),
}


def network(architecture, weights, states):
    config = NetworkConfig(
        architecture, inputs=(2, 6, 6) if architecture == "conv" else 12, hidden=(9,), classes=3, threshold=0.2,
        weights=weights, states=states, kernel_size=3, learn_beta="clamp", learn_threshold=True,
    )  # fmt: skip
    return build_network(config, seed=0).double()  # so that gradients that nearly cancel can be compared


def spikes(net, steps):
    shape = (2, 6, 6) if isinstance(net.layers[0], squat.Conv2d) else (12,)
    return (torch.rand(steps, 2, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def dense(out):
    return out.dense() if isinstance(out, squat.Current) else out


@pytest.mark.parametrize("segments", [None, 1, 5, 23])
@pytest.mark.parametrize("states", [None, squat.Anchored(4)], ids=["float-states", "states"])
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("architecture", ["feedforward", "recurrent", "conv"])
def test_equals_the_plain_run(architecture, weights, states, segments):
    plain = network(architecture, weights, states)
    x = spikes(plain, 23)
    carried = [tuple(state and state.detach() for state in copy.deepcopy(plain).eval().layers(x)[1])]
    runs = []
    for net, run in (
        (plain, lambda *inputs: plain.layers(*inputs)),
        (twin := copy.deepcopy(plain), lambda *inputs: squat.checkpoint_over_time(twin.layers, *inputs, segments)),
    ):
        leaf = x.clone().requires_grad_()
        out, last = run(leaf, carried[0])
        # A second forward pass in between, as in gradient accumulation, moves the scales but not this one's gradients.
        run(x, None)
        us = [state.u for state in last if state is not None]
        (dense(out).square().sum() + sum(u.square().sum() for u in us)).backward()
        runs.append((dense(out), us, [leaf.grad, *(p.grad for p in net.parameters())], list(net.buffers())))
    (out, us, gradients, buffers), (out_there, us_there, gradients_there, buffers_there) = runs
    for ours, theirs in zip([out_there, *us_there, *buffers_there], [out, *us, *buffers], strict=True):
        # Products with float weights round in another way where they have another number of rows.
        if weights is None:
            assert largest_error(ours.detach(), theirs.detach()) <= 1e-12
        else:
            assert torch.equal(ours, theirs)
    for ours, theirs in zip(gradients_there, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or largest_error(ours, theirs) <= 1e-10


def test_a_neuron_alone_and_a_current():
    torch.manual_seed(0)
    neuron, layer = squat.LIF(state=squat.Anchored(4)), squat.Linear(12, 9, weight=squat.IntWeight(4)).eval()
    for x in (torch.randn(10, 2, 9), layer((torch.rand(10, 2, 12) < 0.5).float())):
        out, state = squat.checkpoint_over_time(neuron, x)
        expected, expected_state = neuron(x)
        assert torch.equal(out, expected)
        assert torch.equal(state.codes, expected_state.codes)


class Live(TorchDispatchMode):
    """Bytes of tensors made inside, now and at most."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return results

    def _count(self, storage):
        key = storage.data_ptr()
        if key and key not in self.known:
            self.known.add(key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key, size):
        self.known.discard(key)
        self.now -= size


def peak(steps, states, run):
    torch.manual_seed(0)
    net = squat.Sequential(squat.RLIF(4, 64, state=states), squat.Linear(64, 1))
    x = (torch.rand(steps, 4, 4) < 0.3).float()
    with Live() as live:
        run(net, x)[0].sum().backward()
    return live.peak


@pytest.mark.parametrize("states", [None, squat.Anchored(4)], ids=["float-states", "states"])
def test_memory_grows_like_the_square_root(states):
    plain = [peak(steps, states, lambda net, x: net(x)) for steps in (100, 1600)]
    ours = [peak(steps, states, squat.checkpoint_over_time) for steps in (100, 1600)]
    assert plain[1] > 12 * plain[0]
    assert ours[1] < 5.5 * ours[0]  # 4 for the square root; the output itself grows with the sequence
    assert ours[1] < plain[1] / 10


def test_errors():
    net = squat.Sequential(squat.Linear(3, 2), squat.LIF())
    with pytest.raises(TypeError, match=r"network.*expected a squat.Sequential or a neuron"):
        squat.checkpoint_over_time(torch.nn.Linear(3, 2), torch.ones(4, 1, 3))
    for segments in (0, 5):
        with pytest.raises(ValueError, match=rf"segments={segments}.*1.*4"):
            squat.checkpoint_over_time(net, torch.ones(4, 1, 3), segments=segments)
    with pytest.raises(ValueError, match="time first"):
        squat.checkpoint_over_time(net, torch.ones(1, 3))
