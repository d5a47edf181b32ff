"""The tracer of `from_snntorch` is closed: writes in place are seen, nothing makes it loop, results are compared."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

import squat
from squat.compat import compare
from tutorial_networks import spikes

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")


class Net(nn.Module):
    """Two layers of six neurons; `hooks` maps a place of the loop to a function of the local tensors."""

    def __init__(self, **hooks):
        super().__init__()
        torch.manual_seed(0)
        self.hooks = hooks
        self.layers = nn.ModuleDict({name: hook for name, hook in hooks.items() if isinstance(hook, nn.Module)})
        self.fc1, self.lif1 = nn.Linear(6, 6), snntorch.Leaky(0.5, threshold=0.5)
        self.fc2, self.lif2 = nn.Linear(6, 6), snntorch.Leaky(0.5, threshold=0.25)
        for parameter in self.parameters():  # sums of these are exact
            parameter.data.mul_(16).round_().div_(8)

    def at(self, place, tensor):
        hook = self.hooks.get(place, lambda tensor: None)
        result = hook(tensor)
        return tensor if result is None else result

    def forward(self, x):
        mem1, mem2, out = torch.zeros(x.shape[1:]), torch.zeros(x.shape[1:]), []
        for step in self.at("input", x):
            cur1 = self.at("current", self.fc1(self.at("step", step)))
            spk1, mem1 = self.lif1(cur1, self.at("state", mem1))
            cur2 = self.fc2(self.at("spikes", spk1))
            spk2, mem2 = self.lif2(cur2, mem2)
            out.append(self.at("output", spk2))
        return torch.stack(out)


X = spikes(7, 3, 6)


def agrees(net, x=None, **options):
    """Converts to a network that gives the same, on the example and on other inputs."""
    ours = squat.from_snntorch(net, X if x is None else x, **options)
    for rate in (0.3, 0.8):
        other = spikes(7, 3, 6, rate=rate)
        with torch.no_grad():
            expected = net(other.clone())
        assert torch.equal(ours(other)[0], expected)
    assert bool(expected.any())
    return ours


def index(tensor):
    tensor[:, :4] = 0.0


def everything(tensor):
    tensor[...] = 5


def through_a_view(tensor):
    tensor[0].mul_(0)


def through_data(tensor):
    tensor.data.add_(1.0)


def into_out(tensor):
    torch.mul(tensor, 0.5, out=tensor)


def new_memory(tensor):
    tensor.set_(torch.ones_like(tensor))


def new_data(tensor):
    tensor.data = torch.ones_like(tensor)


def masked(tensor):
    tensor.masked_fill_(tensor > 0, 0.0)


def augmented(tensor):
    tensor *= 2


def through_a_submodule(tensor):
    nn.ReLU(inplace=True)(tensor.sub_(1))


def scattered(tensor):
    tensor.index_fill_(1, torch.tensor([1, 2]), 0.0)


def copied(tensor):
    tensor.copy_(torch.ones_like(tensor))


WRITES = [
    (index, "an assignment by index"),
    (everything, "an assignment by index"),
    (through_a_view, r"mul_\(...\)"),
    (through_data, r"add_\(...\)"),
    (into_out, r"mul\(...\)"),
    (new_memory, r"set_\(...\)"),
    (new_data, "an assignment to .data"),
    (masked, r"masked_fill_\(...\)"),
    (augmented, r"mul_\(...\)"),
    (through_a_submodule, r"sub_\(...\)"),
    (scattered, r"index_fill_\(...\)"),
    (copied, r"copy_\(...\)"),
]


@pytest.mark.parametrize(
    ("place", "layer"), [("current", "fc1"), ("spikes", "lif1"), ("output", "lif2"), ("state", "")]
)
@pytest.mark.parametrize(("write", "text"), WRITES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_write_in_place_is_refused_by_name(write, text, place, layer):
    """A first state is nobody's output yet: it is no longer zero, or changed in a later step."""
    if write is new_memory:
        text = "its values were changed by something that torch does not see"
    elif layer:
        text += f" changes in place what {layer} gave in step 0"
    else:
        text = rf"({text} changes in place what lif1 gave in step 0|{text} changed it in place|not zero at first)"
    with pytest.raises(ValueError, match=f"cannot be converted: .*{text}"):
        squat.from_snntorch(Net(**{place: write}), X)


