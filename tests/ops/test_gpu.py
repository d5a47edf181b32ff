"""The GPU backend equals the reference in every spike and code, and the CPU's gradients closely.

Without a GPU Triton interprets the kernels, slowly: few and small cases. What the interpreter cannot show, whether the
compiler fuses multiply-adds, is read from the compiled code, which needs no GPU either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import squat
from helpers import DEVICES, needs_triton
from plain_neuron import largest_error
from squat.layers import Current

pytestmark = needs_triton
DEVICE = DEVICES["gpu"]

SPECS = [
    *(None, squat.Uniform(1), squat.Uniform(4), squat.ThresholdCentered(3), squat.ZeroCentered(5), squat.Anchored(8)),
    squat.Anchored(2, decay="at_least_one_code"),
]
RESETS = [("subtract", "keep_input"), ("zero", "keep_input"), ("zero", "drop_input"), ("none", "keep_input")]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def currents(shape, seed=0, dtype=torch.float32):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.3).to(dtype)


def sums(shape, seed=0, per_channel=False, bias=True, dtype=torch.float32):
    generator, channels = torch.Generator().manual_seed(seed), shape[2]
    z = torch.randint(-40, 61, shape, generator=generator).to(dtype)
    scale = torch.rand(channels, generator=generator) * 0.02 + 0.01 if per_channel else torch.tensor(0.0173)
    offset = (torch.randn(channels, generator=generator) * 0.05).to(dtype) if bias else None
    return Current(z, scale.to(dtype), offset, 64)


def spikes(shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def moved(value, device):
    """A tensor, or a tuple of tensors, ints and None, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return type(value)(*(moved(part, device) for part in value)) if isinstance(value, tuple) else value


@torch.no_grad()
def assert_equal(neuron, x, state=None):
    """Same output, membrane and codes as the reference; returns the state, on the CPU."""
    with squat.ops.backend("reference"):
        expected, expected_state = neuron.cpu()(x, state)
    with squat.ops.backend("gpu"):
        out, out_state = neuron.to(DEVICE)(moved(x, DEVICE), moved(state, DEVICE))
    assert out.device.type == DEVICE
    assert torch.equal(out.cpu(), expected)
    assert torch.equal(out_state.u.cpu(), expected_state.u)
    assert (out_state.codes is None) == (expected_state.codes is None)
    if expected_state.codes is not None:
        assert torch.equal(out_state.codes.cpu(), expected_state.codes)
    return expected_state


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_forward(spec, reset, zero_reset):
    neuron = squat.LIF(0.9, 0.8, state=spec, reset=reset, zero_reset=zero_reset)
    for shape in ((5, 3, 5), (3, 2, 3, 2, 23)):
        assert_equal(neuron, currents(shape, 1), assert_equal(neuron, currents(shape)))
        if spec is not None:
            assert_equal(neuron, sums(shape, 1, True), assert_equal(neuron, sums(shape, 0, True)))
            assert_equal(neuron, sums(shape, bias=False))


@pytest.mark.parametrize("spec", SPECS[::2], ids=str)
def test_forms_of_the_arguments(spec):
    for decay in (0.9, torch.linspace(0, 1, 11).tolist()):
        neuron = squat.LIF(decay, 1.3, state=spec)
        assert_equal(neuron, currents((4, 3, 11)))
        assert_equal(neuron, currents((1, 3, 11)).expand(4, -1, -1))
        assert_equal(neuron, currents((11, 3, 4)).transpose(0, 2))
        assert_equal(squat.LI(decay, state=spec), currents((4, 3, 11)))
        assert_equal(neuron.double(), currents((4, 3, 11), dtype=torch.float64))
        if spec is not None:
            constant = sums((1, 3, 11), per_channel=True)
            assert_equal(squat.LI(decay, state=spec), constant._replace(z=constant.z.expand(4, -1, -1)))
    if spec is not None:
        assert_equal(squat.LIF(state=spec, initial="code_of_zero"), currents((4, 3, 11)))


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("spec", [None, squat.ThresholdCentered(2), squat.Anchored(8)], ids=str)
def test_recurrent_forward(spec, reset, zero_reset):
    for weight, shared in ((None, True), (squat.IntWeight(4), True), (squat.IntWeight(8, "channel"), False)):
        torch.manual_seed(0)
        neuron = squat.RLIF(
            9, 19, 0.9, 0.5, weight=weight, state=spec, reset=reset, zero_reset=zero_reset, shared_scale=shared
        ).eval()
        assert_equal(neuron, spikes((3, 2, 9), 1), assert_equal(neuron, spikes((4, 2, 9))))


