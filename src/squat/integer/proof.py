"""`prove`: training loop and engine have the same integer cuts, so they are the same function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from squat.integer.certificate import Certificate, LayerCertificate
from squat.integer.cuts import (
    ENGINES,
    Step,
    dead_codes,
    engine_step,
    integer_cuts,
    next_codes,
    probe,
    reachable_codes,
    starts,
    sum_ranges,
)
from squat.integer.lower import evaluating, lower
from squat.integer.network import IntegerNetwork
from squat.integer.parts import Layer
from squat.integer.states import States
from squat.integer.states_proof import Differs, JointStep, prove_states, states_engine_step
from squat.integer.sums import Sums, compare_sums
from squat.integer.trained import training_steps
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.ops import current_backend
from squat.text import brief


@dataclass(frozen=True)
class Counterexample:
    """A sum for which two implementations differ.

    Attributes:
        layer: name of the layer.
        neuron: index (of the channel, in a convolution).
        code: current code (codes, of several states), or None for the first step.
        z: synaptic sum.
        implementation: the one that differs from training.
        trained, found: the next code and spike, each `(code, spike)`.
    """

    layer: str
    neuron: int
    code: int | tuple[int, ...] | None
    z: int
    implementation: str
    trained: tuple[Any, int]
    found: tuple[Any, int]

    __repr__ = brief

    def __str__(self) -> str:
        current = "at the first step" if self.code is None else f"from code {self.code}"
        return (
            f"layer {self.layer!r}, neuron {self.neuron}, {current}, sum {self.z}: training gives code "
            f"{self.trained[0]}, spike {self.trained[1]}; {self.implementation} gives code {self.found[0]}, spike "
            f"{self.found[1]}"
        )


class NotEqual(ValueError):
    """The proof failed; `counterexample` says where, or is None where weights or readout differ."""

    def __init__(self, text: str, counterexample: Counterexample | None = None) -> None:
        super().__init__(text)
        self.counterexample = counterexample


class Implementation(Protocol):
    """Another implementation of an integer network, such as its compiled C (`squat.export.c99.host.HostMachine`)."""

    def step(self, index: int) -> Step:
        """The neurons of `probe(machine.neuron_layers[index])` as a black box."""

    def sums(self, index: int, pooled: bool = True) -> Sums:
        """The synaptic sums of `machine.layers[index]` as a black box, with the layer's pool or before it."""


def prove(
    net: Network | Sequential,
    machine: IntegerNetwork,
    watch: Callable[[str], None] = lambda name: None,
    others: Mapping[str, Implementation] | None = None,
) -> Certificate:
    """Prove that an integer network computes the codes and spikes of a trained one, for every input.

    For every neuron, code and boundary, the first step included, the integer cut is found by bisection over all
    reachable sums, on the training loop and on each implementation of the machine as black boxes. Weights and readout
    are compared as they are; no accumulator overflows, by bounds. Of further implementations the synaptic sums are
    compared too: those of every input and recurrent spike alone, of none, of all, and of some at random.

    Args:
        net: the trained network, run on the backend in force.
        machine: what `squat.lower` made of it, or what was read from a file.
        watch: called with the name of each layer before its work.
        others: further implementations by name, such as compiled C (`squat.export.c99.host.compile_network`).

    Returns:
        The certificate; it names the implementations that were compared.

    Raises:
        NotEqual: with a counterexample, if a cut or a spike differs; or if sums, weights or the readout do.

    Example:
        >>> import squat
        >>> net = squat.Sequential(squat.Linear(3, 2, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(2)))
        >>> prove(net, squat.lower(net)).cuts  # 2 neurons x (4 codes and the first step) x 3 boundaries
        30
    """
    layers, others = machine.neuron_layers, others or {}
    with torch.no_grad(), evaluating(net):
        boxes = training_steps(net, layers)
        if len(boxes) != len(layers):
            raise NotEqual(f"the trained network has {len(boxes)} layers with neurons, the integer one {len(layers)}")
        certificates = []
        for index, (layer, box) in enumerate(zip(layers, boxes, strict=True)):
            watch(layer.name)
            make: Any = states_engine_step if isinstance(layer.neurons, States) else engine_step
            found = {f"engine ({name})": make(probe(layer), name) for name in ENGINES}
            found |= {name: other.step(index) for name, other in others.items()}
            certificates.append(_prove_layer(layer, box, found))
    _compare_rest(lower(net, machine.input_shape), machine)
    names = (f"training ({current_backend(torch.device('cpu'))})", *(f"engine ({name})" for name in ENGINES))
    sums = sum(_compare_sums(machine, name, other) for name, other in others.items())
    return Certificate(machine.fingerprint, (*names, *others), tuple(certificates), sums)


