"""Signed inputs, spikes of -1, 0 and 1 among them: refused where they are not declared, exact everywhere else."""

from __future__ import annotations

import ctypes
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import squat
from squat.export.c99.host import compile_network, compile_networks, find_compiler
from squat.export.c99.tables import source
from squat.integer import load
from squat.integer.events import event_steps
from squat.integer.lower import obstacles
from squat.integer.parts import Layer
from squat.integer.proof import prove
from squat.ops import BACKENDS

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler: cc, gcc or clang")
WEIGHT, STATE = squat.IntWeight(4), squat.Anchored(4)


def dense(lowest=-1, highest=1, inputs=12, seed=0, **options):
    torch.manual_seed(seed)
    first = squat.Linear(inputs, 8, weight=WEIGHT, input_min=lowest, input_max=highest, **options)
    return squat.Sequential(first, squat.LIF(state=STATE), squat.Linear(8, 3, weight=WEIGHT))


def recurrent(lowest=-1, highest=1, inputs=12):
    torch.manual_seed(0)
    layer = squat.RLIF(inputs, 8, weight=WEIGHT, state=STATE, input_min=lowest, input_max=highest)
    return squat.Sequential(layer, squat.Linear(8, 3, weight=WEIGHT))


def convolution(lowest=-1, highest=1):
    torch.manual_seed(0)
    layer = squat.Conv2d(2, 3, 3, stride=2, weight=WEIGHT, input_min=lowest, input_max=highest)
    return squat.Sequential(layer, squat.LIF(state=STATE))


def inputs(lowest, highest, *shape, seed=0):
    return torch.randint(lowest, highest + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("samples", [2, 700], ids=["few", "compiled check"])
@pytest.mark.parametrize("make", [dense, recurrent, convolution])
def test_training_refuses_inputs_out_of_the_declared_range(make, samples):
    shape = (3, samples, 2, 5, 7) if make is convolution else (3, samples, 12)
    net, x = make(0, 1), (torch.rand(shape) < 0.3).float()
    net(x)
    for value, text in (
        (-1.0, r"x: values from -1 to 1, expected integers from 0 to 1, .*; lower input_min to -1, or scale"),
        (2.0, r"x: values from 0 to 2, expected integers from 0 to 1, .*; raise input_max to 2, or scale"),
        (-1.5, r"lower input_min to -2,"),
        (0.5, r"x: got fractions"),
    ):
        wrong = x.clone()
        wrong.view(-1)[-1] = value  # of an image, a pixel that the stride leaves out
        with pytest.raises(ValueError, match=text):
            net(wrong)
        with torch.no_grad(), pytest.raises(ValueError, match=text):
            net.eval()(wrong)
        net.train()
    make(-1, 1)(-x)


def test_two_halves_are_no_integer():
    with pytest.raises(ValueError, match="x: got fractions"):
        squat.Linear(2, 1, weight=WEIGHT)(torch.full((1, 1, 2), 0.5))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1, ValueError, r"input_min=1: expected an integer from .* to 0; -1 for spikes of -1, 0 and 1"),
        (-1.0, TypeError, r"input_min=-1.0: expected an integer"),
    ],
)
def test_a_range_without_silence_is_refused(value, error, text):
    for make in (dense, recurrent, convolution, lambda low: squat.models.NetworkConfig(input_min=low)):
        with pytest.raises(error, match=text):
            make(value)


def test_only_signed_layers_say_so():
    for net in (dense, recurrent, convolution):
        assert net(-3, 3)[0].config()["input_min"] == -3
        assert "input_min" not in net(0, 1)[0].config()
    assert "input_min" not in squat.models.NetworkConfig().to_json()


@torch.no_grad()
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name in ("reference", "cpu")])
@settings(max_examples=15, deadline=None)
@given(
    ends=st.sampled_from([(-1, 1), (-1, 3), (-5, 1), (-127, 127), (-128, 127), (-128, 1)]),
    make=st.sampled_from([dense, recurrent, convolution]),
    seed=st.integers(0, 2**31),
)
def test_engine_and_training_agree(backend, ends, make, seed):
    net = make(*ends).eval()
    shape = (2, 5, 7) if make is convolution else (12,)
    x = inputs(*ends, 6, 3, *shape, seed=seed)
    machine = squat.lower(net, shape)
    assert (machine.input_min, machine.input_max) == ends
    with squat.ops.backend(backend):
        out, _ = net(x)
    expected = (out.z if isinstance(out, squat.Current) else out).numpy()
    for name in ("numpy", "compiled"):
        whole = machine.run(x.numpy().astype(np.int8), implementation=name)
        assert np.array_equal(whole.output, expected)
        half = machine.run(x[:3], implementation=name)
        rest = machine.run(x[3:], half.state, implementation=name)
        assert np.array_equal(np.concatenate((half.output, rest.output)), expected)
        state = None
        for t, step in enumerate(x):
            found = machine.step(step, state, implementation=name)
            state = found.state
            assert np.array_equal(found.output, expected[t])
    (low, high), sums = machine.layers[0].sum_range.T, machine.layers[0].counted_weights(np.int64)[0]
    rows = sums.reshape(len(sums), -1)
    extreme = np.where(rows > 0, *ends[::-1]) * rows
    if machine.layers[0].recurrent is None:
        assert np.array_equal(high, extreme.sum(1))
        assert np.array_equal(low, (np.where(rows > 0, *ends) * rows).sum(1))