def test_recurrent_tiles():
    """More samples and neurons than one tile holds, and recurrent integers that outgrow a byte."""
    torch.manual_seed(0)
    for options in ({"weight": squat.IntWeight(8), "input_scale": 1 / 255, "input_max": 255}, {}):
        neuron = squat.RLIF(9, 141, 0.9, 0.4, state=squat.Anchored(4), **options).eval()
        x = torch.randint(0, 256, (3, 18, 9)).float() if options else spikes((3, 18, 9))
        assert_equal(neuron, x)


def gradients(neuron, x, state, backend):
    """Output, and the gradients of every parameter, of the input and of a carried membrane, on the CPU."""
    device = DEVICES[backend]
    neuron = neuron.to(device)
    leaves = dict(neuron.named_parameters())
    is_current = isinstance(x, Current)
    for name, value in x._asdict().items() if is_current else {"x": x}.items():
        if isinstance(value, torch.Tensor):
            leaves[name] = value.detach().to(device).requires_grad_()
    x = x._replace(**{name: leaves[name] for name in leaves if name in Current._fields}) if is_current else leaves["x"]
    if state is not None:
        leaves["u0"] = state.u.detach().to(device).requires_grad_()
        state = moved(state, device)._replace(u=leaves["u0"])
    with squat.ops.backend(backend):
        out, last = neuron(x, state)
        weights = 0.1 + torch.rand(out.shape, generator=torch.Generator().manual_seed(9)).to(out)
        loss = (out * weights).sum() + (last.u * weights[0]).sum()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return out.cpu(), {name: g.cpu() for name, g in zip(leaves, found, strict=True) if g is not None}


def assert_close_gradients(neuron, x, dtype=torch.float32):
    with torch.no_grad():
        _, state = neuron.cpu()(x)
    for carried in (None, state):
        expected_out, expected = gradients(neuron, x, carried, "cpu")
        out, found = gradients(neuron, x, carried, "gpu")
        assert torch.equal(out, expected_out)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            error = largest_error(found[name].double(), gradient.double())
            assert error <= TOLERANCE[dtype], f"gradient of {name}: {error:.2e} of its largest value"


@pytest.mark.parametrize(("reset", "zero_reset"), RESETS)
@pytest.mark.parametrize("spec", [None, squat.Uniform(4), squat.Anchored(8)], ids=str)
def test_gradients(spec, reset, zero_reset):
    for ste, decay, dtype in (("clipped", 0.9, torch.float32), ("identity", [0.5] * 11, torch.float64)):
        neuron = squat.LIF(
            decay, 0.8, state=spec, reset=reset, zero_reset=zero_reset, ste=ste, learn_beta="clamp",
            learn_threshold=True,
        ).to(dtype)  # fmt: skip
        assert_close_gradients(neuron, currents((5, 3, 11), dtype=dtype), dtype)
        if spec is not None:
            assert_close_gradients(neuron, sums((5, 3, 11), per_channel=ste == "clipped", dtype=dtype), dtype)