@pytest.mark.parametrize("place", ["input", "step"])
@pytest.mark.parametrize("write", [write for write, _ in WRITES], ids=lambda value: value.__name__)
def test_a_write_into_the_input_is_encoding(write, place):
    """The converted network takes what the first layer takes; the user's own example stays as it is."""
    before, net = X.clone(), Net(**{place: write})
    ours = squat.from_snntorch(net, X)
    assert torch.equal(X, before)
    assert compare(net, ours, X).differing == 0.0


def test_the_input_changed_by_spikes_is_feedback():
    class Inhibited(Net):
        def forward(self, x):
            mem1, mem2, out = torch.zeros(x.shape[1:]), torch.zeros(x.shape[1:]), []
            for t in range(len(x)):
                spk1, mem1 = self.lif1(self.fc1(x[t]), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                if t + 1 < len(x):
                    x[t + 1] *= 1 - spk2
                out.append(spk2)
            return torch.stack(out)

    with pytest.raises(ValueError, match="lif2 feeds back into the first layer, fc1"):
        squat.from_snntorch(Inhibited(), X)


def test_writes_that_torch_does_not_see_are_seen_by_value():
    class Numpy(Net):
        def forward(self, x):
            mem1, mem2, out = torch.zeros(x.shape[1:]), torch.zeros(x.shape[1:]), []
            held = x.numpy()
            for t in range(len(x)):
                self.fc1.bias.data.numpy()  # reads, which is no harm
                held[t, 0] = 1.0
                spk1, mem1 = self.lif1(self.fc1(x[t]), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                out.append(spk2)
            return torch.stack(out)

    assert compare(Numpy(), squat.from_snntorch(Numpy(), X), X).differing == 0.0  # of the input: encoding
    with pytest.raises(ValueError, match="changed by something that torch does not see"):
        squat.from_snntorch(Net(spikes=lambda spk: spk.numpy().fill(0.0)), X)
    with pytest.raises(ValueError, match=r"numpy\(...\) takes values that layers gave out of torch"):
        squat.from_snntorch(Net(spikes=lambda spk: torch.from_numpy(spk.numpy())), X)


def silenced(spk: torch.Tensor) -> torch.Tensor:
    spk[:, :3] = 0.0
    return spk


def halved(spk: torch.Tensor) -> torch.Tensor:
    return spk * 0.5


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_compiled_functions_are_no_way_round():
    compiled, text = (
        torch.jit.script(silenced),
        "its values were changed by something that torch does not see",
    )
    with pytest.raises(ValueError, match=f"what fc2 gets in step 0 is not what lif1 gave: {text}"):
        squat.from_snntorch(Net(spikes=lambda spk: (compiled(spk), None)[1]), X)
    with pytest.raises(ValueError, match="fc2 takes a tensor that was made while it ran"):
        squat.from_snntorch(Net(spikes=torch.jit.script(halved)), X)


@pytest.mark.parametrize("register", ["register_forward_pre_hook", "register_forward_hook"])
def test_hooks_of_the_user_are_seen(register):
    def hook(module, args, *result):
        (result[0][0] if result else args[0])[:, 0] = 0.0

    net = Net()
    getattr(net.lif1, register)(hook)
    with pytest.raises(ValueError, match=r"an assignment by index changes in place what (fc1|lif1) gave in step 0"):
        squat.from_snntorch(net, X)
    chain = nn.Sequential(nn.Linear(6, 6), snntorch.Leaky(0.9, init_hidden=True))
    getattr(chain[1], register)(hook)
    with pytest.raises(ValueError, match=r"1 \(snntorch.Leaky\): it has hooks or a forward of its own; pass an ex"):
        squat.from_snntorch(chain)


class Doubling(nn.Sequential):
    """Looks like a chain and is none."""

    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Sequential):
    """A chain by another name."""


def doubled(module, args, result):
    return 2 * result


def with_own(part, change):
    """A chain with a chain in it, and what it should not hide in one of its parts."""
    chain = nn.Sequential(Named(nn.Linear(6, 6)))
    change(eval(part, {"chain": chain}))
    return chain


@pytest.mark.parametrize("part", ["chain", "chain[0]", "chain[0][0]"])
@pytest.mark.parametrize(
    "change",
    [lambda part: part.register_forward_hook(doubled), lambda part: setattr(part, "forward", lambda x: x)],
    ids=["hook", "forward"],
)
def test_a_chain_without_an_example_is_only_its_layers(part, change):
    assert len(squat.from_snntorch(with_own(part, lambda part: None)).layers) == 1
    with pytest.raises(ValueError, match=r"has (a forward or hooks|hooks or a forward) of its own; pass an example"):
        squat.from_snntorch(with_own(part, change))


def test_forwards_of_nested_chains_and_hooks_of_all_modules_are_not_passed_over():
    with pytest.raises(ValueError, match="0 has a forward or hooks of its own; pass an example"):
        squat.from_snntorch(nn.Sequential(Doubling(nn.Linear(6, 6))))
    with pytest.raises(ValueError, match=r"(__rmul__|mul)\(...\)|function\.\w*mul"):
        squat.from_snntorch(nn.Sequential(Doubling(nn.Linear(6, 6))), X[0])
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, result: None)
    try:
        with pytest.raises(ValueError, match="Sequential has a forward or hooks of its own"):
            squat.from_snntorch(nn.Sequential(nn.Linear(6, 6)))
    finally:
        handle.remove()