def test_engine_refuses_what_is_out_of_range():
    machine = squat.lower(dense())
    for wrong in (-2, 2):
        with pytest.raises(ValueError, match=rf"x: values from .*{wrong}.*, expected integers from -1 to 1"):
            machine.run(np.full((1, 1, 12), wrong))
    with pytest.raises(ValueError, match="x: got fractions, expected integers from -1 to 1"):
        machine.run(np.full((1, 1, 12), -0.5))


def test_events_with_signs():
    machine = squat.lower(recurrent())
    x = inputs(-1, 1, 9, 1, 12).numpy().astype(np.int8)
    times, _, units = np.nonzero(x)
    signs = x[times, 0, units]
    assert np.array_equal(event_steps(times, units, 9, 12, signs), x)
    found = machine.run_events(times, units, 9, signs=signs)
    assert np.array_equal(found.codes[0], machine.run(x).codes[0])
    twice = event_steps([0, 0, 0, 0, 0], [1, 1, 2, 2, 2], 1, 4, [-1, -1, 1, 1, -1])
    assert twice[0, 0].tolist() == [0, -1, 0, 0]
    for wrong, error, text in (
        ([0], ValueError, "signs: 0 at event 0, expected 1 or -1"),
        ([1, 1], ValueError, "signs: 2 entries for 1 times"),
        ([0.5], TypeError, "signs: float64"),
    ):
        with pytest.raises(error, match=text):
            event_steps([0], [0], 1, 1, wrong)
    with pytest.raises(ValueError, match="x: values from -1 to 0, expected integers from 0 to 1"):
        squat.lower(recurrent(0, 1)).run_events([0], [0], 1, signs=[-1])


def test_files(tmp_path):
    for name, net in {"signed": dense(), "plain": dense(0, 1)}.items():
        squat.save(net, tmp_path / name)
        assert squat.load(tmp_path / name)[0].input_min == net[0].input_min
        machine = squat.lower(net)
        machine = replace(machine, certificate=prove(net, machine))
        machine.save(tmp_path / f"{name}.machine")
        data = (tmp_path / f"{name}.machine").read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert ("input_min" in header["__metadata__"]["squat"]) == (name == "signed")
        found = load(tmp_path / f"{name}.machine")
        assert (found.fingerprint, found.certificate) == (machine.fingerprint, machine.certificate)
        assert found.input_min == machine.input_min == net[0].input_min
    assert squat.lower(dense()).fingerprint != squat.lower(dense(0, 1)).fingerprint


def test_fingerprints_of_before_are_kept():
    """A certificate names the fingerprint, so that of a network without signed inputs must not change."""
    layer = Layer("0 Linear", (2,), np.array([[1, -2]], np.int8), 4, 1, None, 1, 1, (1, 1), (0, 0), None)
    machine = squat.integer.IntegerNetwork((layer,))
    assert machine.fingerprint == "b6e9627181551884cc5f7e32f761c8429d269f79745fcd8f85622ef9f0b669fe"
    assert replace(machine, layers=(replace(layer, input_min=-1),)).fingerprint != machine.fingerprint


def test_what_is_no_byte_cannot_be_lowered():
    for ends in ((-129, 1), (-1, 128)):
        (text,) = obstacles(dense(*ends))
        assert f"inputs from {ends[0]} to {ends[1]}: they are bytes; scale signed ones to -128..127" in text
    with pytest.raises(ValueError, match="input_max=200: expected an integer from 1 to 127"):
        Layer("0", (1,), np.ones((1, 1), np.int8), 2, 200, None, 1, 1, (1, 1), (0, 0), None, input_min=-1)


