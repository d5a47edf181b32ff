"""Exported C compiled and run on this computer: whole batches to compare, and its neurons as black boxes to prove."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from squat.export.c99.layout import largest_input
from squat.export.c99.tables import definitions, header
from squat.export.c99.text import check_identifier
from squat.export.c99.vectors import bitmaps, runtime_inputs
from squat.integer import IntegerNetwork, Layer
from squat.integer.cuts import probe
from squat.integer.engine import checked_input
from squat.integer.states import States
from squat.integer.states_proof import JointStep
from squat.integer.sums import Sums
from squat.text import brief

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
KINDS = ("SQUAT_BITMAPS", "SQUAT_BYTES", "SQUAT_CONSTANT", "SQUAT_SIGNS")


class HostResult(NamedTuple):
    """What the C program made of a batch; as in `squat.integer.Result`, with the spikes of every layer too.

    Attributes:
        codes: uint8 `[T, B, ...]` of every layer with neurons, in order.
        spikes: the same of spikes.
        output: of the last layer `[T, B, ...]`, as in `Result`.
        scores: int64 `[B, classes]`, or None without a readout.
        predictions: int64 `[B]`, or None without a readout.
    """

    codes: tuple[np.ndarray, ...]
    spikes: tuple[np.ndarray, ...]
    output: np.ndarray
    scores: np.ndarray | None
    predictions: np.ndarray | None

    def __repr__(self) -> str:
        return brief(self)


def find_compiler() -> str | None:
    """The C compiler named by `CC`, else `cc`, `gcc` or `clang` on the path, else None."""
    named = os.environ.get("CC")
    found = (shutil.which(name) for name in ([named] if named else ["cc", "gcc", "clang"]))
    return next((path for path in found if path), None)


class HostMachine:
    """A network's C program, compiled and loaded."""

    def __init__(self, net: IntegerNetwork, library: Any, context: int) -> None:
        self.net, self._library, self._context = net, library, ctypes.c_void_p(context)

    def run(self, x: Any) -> HostResult:
        """Run a batch `[T, B, *input_shape]`, every sample from the start.

        Raises:
            TypeError, ValueError: for an input that the engine refuses.
        """
        net = self.net
        checked_input(net, x)
        steps, samples = np.shape(x)[:2]
        kind, inputs = runtime_inputs(net, np.asarray(x))
        machines = [(layer, neurons) for layer, neurons, _ in net.by_layer([])]
        with_states = [layer for layer, neurons in machines for _ in neurons.widths]
        codes = np.empty((samples, steps, sum(layer.size for layer in with_states)), np.uint8)
        spikes = np.empty((samples, steps, sum(layer.size for layer, _ in machines)), np.uint8)
        last, readout = net.last, net.readout is not None
        output = np.empty((samples, steps, last.size if last.neurons is None else 0), np.int32)
        scores = np.empty((samples, last.size if readout else 0), np.int64)
        predictions = np.empty(samples if readout else 0, np.uint32)
        counts = (ctypes.c_size_t(count) for count in (samples, steps, inputs.shape[2]))
        arrays = (_address(array) for array in (codes, spikes, output, scores, predictions))
        if not self._library.host_run(
            self._context, _address(inputs), ctypes.c_uint32(KINDS.index(kind)), *counts, *arrays
        ):
            accepted = f"integers from {net.input_min} to {net.input_max}"
            raise ValueError(f"x: the C program refused a value, expected {accepted}")
        fired = _by_layer(spikes, [layer for layer, _ in machines])
        by_state = _by_layer(codes, with_states)
        if last.neurons is None:
            out = np.moveaxis(output, 1, 0).reshape(steps, samples, *last.output_shape)
        else:
            out = fired[-1] if last.neurons.fires else by_state[-1]
        return HostResult(
            by_state,
            fired,
            output=out,
            scores=scores if readout else None,
            predictions=predictions.astype(np.int64) if readout else None,
        )

    def step(self, index: int) -> Any:
        """The neurons of a `probe` of `net.neuron_layers[index]` as a black box.

        See `squat.integer.cuts`, and `squat.integer.states_proof` for neurons of several states.
        """
        layer = self.net.neuron_layers[index]
        position = next(at for at, other in enumerate(self.net.layers) if other is layer)
        positions = probe(layer).size // layer.channels
        if isinstance(layer.neurons, States):
            return self._joint_step(position, positions, len(layer.neurons.states))

        def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
            sums = np.ascontiguousarray(z, np.int32)
            current = np.full(len(z), -1, np.int16) if codes is None else codes.astype(np.int16)
            after, spikes = np.empty(z.shape, np.uint8), np.empty(z.shape, np.uint8)
            self._library.host_update(
                self._context, ctypes.c_uint32(position), ctypes.c_uint32(positions), ctypes.c_size_t(len(z)),
                *(_address(array) for array in (sums, current, after, spikes)),
            )  # fmt: skip
            return after, spikes

        return step

    def _joint_step(self, position: int, positions: int, states: int) -> JointStep:
        def step(z: np.ndarray, codes: tuple[np.ndarray, ...] | None) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
            sums = np.ascontiguousarray(z, np.int32)
            after, spikes = np.empty((states, *z.shape), np.uint8), np.empty(z.shape, np.uint8)
            before = None if codes is None else np.stack(codes)
            self._library.host_update_states(
                self._context, ctypes.c_uint32(position), ctypes.c_uint32(positions), ctypes.c_size_t(len(z)),
                *(None if array is None else _address(array) for array in (sums, before, after, spikes)),
            )  # fmt: skip
            return tuple(after), spikes

        return step

    def sums(self, index: int, pooled: bool = True) -> Sums:
        """The synaptic sums of `net.layers[index]` as a black box, or those that it pools; see `squat.integer.sums`."""
        layer: Any = self.net.layers[index]
        shape = layer.output_shape if pooled else layer.sum_shape
        channels, positions = layer.channels, math.prod(shape[1:])
        packed = isinstance(self.net.layers[index - 1], Layer) if index else largest_input(layer) == 1
        signs = not index and packed and self.net.input_min < 0

        def sums(x: np.ndarray, spikes: np.ndarray) -> np.ndarray:
            flat = np.ascontiguousarray(x.reshape(len(x), -1))
            inputs = bitmaps(flat, signs) if packed else flat.view(np.uint8)
            recurrent = (
                np.packbits(spikes, axis=1, bitorder="little") if spikes.size else np.zeros((len(x), 1), np.uint8)
            )
            out = np.empty((len(x), positions, channels), np.int32)
            counts = (ctypes.c_size_t(count) for count in (len(x), inputs.shape[1], recurrent.shape[1]))
            self._library.host_sums(
                self._context, *(ctypes.c_uint32(value) for value in (index, positions, 0 if pooled else shape[2])),
                ctypes.c_bool(packed), ctypes.c_bool(signs), *counts,
                *(_address(array) for array in (inputs, recurrent, out)),
            )  # fmt: skip
            return out.swapaxes(1, 2)

        return sums