@pytest.mark.parametrize("spec", [None, squat.Anchored(4)], ids=str)
def test_gradients_of_readouts_and_constant_inputs(spec):
    neuron = squat.LI(0.9, state=spec, learn_beta="sigmoid")
    assert_close_gradients(neuron, currents((5, 3, 11)))
    x = currents((1, 3, 11)).requires_grad_()
    by_backend = []
    for backend in ("cpu", "gpu"):
        with squat.ops.backend(backend):
            out, _ = neuron.to(DEVICES[backend])(x.to(DEVICES[backend]).expand(5, -1, -1))
            by_backend.append(torch.autograd.grad(out.square().sum(), x)[0])
    assert largest_error(by_backend[1], by_backend[0]) <= 1e-5


@pytest.mark.parametrize("weight", [None, squat.IntWeight(4), squat.IntWeight(8, "channel", "learned")], ids=str)
@pytest.mark.parametrize("spec", [None, squat.ThresholdCentered(4)], ids=str)
def test_recurrent_gradients(spec, weight):
    torch.manual_seed(0)
    for reset, zero_reset, shared in (("zero", "drop_input", True), ("subtract", "drop_input", False)):
        neuron = squat.RLIF(
            9, 13, 0.9, 0.5, weight=weight, state=spec, reset=reset, zero_reset=zero_reset, shared_scale=shared,
            ste="clipped", learn_beta="clamp", learn_threshold=True,
        ).eval()  # fmt: skip
        assert_close_gradients(neuron, spikes((4, 3, 9)))


def test_network():
    """Convolution, elementwise and recurrent layers and a readout: moved, run and trained."""
    torch.manual_seed(0)
    weights, states = squat.IntWeight(4), squat.Anchored(4)
    net = squat.Sequential(
        squat.Conv2d(1, 3, 3, weight=weights),
        squat.LIF(0.9, 0.3, state=states),
        squat.Flatten(),
        squat.RLIF(48, 7, weight=weights, state=states),
        squat.Linear(7, 4, weight=weights),
        squat.LI(state=states),
    ).eval()
    x, results = spikes((4, 2, 1, 6, 6)), []
    for backend in ("cpu", "gpu"):
        net = net.to(DEVICES[backend])
        with squat.ops.backend(backend):
            out, _ = net(x.to(DEVICES[backend]))
            gradients = torch.autograd.grad(out.square().sum(), list(net.parameters()))
        results.append((out.cpu(), [gradient.cpu() for gradient in gradients]))
    (expected_out, expected), (out, found) = results
    assert expected_out.detach().any()
    assert torch.equal(out, expected_out)
    for mine, other in zip(found, expected, strict=True):
        assert largest_error(mine, other) <= 1e-5


def test_same_bits_again():
    neuron = squat.RLIF(9, 13, 0.9, state=squat.Anchored(4), learn_beta="clamp", learn_threshold=True)
    first, again = (gradients(neuron, spikes((4, 3, 9)), None, "gpu")[1] for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_tensors_of_the_cpu_without_the_interpreter():
    code = (
        "import squat, squat.ops, torch\n"
        "with squat.ops.backend('gpu'):\n"
        "    try: squat.LIF()(torch.zeros(1, 1, 1))\n"
        "    except ValueError as error: print(error)\n"
    )
    quiet = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    text = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=True).stdout
    assert "x: on device 'cpu' with backend 'gpu', which runs on CUDA tensors" in text
    assert "TRITON_INTERPRET=1" in text


@pytest.mark.slow
def test_compiled_code_has_no_fused_multiply_add():
    """Compiled for an H100 as launched, and once more with fusion allowed, which shows that the count is sensitive."""
    script = Path(__file__).parent / "compile_for_gpu.py"
    quiet = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, str(script)], env=quiet, capture_output=True, text=True, check=True)
    fused = json.loads(done.stdout.splitlines()[-1])
    assert {rule: counts["as launched"] for rule, counts in fused.items()} == dict.fromkeys(fused, 0)
    assert fused["membrane"]["fused"] > 0