class Summed(nn.Module):
    """The currents of two layers, of what `other` makes of the input."""

    def __init__(self, other):
        super().__init__()
        self.fc1, self.fc2, self.lif, self.other = nn.Linear(6, 6), nn.Linear(6, 6), snntorch.Leaky(0.5), other

    def forward(self, x, y=None):
        mem, out = torch.zeros(x.shape[1:]), []
        for t in range(len(x)):
            spk, mem = self.lif(self.fc1(x[t]) + self.fc2(self.other(x, y, t)), mem)
            out.append(spk)
        return torch.stack(out)


@pytest.mark.parametrize(
    ("other", "example"),
    [
        (lambda x, y, t: x[max(t - 1, 0)], torch.ones(5, 3, 6)),
        (lambda x, y, t: (x[t] > 0.5).float(), X),
        (lambda x, y, t: x[t].clamp(0, 1), X),
        (lambda x, y, t: y[t], (X, X)),
    ],
    ids=["delayed", "compared", "clamped", "another"],
)
def test_inputs_that_are_equal_on_the_example_only_are_not_one(other, example):
    with pytest.raises(ValueError, match="adds what layers give of two different tensors"):
        squat.from_snntorch(Summed(other), example)


def test_long_encodings_are_compared_in_no_time():
    def encoded(step):
        for _ in range(1100):  # deeper than Python's stack, on 2^1100 paths
            step = (step + step) / 2
        return step

    class Encoding(Summed):
        def forward(self, x):
            spk, _ = self.lif(self.fc1(encoded(x[0])) + self.fc2(encoded(x[0])), torch.zeros(x.shape[1:]))
            return spk

    assert isinstance(squat.from_snntorch(Encoding(None), X).layers[0], squat.Residual)


def test_an_input_that_is_taken_twice_is_one():
    net = Summed(lambda x, y, t: x[t])
    assert isinstance(squat.from_snntorch(net, X).layers[0], squat.Residual)


