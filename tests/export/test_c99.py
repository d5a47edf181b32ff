"""Exported C: equal to training and to the engine in every code, spike, sum and score; what the exporter refuses."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import squat
from random_networks import random_network
from squat.export import EXPORTERS
from squat.export.c99.host import compile_network, compile_networks, find_compiler
from squat.export.c99.layout import packed_rows
from squat.integer.proof import NotEqual, prove
from squat.layers import MaxPool2d
from squat.models import Network
from squat.neurons.state import codes_of

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler: cc, gcc or clang")
COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"))
    for name in ("gcc", "clang")
]
NETWORKS, GROUP = 200, 40
"""Random networks that are compared, and how many are compiled as one translation unit."""


def small(**options):
    torch.manual_seed(0)
    weight = squat.IntWeight(4)
    neuron = {"state": squat.Anchored(4), **options}
    return squat.Sequential(squat.RLIF(9, 7, weight=weight, **neuron), squat.Linear(7, 3, weight=weight)).eval()


@torch.no_grad()
def assert_same(net, x, machine, program):
    """Training, both implementations of the engine, and C; returns whether every layer that can fire fired."""
    stack = net.layers if isinstance(net, Network) else net
    trained, states = [], None
    for step in x:  # the codes of every step
        _, states = stack(step[None], states)
        trained.append([own.numpy() for own in codes_of(states)])
    compiled, plain = machine.run(x), machine.run(x, implementation="numpy")
    found, fired = program.run(x.numpy()), True
    for index, codes in enumerate(compiled.codes):
        for others in (np.stack([step[index] for step in trained]), plain.codes[index], found.codes[index]):
            assert np.array_equal(codes, others.reshape(codes.shape))  # signals are images of one row
    for (_, neurons, codes), spikes in zip(machine.by_layer(found.codes), found.spikes, strict=True):
        assert np.array_equal(spikes, neurons.spikes(codes))
        fired &= bool(spikes.any()) or not neurons.fires
    for name in ("scores", "predictions"):
        assert np.array_equal(getattr(compiled, name), getattr(plain, name))
        assert np.array_equal(getattr(compiled, name), getattr(found, name))
    assert np.array_equal(found.output, compiled.output)
    return fired


@needs_compiler
@pytest.mark.parametrize("group", range(NETWORKS // GROUP))
def test_random_networks_agree(group):
    cases = {f"n{seed}": random_network(seed) for seed in range(group * GROUP, (group + 1) * GROUP)}
    machines = {name: squat.lower(net, tuple(x.shape[2:])) for name, (net, x) in cases.items()}
    programs = compile_networks(machines, flags=("-O1",))
    fired = [assert_same(*cases[name], machines[name], programs[name]) for name in cases]
    assert sum(fired) > len(fired) // 2  # an all-silent network passes anything


@pytest.mark.parametrize("compiler", COMPILERS)
def test_both_compilers_take_it_without_a_warning(compiler):
    nets = {f"n{seed}": random_network(seed) for seed in range(8)}
    machines = {name: squat.lower(net, tuple(x.shape[2:])) for name, (net, x) in nets.items()}
    for name, program in compile_networks(machines, compiler=compiler).items():
        assert_same(*nets[name], machines[name], program)


@needs_compiler
@pytest.mark.parametrize("seed", [4, 9, 21, 33])
def test_the_proof_covers_c(seed):
    net, x = random_network(seed)
    machine = squat.lower(net, tuple(x.shape[2:]))
    program = compile_network(machine)
    certificate = prove(net, machine, others={"C": program})
    assert certificate.implementations[-1] == "C"
    assert sum(layer.cuts for layer in certificate.layers) == certificate.cuts > 0
    assert certificate.sums > 0


@needs_compiler
@pytest.mark.parametrize("part", ["weight", "recurrent"])
def test_the_proof_finds_one_wrong_weight_in_c(part):
    net = small()
    machine = squat.lower(net)
    (layer,) = machine.neuron_layers
    weight = getattr(layer, part).copy()
    weight[3, 5] = 7 if weight[3, 5] != 7 else -7
    wrong = replace(machine, layers=(replace(layer, **{part: weight}), machine.layers[1]))
    which = "input 5" if part == "weight" else "input spike 5"
    with pytest.raises(NotEqual, match=f"not equal, in the C: layer '0 RLIF', neuron 3: {which} give the sum"):
        prove(net, machine, others={"C": compile_network(wrong)})


@needs_compiler
def test_the_proof_finds_a_wrong_weight_that_maxima_hide():
    """With one input on, the largest sum of a window is 0 or more: one wrong negative weight is not in it."""
    torch.manual_seed(0)
    conv = squat.Conv2d(1, 2, 2, weight=squat.IntWeight(4))
    net = squat.Sequential(conv, MaxPool2d(2), squat.LIF(state=squat.Anchored(4)))
    machine = squat.lower(net, (1, 7, 5))
    (layer,) = machine.layers
    assert prove(net, machine, others={"C": compile_network(machine)}).sums > 0
    weight = layer.weight.copy()
    channel, row, column = next((n, i, j) for n, _, i, j in np.argwhere(weight < -1))
    weight[channel, 0, row, column] += 1
    wrong = replace(machine, layers=(replace(layer, weight=weight),))
    with pytest.raises(NotEqual, match=r"not equal, in the C: layer '0 Conv2d, 1 MaxPool2d, 2 LIF', neuron \d+: input"):
        prove(net, machine, others={"C": compile_network(wrong)})
    pool = replace(layer.pool, kernel_size=(2, 1))
    with pytest.raises(NotEqual, match="not equal, in the C: layer '0 Conv2d, 1 MaxPool2d, 2 LIF', neuron"):
        prove(net, machine, others={"C": compile_network(replace(machine, layers=(replace(layer, pool=pool),)))})


@needs_compiler
def test_spare_bits_of_a_bitmap_count_for_nothing():
    """9 inputs are two bytes, of which 7 bits are none."""
    machine = squat.lower(small())
    program = compile_network(machine)
    codes = []
    for bitmap in ([1, 0], [1, 0xFE]):
        program._library.squat_reset(program._context)
        address = ctypes.c_void_p(np.array(bitmap, np.uint8).ctypes.data)
        program._library.squat_step_bitmap(program._context, address)
        codes.append([program._library.squat_code(program._context, ctypes.c_uint32(0), ctypes.c_uint32(n)) & 255
                      for n in range(7)])  # fmt: skip
    assert codes[0] == codes[1]


@needs_compiler
@pytest.mark.parametrize("bad", [2, 256, -1, 0.5])
def test_the_host_refuses_what_the_engine_refuses(bad):
    with pytest.raises(ValueError, match=r"x: (values from|got fractions)"):
        compile_network(squat.lower(small())).run(np.full((2, 1, 9), bad))


@needs_compiler
def test_the_proof_finds_one_wrong_bound_in_c():
    net = small()
    machine = squat.lower(net)
    (layer,) = machine.neuron_layers
    bound = layer.neurons.bound.copy()
    bound[0, 4] += 2**layer.neurons.shift
    wrong = replace(machine, layers=(replace(layer, neurons=replace(layer.neurons, bound=bound)), machine.layers[1]))
    with pytest.raises(NotEqual, match="training gives code 5, spike 0; the C gives code 4") as error:
        prove(net, machine, others={"C": compile_network(wrong)})
    assert error.value.counterexample.implementation == "the C"


@needs_compiler
def test_events_out_of_range_change_nothing():
    machine = squat.lower(small())
    program = compile_network(machine)
    library, context = program._library, program._context
    library.squat_step_events.restype = library.squat_step_bytes.restype = library.squat_hold.restype = ctypes.c_bool
    library.squat_code.restype = ctypes.c_uint8
    events = np.array([0, 3, 3, 8], np.uint16)

    def step(values):
        address = ctypes.c_void_p(values.ctypes.data)
        return library.squat_step_events(context, address, ctypes.c_uint32(len(values)))

    def codes():
        return [library.squat_code(context, ctypes.c_uint32(0), ctypes.c_uint32(n)) for n in range(7)]

    x = np.zeros((2, 1, 9), np.uint8)
    x[:, 0, events] = 1
    expected = machine.run(x).codes[0][:, 0].tolist()
    assert step(events)
    assert codes() == expected[0]
    assert not step(np.array([1, 9], np.uint16))
    assert not library.squat_step_bytes(context, ctypes.c_void_p(np.full(9, 2, np.uint8).ctypes.data))
    library.squat_step_held.restype = ctypes.c_bool
    assert not library.squat_step_held(context)
    assert not library.squat_hold(context, ctypes.c_void_p(np.zeros(9, np.uint8).ctypes.data))
    assert codes() == expected[0]
    assert step(events)
    assert codes() == expected[1]
    library.squat_reset(context)
    assert step(events)
    assert codes() == expected[0]


def test_packed_rows_by_hand():
    rows = np.array([[1, -1, 0, 1, -1]], np.int8)
    assert packed_rows(rows, 2).tolist() == [[0b01_11_10_01_11]]
    assert packed_rows(rows, 8).tolist() == [[0x81807F81, 0x7F]]


# What is refused


@pytest.mark.parametrize("export", EXPORTERS.values(), ids=EXPORTERS)
def test_nothing_is_overwritten(export, tmp_path, monkeypatch):
    machine = squat.lower(small())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for target in (tmp_path / "full", tmp_path / "full" / "notes.txt"):
        with pytest.raises(ValueError, match="is not an empty folder; choose another name, nothing was written"):
            export(machine, target)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="does not exist; make it first"):
        export(machine, tmp_path / "no" / "folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    monkeypatch.chdir(tmp_path / "empty")
    export(machine, ".")
    assert (tmp_path / "link" / "README.md").exists()
    with pytest.raises(ValueError, match="is not an empty folder"):
        export(machine, tmp_path / "link")
    assert {path.name for path in tmp_path.iterdir()} == {"full", "empty", "link"}


def test_a_refused_input_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="x: values from 2 to 2"):
        squat.export.c(squat.lower(small()), tmp_path / "c", vectors=np.full((3, 1, 9), 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "string", "main", "selftest", "squat_net", "Net", "1net", "a-b", "a" * 25, "a\n"])
def test_names_that_c_would_not_take(name, tmp_path):
    with pytest.raises(ValueError, match=r"name=.*: expected up to 24 lower-case letters, digits and _"):
        squat.export.c(squat.lower(small()), tmp_path / "c", name=name)


def test_other_things_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"net=.*: expected an IntegerNetwork; squat\.lower makes one"):
        squat.export.c(small(), tmp_path / "c")
    with pytest.raises(TypeError, match="name=3: expected text"):
        squat.export.c(squat.lower(small()), tmp_path / "c", name=3)
    wide = squat.Sequential(squat.Linear(2**16 + 1, 1, weight=squat.IntWeight(2)))
    with pytest.raises(ValueError, match="net: 65537 inputs, expected at most 65536, since events are"):
        squat.export.c(squat.lower(wide), tmp_path / "c")


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ValueError, match="compiler: found none, expected cc, gcc or clang on the path"):
        compile_network(squat.lower(small()))