def test_operations_of_signed_spikes_are_counted():
    x = np.zeros((2, 1, 12), np.int8)
    x[0, 0, :3] = -1, 1, -1
    machine = squat.lower(dense())
    (found, _) = machine.report(x).layers
    weights = machine.layers[0].weight[:, :3]
    assert (found.input_events, found.multiplications) == (3, 0)
    assert found.synaptic_operations == np.count_nonzero(weights)
    bytes_in = squat.lower(dense(-2, 1)).report(x - 1).layers[0]
    assert bytes_in.multiplications == bytes_in.synaptic_operations > 0


@needs_compiler
def test_c_takes_signed_inputs_in_every_form():
    """Bytes, bitmaps and events of the same inputs give the same codes, and those of the engine."""
    nets = {"spikes": recurrent(inputs=11), "images": convolution(-1, 1), "audio": dense(-128, 127)}
    shapes = {"spikes": (11,), "images": (2, 5, 7), "audio": (12,)}
    machines = {name: squat.lower(net, shapes[name]) for name, net in nets.items()}
    programs = compile_networks(machines)
    for name, machine in machines.items():
        x = inputs(machine.input_min, machine.input_max, 5, 1, *shapes[name]).numpy().astype(np.int8)
        expected = machine.run(x).codes[0].reshape(5, -1)
        assert np.array_equal(programs[name].run(x).codes[0].reshape(5, -1), expected)
        assert np.array_equal(programs[name].run(np.broadcast_to(x[:1], x.shape)).codes[0][0].reshape(-1), expected[0])
        steps = {"bytes": _bytes} if name == "audio" else {"bytes": _bytes, "events": _events}
        for step in steps.values():
            programs[name]._library.squat_reset(programs[name]._context)
            for t, values in enumerate(x.reshape(5, -1)):
                assert step(programs[name], values)
                assert _codes(programs[name], expected.shape[1]) == expected[t].tolist()


@needs_compiler
def test_c_refuses_what_is_out_of_range():
    signed, plain = compile_networks({"signed": squat.lower(dense(-5, 3)), "plain": squat.lower(dense(0, 1))}).values()
    for program, good, wrong in ((signed, (-5, 3), (-6, 4, 127, -128)), (plain, (0, 1), (2, -1))):
        for value in good:
            assert _bytes(program, np.full(12, value, np.int8))
        for value in wrong:
            assert not _bytes(program, np.array([0] * 11 + [value], np.int8))
    assert _events(signed, np.ones(12, np.int8))
    assert not _events(plain, np.ones(12, np.int8))  # a sign where inputs have none
    for units, signs in (([12], [1]), ([0], [0]), ([0], [2])):
        assert not _signed_events(signed, np.array(units), np.array(signs))


@needs_compiler
@pytest.mark.parametrize("make", [dense, convolution])
@pytest.mark.parametrize("ends", [(-1, 1), (-5, 1), (-128, 127)])
def test_the_proof_covers_the_sums_of_signed_inputs(make, ends):
    net = make(*ends)
    machine = squat.lower(net, (2, 5, 7) if make is convolution else None)
    assert prove(net, machine, others={"C": compile_network(machine)}).sums > 0


def test_c_is_refused_where_bits_add_up_to_more_than_32():
    """Whole sums of -1 fit, but C adds 1 - 2."""
    options = {"recurrent": None, "input_unit": 255, "recurrent_unit": 1, "stride": (1, 1), "padding": (0, 0)}
    shift = np.full(1, 7, np.int8)
    weight = np.full((1, 300), 127, np.int8)
    layer = Layer("0 Linear", (300,), weight, 8, 1, **options, neurons=None, weight_shift=shift, input_min=-1)
    with pytest.raises(ValueError, match=r"layer '0 Linear': bits of signed inputs add up to more than 32 bits"):
        source(squat.integer.IntegerNetwork((layer,)), "network")
    assert source(squat.integer.IntegerNetwork((replace(layer, input_min=0),)), "network")


def _codes(program, count):
    read = program._library.squat_code
    return [read(program._context, ctypes.c_uint32(0), ctypes.c_uint32(n)) & 255 for n in range(count)]


def _call(program, name, *arguments):
    function = getattr(program._library, name)
    function.restype = ctypes.c_bool
    return function(program._context, *arguments)


def _bytes(program, values):
    return _call(program, "squat_step_bytes", ctypes.c_void_p(values.ctypes.data))


def _events(program, values):
    (units,) = np.nonzero(values)
    return _signed_events(program, units, values[units])


def _signed_events(program, units, signs):
    units, signs = units.astype(np.uint16), signs.astype(np.int8)
    pointers = (ctypes.c_void_p(values.ctypes.data) for values in (units, signs))
    return _call(program, "squat_step_signed_events", *pointers, ctypes.c_uint32(len(units)))