def _compare_sums(machine: IntegerNetwork, name: str, other: Implementation) -> int:
    """How many sums of an implementation equal those of the weights; raises if one does not."""
    total = 0
    for index, layer in enumerate(machine.layers):
        if isinstance(layer, Layer):
            ends = (machine.largest[index - 1], 0) if index else (machine.input_max, machine.input_min)
            # Maxima hide small sums, so those below a pool are compared by themselves too.
            for pooled in (True,) if layer.pool is None else (False, True):
                part = layer if pooled else replace(layer, pool=None, neurons=None, recurrent=None)
                compared, difference = compare_sums(part, other.sums(index, pooled), *ends)
                if difference:
                    raise NotEqual(f"not equal, in the {name}: {difference}")
                total += compared
    return total


def _prove_layer(layer: Layer, trained: Any, others: Mapping[str, Any]) -> LayerCertificate:
    probed, neurons = probe(layer), layer.neurons
    if isinstance(neurons, States):
        return _prove_states(layer, trained, others)
    if neurons is None:
        raise ValueError(f"{layer.name}: has no neurons")
    low, high = sum_ranges(layer)
    digest, all_cuts = hashlib.sha256(), []
    for codes in starts(neurons.codes, probed.size):
        cuts = integer_cuts(trained, codes, low, high, neurons.codes)
        for name, other in others.items():
            found = integer_cuts(other, codes, low, high, neurons.codes)
            # Where cuts differ, codes differ at the lower one; every code that can follow occurs at a cut or at `low`.
            at_cuts = np.clip(np.minimum(cuts, found), low, high)
            _compare(layer.name, codes, np.insert(at_cuts, 0, low, axis=1), trained, other, name)
        digest.update(cuts.astype("<i8").tobytes())
        all_cuts.append(cuts)
    reached = reachable_codes(np.concatenate(all_cuts), low, high)
    return LayerCertificate(
        name=layer.name,
        neurons=probed.size,
        codes=neurons.codes,
        cuts=probed.size * (neurons.codes + 1) * (neurons.codes - 1),
        shift=neurons.shift,
        accumulator_bits=layer.accumulator_bound.bit_length() + 1,
        lowest_sum=int(low.min()),
        highest_sum=int(high.max()),
        reachable_codes=int(reached.any(1).sum()),
        dead_codes=dead_codes(layer),
        digest=digest.hexdigest(),
    )


def _prove_states(layer: Layer, trained: JointStep, others: Mapping[str, JointStep]) -> LayerCertificate:
    try:
        return prove_states(layer, trained, others)
    except Differs as found:
        example = Counterexample(
            layer.name, found.neuron, found.code, found.z, f"the {found.name}", found.trained, found.found
        )
        raise NotEqual(f"not equal: {example}", example) from None


def _compare(layer: str, codes: np.ndarray | None, z: np.ndarray, trained: Step, other: Step, name: str) -> None:
    """Codes and spikes for sums `[C, K, N]`; raises the first difference."""
    expected, found = np.stack(next_codes(trained, z, codes)), np.stack(next_codes(other, z, codes))
    if np.array_equal(expected, found):
        return
    place = tuple(int(i) for i in np.argwhere((expected != found).any(0))[0])
    pairs = [(int(side[(0, *place)]), int(side[(1, *place)])) for side in (expected, found)]
    code = None if codes is None else int(codes[place[0]])
    example = Counterexample(layer, place[2], code, int(z[place]), f"the {name}", pairs[0], pairs[1])
    raise NotEqual(f"not equal: {example}", example)


def _compare_rest(expected: IntegerNetwork, machine: IntegerNetwork) -> None:
    """Weights, geometry and readout; tables too, which equal cuts alone do not tell apart."""
    if expected.fingerprint != machine.fingerprint:
        raise NotEqual("not equal: the integer network has other weights, tables or another readout than training")
