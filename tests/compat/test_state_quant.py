"""The drop-in against snnTorch's own `state_quant`: values and gradients bit for bit, and what that one cannot do."""

from __future__ import annotations

import copy
import io
import pickle
import shutil

import pytest
import torch

from oracles import neighbourhood
from squat.compat import state_quant

snntorch = pytest.importorskip("snntorch", reason="snnTorch is the oracle here (dev extra)")
pytest.importorskip("snntorch.functional.quant", reason="snnTorch is the oracle here (dev extra)")
published = pytest.importorskip(
    "snntorch.functional.quant", reason="snnTorch is the oracle here (dev extra)"
).state_quant

SCHEMES = [{"uniform": True}, {"uniform": False}, {"uniform": False, "thr_centered": False}]
RANGES = [{}, {"threshold": 0.3}, {"threshold": 2.473, "lower_limit": 0.5, "upper_limit": 1}]
ARGUMENTS = [
    {"num_bits": bits, **scheme, **limits}
    for bits in (1, 2, 3, 4, 5, 6, 7, 8)
    for scheme in SCHEMES
    for limits in RANGES
]
NEURONS = {
    "Leaky": lambda q: snntorch.Leaky(0.9, init_hidden=True, state_quant=q),
    "Lapicque": lambda q: snntorch.Lapicque(0.9, init_hidden=True, state_quant=q),
    "RLeaky": lambda q: snntorch.RLeaky(0.9, linear_features=6, init_hidden=True, state_quant=q),
    "Synaptic": lambda q: snntorch.Synaptic(0.5, 0.9, init_hidden=True, state_quant=q),
    "RSynaptic": lambda q: snntorch.RSynaptic(0.5, 0.9, linear_features=6, init_hidden=True, state_quant=q),
    "Alpha": lambda q: snntorch.Alpha(0.9, 0.8, threshold=0.2, init_hidden=True, state_quant=q),
    "SLSTM": lambda q: snntorch.SLSTM(6, 6, threshold=0.05, init_hidden=True, state_quant=q),
}


def values_to_try(levels, dtype):
    """Random values in and out of range, the levels, and every float near a midpoint, where ties are."""
    wide, threshold = levels.double(), float(levels.abs().max())
    midpoints = ((wide[1:] + wide[:-1]) / 2).to(dtype)
    random = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=dtype) * threshold
    return torch.cat([random, random * 50, levels.to(dtype), neighbourhood(midpoints, 4).flatten()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_values_and_gradients_equal_the_published_ones(dtype):
    for arguments in ARGUMENTS:
        ours, theirs = state_quant(**arguments), published(**arguments)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        x = values_to_try(ours.levels, wide).to(dtype)
        left, right = (x.clone().requires_grad_() for _ in range(2))
        mine, expected = ours(left), theirs(right)
        assert torch.equal(mine, expected.to(wide)), arguments
        assert mine.dtype == wide
        factors = torch.arange(len(x)) % 7 - 3
        for y in (mine, expected):
            (y * factors.to(y.dtype)).sum().backward()
        assert torch.equal(left.grad, right.grad)
        assert left.grad.dtype == dtype


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_many_values_go_through_the_compiled_encoder(scheme):
    x = torch.randn(3, 50, 200, generator=torch.Generator().manual_seed(1))
    for bits in (2, 4, 8):
        assert torch.equal(state_quant(bits, **scheme)(x), published(bits, **scheme)(x))
        assert torch.equal(state_quant(bits, **scheme)(x.transpose(0, 2)), published(bits, **scheme)(x.transpose(0, 2)))


def test_far_outside_values_go_to_the_end_level():
    x = torch.tensor([1e9, -1e9])
    assert state_quant()(x).tolist() == pytest.approx([1.2, -1.0])
    assert published()(x).tolist() == pytest.approx([-1.0, -1.0])  # its rounded distances are all equal


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_of_snntorch_takes_it(name):
    results = []
    for quantizer in (state_quant(4, uniform=False), published(4, uniform=False)):
        torch.manual_seed(0)
        neuron = NEURONS[name](quantizer)
        x = (8 * torch.randn(8, 3, 6)).requires_grad_()
        spikes = torch.stack([neuron(step) for step in x])
        spikes.sum().backward()
        results.append((spikes.detach(), x.grad, neuron.mem.detach()))
    assert all(map(torch.equal, *results))
    assert 0 < float(results[0][0].mean()) < 1


def test_levels_are_in_the_state_dict_and_the_quantizer_is_a_module():
    neuron = snntorch.Leaky(0.9, state_quant=state_quant(3))
    assert "state_quant.levels" in neuron.state_dict()
    buffer = io.BytesIO()
    torch.save(neuron.state_dict(), buffer)
    other = snntorch.Leaky(0.9, state_quant=state_quant(3, threshold=2.0))
    other.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    x = torch.linspace(-2, 2, 99)
    assert torch.equal(other.state_quant(x), neuron.state_quant(x))  # bounds follow the levels


def test_a_checkpoint_written_without_the_drop_in_loads():
    checkpoint = snntorch.Leaky(0.7, state_quant=published(3)).state_dict()
    neuron = snntorch.Leaky(0.9, state_quant=state_quant(3))
    neuron.load_state_dict(checkpoint)
    assert float(neuron.beta) == pytest.approx(0.7)
    assert torch.equal(neuron.state_quant(torch.tensor([0.3])), published(3)(torch.tensor([0.3])))


def test_it_can_be_pickled_and_copied():
    quantize, x = state_quant(8, uniform=False), torch.randn(200, 100)
    expected = quantize(x)
    for twin in (pickle.loads(pickle.dumps(quantize)), copy.deepcopy(quantize)):
        assert torch.equal(twin(x), expected)
        assert repr(twin) == repr(quantize)


def test_levels_stay_wide_in_half_precision():
    quantize = state_quant(8, uniform=False)
    levels, x = quantize.levels.clone(), torch.linspace(-2, 2, 77)
    for cast in ("half", "bfloat16", "double", "float"):
        getattr(quantize, cast)()
        assert torch.equal(quantize.levels, levels)
        assert torch.equal(quantize(x), published(8, uniform=False)(x))


BACKENDS = [
    "eager",
    "aot_eager",
    pytest.param(
        "inductor",
        marks=[
            pytest.mark.slow,
            pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),  # torch's own
            pytest.mark.skipif(not shutil.which("g++"), reason="needs the C++ compiler g++, which inductor calls"),
        ],
    ),
]


@pytest.fixture
def compiler(_nan_memory, monkeypatch):
    """The compilers know torch's own `empty` only; and snnTorch's surrogates, traced, are warned of by torch."""
    monkeypatch.undo()
    torch._dynamo.reset()
    return torch.compile


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_neuron_with_it_compiles_in_one_graph(backend, compiler):

    def two_steps(neuron, x, mem):
        spikes, mem = neuron(x, mem)
        more, mem = neuron(x, mem)
        return spikes + more, mem

    results = []
    for run in (two_steps, compiler(two_steps, fullgraph=True, backend=backend)):
        neuron = snntorch.Leaky(0.9, state_quant=state_quant(8, uniform=False))
        x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
        spikes, mem = run(neuron, x, torch.zeros(5, 7))
        (spikes.sum() + mem.square().sum()).backward()
        results.append((spikes.detach(), mem.detach(), x.grad))
    (spikes, mem, grad), (spikes_there, mem_there, grad_there) = results
    assert torch.equal(spikes_there, spikes)
    assert torch.equal(mem_there, mem)
    torch.testing.assert_close(grad_there, grad, rtol=1e-5, atol=1e-6)


def test_a_compiled_quantizer_refuses_nan(compiler):
    compiled = compiler(state_quant(4), fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(3)), state_quant(4)(torch.ones(3)))
    with pytest.raises(Exception, match="NaN or infinity"):
        compiled(torch.tensor([1.0, float("nan"), 0.0]))


