"""`IntegerNetwork`: a trained network as an integer machine. Numpy only: nothing here needs torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from squat.checks import check_int
from squat.integer.certificate import Certificate
from squat.integer.joins import Join
from squat.integer.parts import Layer, Neurons, Readout, Shape
from squat.integer.pools import Pool
from squat.integer.states import States
from squat.text import brief

if TYPE_CHECKING:
    from squat.integer.engine import Result, State
    from squat.integer.report import Report

Part = Layer | Pool | Join
PARTS_OF_THEIR_OWN = ("neurons", "states", "name", "names")
"""Fields that the fingerprint reads elsewhere, or that nothing is computed with."""


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network of integers: what `squat.lower` makes, and what is checked, run, saved and exported.

    Attributes:
        layers: `Layer`, `Pool` and `Join`, in order.
        readout: how the last layer is read, or None for a stack of layers alone.
        certificate: of a proof (`squat.integer.proof.prove`) that it equals the trained network, or None.

    Raises:
        TypeError, ValueError: for arrays of other types, shapes or ranges than described.

    Example:
        >>> import numpy as np, squat
        >>> net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(4)))
        >>> machine = squat.lower(net)
        >>> result = machine.run(np.ones((5, 1, 3), np.uint8))
        >>> result.output.shape, result.output.dtype
        ((5, 1, 2), dtype('uint8'))
    """

    layers: tuple[Part, ...]
    readout: Readout | None = None
    certificate: Certificate | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        if not self.layers or not all(isinstance(self.layers[end], Layer) for end in (0, -1)):
            raise ValueError("layers: expected at least one, the first and the last with weights")
        shape = self.layers[0].input_shape
        for index, layer in enumerate(self.layers):
            if math.prod(shape) != math.prod(layer.input_shape):
                raise ValueError(f"layers[{index}]: input of shape {layer.input_shape}, expected {shape}")
            if isinstance(layer, Layer) and not layer.fires and layer is not self.layers[-1]:
                raise ValueError(f"layers[{index}]: nothing there can fire, expected only of the last layer")
            self._check_source(index)
            shape = layer.output_shape
        self._check_values()
        self._check_readout(self.last)
        if self.certificate is not None and self.certificate.fingerprint != self.fingerprint:
            raise ValueError("certificate: it is of another network; prove this one")

    def _check_source(self, index: int) -> None:
        join = self.layers[index]
        if not isinstance(join, Join):
            return
        if join.source >= index:
            raise ValueError(f"layers[{index}]: joins layers[{join.source}], expected one before it")
        size = math.prod(self.layers[join.source].output_shape)
        if size != join.source_size:
            raise ValueError(f"layers[{index}]: joins {size} outputs, expected {join.source_size}")

    def _check_values(self) -> None:
        for index, (layer, largest) in enumerate(zip(self.layers, self.largest, strict=True)):
            comes = self.largest[index - 1] if isinstance(layer, Layer) and index else largest
            accepted = layer.input_max if isinstance(layer, Layer) else 255
            if comes > accepted:
                raise ValueError(f"layers[{index}]: values reach {comes}, expected at most {accepted}")

    def _check_readout(self, last: Layer) -> None:
        if self.readout is None:
            return
        if (last.neurons is None) != (self.readout.kind == "accumulated_current"):
            raise ValueError(f"readout {self.readout.kind}: does not read the last layer ({last.name})")
        if last.neurons is not None and last.neurons.fires != (self.readout.kind == "spike_count"):
            reads = "neurons that fire" if self.readout.kind == "spike_count" else "neurons that never fire"
            raise ValueError(f"readout {self.readout.kind}: expected {reads} in the last layer ({last.name})")
        sizes = {"bias": last.size, "multiplier": last.size, "level": last.neurons.codes if last.neurons else 0}
        for name, size in sizes.items():
            values = getattr(self.readout, name)
            if values is not None and len(values) != size:
                raise ValueError(f"readout: {len(values)} values of {name}, expected {size}")

    @property
    def input_shape(self) -> Shape:
        """Shape of one step of one sample."""
        return self.layers[0].input_shape

    @property
    def first(self) -> Layer:
        """The layer that reads the input."""
        return self.layers[0]  # type: ignore[return-value]

    @property
    def input_max(self) -> int:
        """Largest input."""
        return self.first.input_max

    @property
    def input_min(self) -> int:
        """Smallest input: 0, or negative where inputs are signed."""
        return self.first.input_min

    @cached_property
    def largest(self) -> tuple[int, ...]:
        """Largest value that each of `layers` gives: 1 for spikes."""
        found: list[int] = []
        for layer in self.layers:
            if isinstance(layer, Pool):
                found.append(found[-1] * layer.growth)
            elif isinstance(layer, Join):
                growth = 1 if layer.pool is None else layer.pool.growth
                found.append(found[-1] + found[layer.source] * growth)
            else:
                found.append(1)
        return tuple(found)

    @property
    def last(self) -> Layer:
        """The layer that is read out."""
        return self.layers[-1]  # type: ignore[return-value]

    @property
    def neuron_layers(self) -> list[Layer]:
        """The layers with a state, in order."""
        return [layer for layer in self.layers if isinstance(layer, Layer) and layer.neurons is not None]

    def by_layer(self, codes: Sequence[Any]) -> Iterator[tuple[Layer, Neurons | States, tuple[Any, ...]]]:
        """Every layer with neurons, its neurons, and its entries in a list with one for every state of every layer."""
        at = 0
        for layer in self.neuron_layers:
            if layer.neurons is not None:
                count = len(layer.neurons.widths)
                yield layer, layer.neurons, tuple(codes[at : at + count])
                at += count

    def run(self, x: Any, state: State | None = None, *, implementation: str = "compiled") -> Result:
        """Run a batch of sequences, event by event.

        Args:
            x: `[T, B, *input_shape]`, integers from `input_min` to `input_max` of any dtype. An input that is constant
                over time (`np.broadcast_to`, or torch's `expand`: stride 0) is multiplied once.
            state: the state that an earlier call returned, to continue its sequences.
            implementation: `"compiled"`, or `"numpy"`, the plain one that specifies it; both give equal results.

        Returns:
            `Result`: scores, predictions, the last layer's output, the codes of every layer, and the state.

        Raises:
            TypeError: for an input that holds no numbers.
            ValueError: for other shapes, fractions, values out of range, a state of another network or batch, or so
                many steps that scores could overflow 64 bits.
        """
        from squat.integer.engine import run

        return run(self, x, state, implementation)

    def run_events(
        self, times: Any, units: Any, steps: int, state: State | None = None, *, signs: Any = None,
        implementation: str = "compiled",
    ) -> Result:  # fmt: skip
        """Run one sample given as a list of events, described in `squat.integer.events.event_steps`.

        Raises:
            TypeError, ValueError: as there and as `run`.
        """
        from squat.integer.events import event_steps

        x = event_steps(times, units, steps, math.prod(self.input_shape), signs)
        return self.run(x.reshape(steps, 1, *self.input_shape), state, implementation=implementation)

    def step(self, x: Any, state: State | None = None, *, implementation: str = "compiled") -> Result:
        """One time step: `x [B, *input_shape]` and the state of the step before; the result's scores are summed so far.

        Raises:
            TypeError, ValueError: as `run`.
        """
        from squat.integer.engine import step

        return step(self, x, state, implementation)

    def skip(self, steps: int, state: State | None = None, *, batch: int = 1) -> State:
        """The state after `steps` steps without input, exactly as if each had been run.

        Where nothing fires and no silent step leads to a spike, all of them together are a few look-ups: without input
        a step is a map from code to code, and its powers are found by doubling. For streams of rare events. Neurons
        of several states are stepped.

        Args:
            steps: how many, >= 0.
            state: to go on from, or None to begin.
            batch: samples, if there is no state.

        Raises:
            TypeError, ValueError: for other numbers of steps, a state of another network, or scores that could
                overflow 64 bits.

        Example:
            >>> import squat
            >>> layer = squat.RLIF(3, 2, weight=squat.IntWeight(4), state=squat.Anchored(4))
            >>> squat.lower(squat.Sequential(layer)).skip(1000).steps
            1000
        """
        from squat.integer.engine import check_state
        from squat.integer.silent import skip

        check_int("steps", steps, 0)
        check_state(self, state, check_int("batch", batch, 1) if state is None else None)
        return skip(self, state, steps, batch)

    def save(self, path: Path | str, metadata: Mapping[str, Any] | None = None, *, overwrite: bool = False) -> None:
        """Write the network, with its certificate, to one file; `squat.integer.load` reads it. Nothing in it is run.

        Args:
            path: of the file, usually ending in `.safetensors`; its folder must exist.
            metadata: JSON values to keep with the network, read back by `squat.integer.read_metadata`.
            overwrite: replace an existing file.

        Raises:
            TypeError: if metadata are not JSON values.
            ValueError: if the file exists and `overwrite` is False, or the folder does not.
        """
        from squat.integer.format import save

        save(self, path, metadata, overwrite)

    def report(self, x: Any = None) -> Report:
        """Sizes at real bit widths beside float32 and int16-state baselines; with inputs, activity and energy too.

        Args:
            x: `[T, B, *input_shape]` as for `run`, or None.

        Raises:
            TypeError, ValueError: as `run`.
        """
        from squat.integer.report import report

        return report(self, x)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the network computes with."""
        digest = hashlib.sha256()
        for text, values in self._parts():
            digest.update(f"\n{text}".encode())
            if values is not None:
                digest.update(f" {values.dtype} {values.shape}\n".encode())
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def _parts(self) -> Iterator[tuple[str, np.ndarray | None]]:
        machines = [layer.neurons for layer in self.neuron_layers]
        with_states: list[Any] = []
        for machine in machines:
            with_states += [machine, *machine.states] if isinstance(machine, States) else [machine]
        for part in (*self.layers, *with_states, self.readout):
            if isinstance(part, States):  # so that no other machine has the same parts in the same order
                yield ", ".join(type(state).__name__ for state in part.states), None
            if part is not None:
                for name, value in vars(part).items():
                    known = name in part.__dataclass_fields__ and name not in PARTS_OF_THEIR_OWN
                    if known and (name != "input_min" or value):  # so that unsigned networks keep their fingerprint
                        plain = not isinstance(value, np.ndarray)
                        yield (f"{name}={value!r}", None) if plain else (name, value)