def _by_layer(values: np.ndarray, layers: Sequence[Layer]) -> tuple[np.ndarray, ...]:
    """Bytes `[samples, steps, all neurons]` as `[steps, samples, ...]` of each layer."""
    parts = np.split(np.moveaxis(values, 1, 0), np.cumsum([layer.size for layer in layers])[:-1], axis=2)
    return tuple(part.reshape(*part.shape[:2], *layer.output_shape) for part, layer in zip(parts, layers, strict=True))


def compile_networks(
    nets: Mapping[str, IntegerNetwork], *, compiler: str | None = None, flags: Sequence[str] = ("-O2",)
) -> dict[str, HostMachine]:
    """Export networks to one C translation unit, compile it with all warnings as errors, and load it.

    Args:
        nets: by the name of their symbols.
        compiler: as `find_compiler` finds it by default.
        flags: of the compiler, beside warnings and what a shared library needs.

    Raises:
        ValueError: without a compiler, or if it refuses the code; the message has its output.
    """
    cc = compiler or find_compiler()
    if cc is None:
        raise ValueError("compiler: found none, expected cc, gcc or clang on the path; install one or set CC")
    with tempfile.TemporaryDirectory() as folder:
        library = _load(_build(Path(folder), nets, cc, flags))
    machines = {}
    for name, net in nets.items():
        make = getattr(library, f"host_{name}")
        make.restype = ctypes.c_void_p
        machines[name] = HostMachine(net, library, make())
    return machines


def compile_network(net: IntegerNetwork, **options: Any) -> HostMachine:
    """`compile_networks` of a single one."""
    return compile_networks({"network": net}, **options)["network"]


def compiled_name() -> str:
    """What the exported C is called where implementations are compared, such as `"C (cc)"`."""
    return f"C ({Path(find_compiler() or 'no compiler').name})"


def _build(folder: Path, nets: Mapping[str, IntegerNetwork], compiler: str, flags: Sequence[str]) -> Path:
    root = files("squat.export.c99")
    sources = {
        name: root / "runtime" / name
        for name in (
            "squat.h",
            "squat.c",
            "squat_codes.h",
            "squat_sums.h",
            "squat_sums.c",
            "squat_states.c",
            "squat_result.c",
        )
    }
    for name, source in {**sources, "harness.c": root / "host" / "harness.c"}.items():
        (folder / name).write_bytes(source.read_bytes())
    parts = ["#include <stddef.h>"]
    for name, net in nets.items():
        (folder / f"{check_identifier(name)}.h").write_text(header(net, name), encoding="utf-8")
        parts += [f'#include "{name}.h"', *definitions(net, name)]
        parts.append(f"squat_context *host_{name}(void);")
        body = f"static {name}_memory memory;\n    {name}_init(&memory);\n    return &memory.context;"
        parts.append(f"squat_context *host_{name}(void)\n{{\n    {body}\n}}")
    (folder / "networks.c").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    library = folder / "networks.so"
    code = [str(path) for path in sorted(folder.glob("*.c"))]
    command = [compiler, *WARNINGS, *flags, "-fPIC", "-shared", "-o", str(library), *code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"compiler: {compiler} refused the exported code: {done.stderr[:2000]}")
    return library


def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.host_run.restype = library.host_update.restype = library.host_sums.restype = ctypes.c_bool
    return library


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