@pytest.mark.parametrize("size", [3, 20_000])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(bad, size):
    x = torch.zeros(size)
    x[1] = bad
    with pytest.raises(ValueError, match="x contains NaN or infinity: expected finite values"):
        state_quant(4)(x)


def test_a_quantizer_that_silences_its_neuron_is_warned_of():
    for scheme in SCHEMES:
        with pytest.warns(UserWarning, match=r"upper_limit=0\): no level lies above the threshold"):
            quantize = state_quant(3, upper_limit=0, **scheme)
        x = values_to_try(quantize.levels, torch.float32)
        assert torch.equal(quantize(x), published(3, upper_limit=0, **scheme)(x))
        with pytest.raises(ValueError, match="could never fire"):
            _ = quantize.spec


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_bits": 9}, ValueError, "num_bits=9: expected an integer from 1 to 8; beyond 8 bits"),
        ({"num_bits": 4.0}, TypeError, "num_bits=4.0: expected an integer from 1 to 8"),
        ({"threshold": 0}, ValueError, "threshold=0: expected a finite number > 0"),
        ({"threshold": torch.ones(3)}, TypeError, "expected a finite number > 0"),
        ({"lower_limit": -1}, ValueError, "lower_limit=-1: expected a finite number > -1"),
        ({"upper_limit": -0.1}, ValueError, "upper_limit=-0.1: expected a finite number >= 0"),
        ({"uniform": False, "multiplier": 1}, ValueError, "multiplier=1.0: expected a number in"),
        ({"uniform": False, "multiplier": 0.0}, ValueError, "multiplier=0.0: expected a finite number in"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        state_quant(**arguments)


def test_other_inputs_are_refused():
    with pytest.raises(TypeError, match=r"x has dtype torch\.int64: expected a floating-point tensor"):
        state_quant()(torch.ones(3, dtype=torch.int64))


def test_the_spec_has_the_same_levels():
    for arguments in ARGUMENTS:
        quantize = state_quant(**arguments)
        assert torch.equal(quantize.spec.levels(quantize.threshold), quantize.levels)
