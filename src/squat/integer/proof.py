"""`prove`: training loop and engine have the same integer cuts, so they are the same function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

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
from squat.layers import Conv2d, Linear
from squat.layers.residual import Residual
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.neurons import RLIF, ConvRLIF, LIFState
from squat.neurons.base import Neuron
from squat.neurons.lif import per_element
from squat.neurons.several import SeveralStates
from squat.neurons.state import codes_of
from squat.ops import current_backend
from squat.ops.conv_rlif import conv_rlif_integer
from squat.ops.lif import lif
from squat.ops.product import FLOAT32_EXACT


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
            largest = machine.largest[index - 1] if index else machine.input_max
            # Maxima hide small sums, so those below a pool are compared by themselves too.
            for pooled in (True,) if layer.pool is None else (False, True):
                part = layer if pooled else replace(layer, pool=None, neurons=None, recurrent=None)
                compared, difference = compare_sums(part, other.sums(index, pooled), largest)
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


def training_steps(net: Network | Sequential, layers: list[Layer]) -> list[Any]:
    """The neurons of every layer of the trained network as black boxes, in order."""
    steps: list[Any] = []
    weights: Any = None
    for module in _leaves(net.layers if isinstance(net, Network) else net):
        weights = module if isinstance(module, Linear | Conv2d) else weights
        several = isinstance(module, SeveralStates)
        if isinstance(module, RLIF) and len(steps) < len(layers):
            steps.append(_recurrent_states(module) if several else _recurrent_step(module))
        elif isinstance(module, Neuron) and weights is not None and len(steps) < len(layers):
            # Pooled sums, like others, are sums of the layer's range.
            make: Any = _elementwise_states if several else _elementwise_step
            make = _image_step if isinstance(module, ConvRLIF) else make
            steps.append(make(weights, module, probe(layers[len(steps)]).output_shape))
    return steps


def _leaves(stack: Sequential) -> Iterator[Any]:
    """The modules in order, those of branches too."""
    for module in stack.layers:
        if isinstance(module, Residual):
            yield from _leaves(module.body)
        else:
            yield module


def _elementwise_step(module: Linear | Conv2d, neuron: nn.Module, shape: tuple[int, ...]) -> Step:
    kernel = module.kernel_size if isinstance(module, Conv2d) else ()
    current = module(module.weight.new_zeros(1, 1, module.weight.shape[1], *kernel))  # for its scale, bias and bound

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, current.z.dtype, int(current.bound)).reshape(1, len(z), *shape)
        state = None if codes is None else _state(neuron, codes, sums[0])
        out, after = neuron(current._replace(z=sums), state)
        return _bytes(after.codes, len(z)), _spikes(neuron, out, len(z))

    return step


def _image_step(module: Conv2d, neuron: ConvRLIF, shape: tuple[int, ...]) -> Step:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    current = module(module.weight.new_zeros(1, 1, module.weight.shape[1], *module.kernel_size))
    weight, _, bias, bound = neuron.integer_layer(current)
    options: dict[str, Any] = {"bound": bound, "weight": torch.zeros_like(weight), "image": shape}
    options |= {name: per_element(value, (1, 1, *shape)) for name, value in (("scale", current.scale), ("bias", bias))}

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, current.z.dtype, bound)[None]
        start = neuron._start(None if codes is None else _state(neuron, codes, sums[0]), sums.shape[1:], sums.dtype)
        beta, config = neuron.decay().to(sums.dtype), neuron.loop_config(True)
        out, _, after = conv_rlif_integer(sums, beta, neuron.threshold, config=config, **options, **start)
        return _bytes(after, len(z)), _spikes(neuron, out, len(z))

    return step


def _recurrent_step(module: RLIF) -> Step:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    w_in, w_rec, scale, bias, bound = module.integer_layer()
    options: dict[str, Any] = {"scale": scale, "bias": bias, "sum_bound": bound, "exact": True}
    options["w_rec"] = None if w_rec is None else torch.zeros_like(w_rec)

    def step(z: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        sums = _sums(z, w_in.dtype, bound)[None]
        start = module._start(None if codes is None else _state(module, codes, sums[0]), sums.shape[1:], sums.dtype)
        beta, config = module.decay().to(sums.dtype), module.loop_config(True)
        out, _, after = lif(sums, beta, module.threshold, config, steps=1, **start, **options)
        return _bytes(after, len(z)), _spikes(module, out, len(z))

    return step


def _elementwise_states(module: Linear | Conv2d, neuron: Any, shape: tuple[int, ...]) -> JointStep:
    kernel = module.kernel_size if isinstance(module, Conv2d) else ()
    current = module(module.weight.new_zeros(1, 1, module.weight.shape[1], *kernel))  # for its scale, bias and bound

    def run(sums: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return neuron(current._replace(z=sums.reshape(1, sums.shape[1], *shape)), state)

    return _joint_step(neuron, run, current.z.dtype, int(current.bound), shape)


def _recurrent_states(module: Any) -> JointStep:
    # What `forward` hands its loop, with the sums replaced and recurrent weights of zero.
    w_in, w_rec, scale, bias, bound = module.integer_layer()
    options: dict[str, Any] = {"scale": scale, "bias": bias, "sum_bound": bound, "exact": True}
    options["w_rec"] = torch.zeros_like(w_rec)

    def run(sums: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return module._through_time(sums, state, sums.shape[1:], 1, True, **options)

    return _joint_step(module, run, w_in.dtype, bound, (module.features,))


def _joint_step(neuron: Any, run: Any, dtype: torch.dtype, bound: int, shape: tuple[int, ...]) -> JointStep:
    """A trained neuron of several states, given by one step of its loop, as a black box."""

    def step(z: np.ndarray, codes: tuple[np.ndarray, ...] | None) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        sums = _sums(z, dtype, bound)[None]
        state = None if codes is None else neuron.state_of_codes(
            [torch.from_numpy(np.ascontiguousarray(own)).reshape(len(z), *shape) for own in codes], sums.dtype
        )  # fmt: skip
        out, after = run(sums, state)
        return tuple(_bytes(own, len(z)) for own in codes_of(after)), _spikes(neuron, out, len(z))

    return step


def _sums(z: np.ndarray, dtype: torch.dtype, bound: int) -> torch.Tensor:
    """Sums as the loop takes them; in float64 where float32 would round them."""
    return torch.from_numpy(z).to(dtype if bound < FLOAT32_EXACT else torch.float64)


def _state(neuron: Any, codes: np.ndarray, like: torch.Tensor) -> LIFState:
    rows = torch.from_numpy(codes).reshape(-1, *[1] * (like.dim() - 1)).expand(like.shape).contiguous()
    return LIFState(neuron.levels[rows.long()].to(like.dtype), rows)


def _bytes(codes: torch.Tensor | None, rows: int) -> np.ndarray:
    if codes is None:
        raise ValueError("the trained neuron has no codes; train it with a state spec")
    return codes.reshape(rows, -1).numpy()


def _spikes(neuron: Any, out: torch.Tensor, rows: int) -> np.ndarray:
    spikes = out if neuron.spiking else torch.zeros_like(out)
    return spikes.reshape(rows, -1).to(torch.uint8).numpy()