@pytest.mark.parametrize(
    "of", [lambda start: start.expand(3, 6), lambda start: start.repeat(3, 1), lambda start: 1 * start]
)
def test_a_first_state_that_is_trained_is_refused_while_it_is_zero(of):
    class Started(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif, self.start = nn.Linear(6, 6), snntorch.Leaky(0.5), nn.Parameter(torch.zeros(6))

        def forward(self, x):
            mem, out = of(self.start), []
            for step in x:
                spk, mem = self.lif(self.fc(step), mem)
                out.append(spk)
            return torch.stack(out)

    with pytest.raises(ValueError, match="lif gets a state in step 0 that is not zero at first"):
        squat.from_snntorch(Started(), X)


@pytest.mark.parametrize("normed", [parametrizations.spectral_norm, torch.nn.utils.spectral_norm])
def test_weights_that_training_moves_are_those_of_use_and_stay(normed):
    net = Net()
    net.fc1 = normed(net.fc1)
    before = {name: value.clone() for name, value in net.train().state_dict().items()}
    ours = squat.from_snntorch(net, X)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert net.fc1.training
    assert torch.equal(ours.layers[0].weight, net.eval().fc1.weight)


@pytest.mark.parametrize(
    ("compiled", "match"),
    [
        (lambda: torch.compile(Net(), backend="eager"), "it is compiled"),
        (lambda: torch.jit.trace(nn.Linear(6, 6), X[0]), "it is compiled"),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(6, 6))), "0 is compiled"),
    ],
    ids=["compile", "trace", "script"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_modules_are_named(compiled, match):
    with pytest.raises(ValueError, match=rf"{match} \(torch.compile or torch.jit\); pass what it was compiled from"):
        squat.from_snntorch(compiled(), X[0])


def test_parameters_of_several_layers_are_said_to_be_parted():
    net = Net()
    net.fc2.weight = net.fc1.weight
    with pytest.warns(UserWarning, match=r"fc1\.weight and fc2\.weight are one parameter; the converted layers have"):
        squat.from_snntorch(net, X)


def test_states_that_are_kept_in_the_module():
    class Hidden(nn.Module):
        def __init__(self, write=None):
            super().__init__()
            self.fc, self.lif, self.write = nn.Linear(6, 6), snntorch.Leaky(0.5, init_hidden=True, threshold=0.2), write

        def forward(self, x):
            self.lif.reset_mem()
            out = []
            for t, step in enumerate(x):
                out.append(self.lif(self.fc(step)))
                if self.write and t == 3:
                    self.write(self.lif)
            return torch.stack(out)

    def rebind(lif):
        lif.mem = lif.mem * 0.5

    def fill(lif):
        lif.mem.fill_(0.0)

    def beta(lif):
        lif.beta = torch.tensor(0.25)

    def threshold(lif):
        lif.threshold.fill_(2.0)

    ours, net = squat.from_snntorch(Hidden(), X), Hidden()
    assert type(ours[1]) is squat.LIF
    for write, text in (
        (rebind, "lif gets a state in step 4 that is not what it returned in the step before"),
        (fill, r"fill_\(...\) changes in place what lif gave in step 3"),
        (snntorch.Leaky.reset_mem, "lif gets a state in step 4"),
        (beta, "a parameter of lif was changed while the network ran"),
        (threshold, r"fill_\(...\) changes lif.threshold in place"),
    ):
        net = Hidden(write)
        with pytest.raises(ValueError, match=f"cannot be converted: {text}"):
            squat.from_snntorch(net, X)


NO_CHANGE = [
    lambda x: x.float(),
    lambda x: x.to(x.device),
    lambda x: x.to("cpu", torch.float32),
    lambda x: x.cpu(),
    lambda x: x.contiguous(),
    lambda x: x.detach(),
    lambda x: x.clone().data,
    lambda x: x.type_as(x),
    lambda x: x.requires_grad_(False),
    lambda x: x.view(x.shape),
    lambda x: x.squeeze(-1),
    lambda x: +x,
]


@pytest.mark.filterwarnings("ignore:.* takes a detached tensor:UserWarning")  # tested below
@pytest.mark.parametrize("place", ["input", "step", "spikes", "current", "state", "output"])
@pytest.mark.parametrize("cast", NO_CHANGE)
def test_a_cast_that_changes_nothing_is_nothing(cast, place):
    reshapes = any(each is cast for each in NO_CHANGE[-4:-1])
    if reshapes and place in ("state", "output"):
        pytest.skip("a reshape of a state is refused")
    agrees(Net(**{place: cast}))


@pytest.mark.parametrize(("place", "named"), [("spikes", "fc2"), ("current", "lif1"), ("state", "lif1"), ("input", "")])
@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: x.clone().detach().float(), lambda x: x.data])
def test_a_gradient_that_stops_is_warned_of(place, named, cut):
    if not named:
        agrees(Net(**{place: cut}))  # without a warning, which would be an error
        return
    with pytest.warns(UserWarning, match=f"{named}.*: takes a detached tensor, which stops the gradient there"):
        squat.from_snntorch(Net(**{place: cut}), X)


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Dropout(0.5), nn.Sequential(nn.Identity())])
def test_layers_that_change_nothing(layer):
    agrees(Net(spikes=layer).eval())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32, torch.bool])
def test_a_cast_that_may_change_values_is_a_function_with_no_counterpart(dtype):
    with pytest.raises(ValueError, match=r"to \(function.to\) has no counterpart"):
        squat.from_snntorch(Net(spikes=lambda spk: spk.to(dtype).to(torch.float32)), X)


def pruned(net):
    prune.l1_unstructured(net.fc1, "weight", 0.5)
    prune.random_unstructured(net.fc2, "weight", 0.3)


def reparametrised(net):
    parametrizations.weight_norm(net.fc1)
    parametrizations.orthogonal(net.fc2)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def weight_normed(net):
    nn.utils.weight_norm(net.fc1)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("change", [pruned, reparametrised, weight_normed])
def test_effective_weights_are_converted(change):
    net = Net()
    change(net)
    ours = squat.from_snntorch(net, X)
    net(X)
    assert torch.equal(ours[0].weight, net.fc1.weight)
    assert compare(net, ours, X).rows[0].given_inputs == 0.0
    chain = nn.Sequential(net.fc1, snntorch.Leaky(0.5, init_hidden=True))
    if change is pruned:
        with torch.no_grad():
            net.fc1.weight_orig += 1  # the mask enters with the next forward
    assert torch.equal(squat.from_snntorch(chain)[0].weight, (chain(X[0]), net.fc1.weight)[1])


class Once(Net):
    """The current of a still input is computed once."""

    def forward(self, x):
        cur1, mem1, mem2, out = self.fc1(x), None, None, []
        for _ in range(7):
            spk1, mem1 = self.lif1(cur1, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out.append(spk2)
        return torch.stack(out)


def test_a_layer_before_the_loop_on_a_still_input():
    net, x = Once(), spikes(3, 6)
    ours = squat.from_snntorch(net, x)
    assert [type(layer).__name__ for layer in ours.layers] == ["Linear", "LIF", "Linear", "LIF"]
    assert torch.equal(ours(x.expand(7, 3, 6))[0], net(x))


def test_a_difference_is_an_error_unless_it_is_waved_through(monkeypatch):
    from squat.compat import convert

    monkeypatch.setitem(
        convert.CONVERTERS, "torch.Identity", lambda build, link: build.layers.append(nn.Hardtanh(0.5, 2))
    )
    net = Net(spikes=nn.Identity())
    text = r"run on the example, the input of lif2 differs from snnTorch's in step 0 \(\d+ of 18 values\)"
    with pytest.raises(ValueError, match=text):
        squat.from_snntorch(net, X)
    assert len(squat.from_snntorch(net, X, check=False)) == 5


def test_values_that_leave_torch_in_the_loop_are_refused_and_behind_it_are_not():
    class Counted(Net):
        def forward(self, x):
            out = super().forward(x)
            self.rate = out.mean().item()
            return out

    agrees(Counted())
    with pytest.raises(ValueError, match=r"item\(...\) takes values that layers gave out of torch"):
        squat.from_snntorch(Net(spikes=lambda spk: spk * spk.sum().item()), X)
    with pytest.raises(ValueError, match="branches on data cannot be converted"):
        squat.from_snntorch(Net(step=lambda x: x if x.sum() > -1 else -x), X)


def test_a_sparse_example_is_refused_by_name():
    with pytest.raises(ValueError, match=r"example is a tensor of layout torch.sparse_coo, expected a dense one"):
        squat.from_snntorch(Net(), X.to_sparse())


def test_the_random_stream_of_the_user_goes_on_undisturbed():
    class Encoded(Net):
        def forward(self, x):
            return super().forward((torch.rand(7, *x.shape) < x).float())

    net = Encoded()
    torch.manual_seed(1)
    squat.from_snntorch(net, torch.full((3, 6), 0.5))
    found = torch.rand(1)
    torch.manual_seed(1)
    assert found == torch.rand(1)


TARGETS = ["input", "step", "current", "state", "spikes", "output"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    place=st.sampled_from(TARGETS),
    rows=st.sampled_from([slice(None), slice(0, 1), 0, ...]),
    value=st.sampled_from([0.0, 1.0, -0.5]),
    method=st.sampled_from(["setitem", "fill", "mul", "add", "data", "out"]),
)
def test_random_writes_are_reproduced_or_refused(place, rows, value, method):
    def write(tensor):
        part = tensor[rows]
        {
            "setitem": lambda: tensor.__setitem__(rows, value),
            "fill": lambda: part.fill_(value),
            "mul": lambda: part.mul_(value),
            "add": lambda: part.add_(value),
            "data": lambda: part.data.add_(value),
            "out": lambda: torch.add(part, value, out=part),
        }[method]()

    net = Net(**{place: write})
    if place in ("input", "step"):
        ours, seen = squat.from_snntorch(net, X), X.clone()
        given_steps = [net.at("step", step).clone() for step in net.at("input", seen)]
        assert torch.equal(ours(torch.stack(given_steps))[0], net(X.clone()))
    else:
        with pytest.raises(ValueError, match=r"cannot be converted: .*(in place|not zero at first)"):
            squat.from_snntorch(net, X)
