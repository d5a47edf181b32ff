"""`quantize_` and `dequantize_`: swap the weight and state specs of a network in place, and say what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from squat.checks import check_type
from squat.layers.sequential import Sequential
from squat.models.network import Network
from squat.models.quantize_report import Change, QuantizationReport
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.text import brief

Filter = Callable[[str, nn.Module], bool]
Specs = Any
"""One spec for all layers, or a mapping from name patterns to specs, or None."""


@dataclass(frozen=True)
class Part:
    """What can be quantized in a layer: the name in messages, the spec's type, and where the layer keeps it."""

    name: str
    kind: type
    accepted: str
    attribute: str
    setter: str

    __repr__ = brief


WEIGHTS = Part("weights", IntWeight, "an IntWeight", "weight_spec", "set_weight_spec")
STATES = Part("states", StateSpec, "a state spec such as Anchored(4)", "state_spec", "set_state_spec")
PARTS = (WEIGHTS, STATES)


@dataclass(frozen=True)
class Slot:
    """One place for a spec: the weights of a layer, the state of a neuron, or a further state of it.

    Further states (the `current_state` of a neuron with a synaptic current) are named after the layer, "1.current", and
    follow its membrane while they are `"same"`; only patterns that end in their name mean them.
    """

    name: str
    layer: Any
    part: Part
    attribute: str

    __repr__ = brief

    @property
    def main(self) -> bool:
        """Whether it is the layer's first one of its kind."""
        return self.attribute == self.part.attribute

    @property
    def spec(self) -> Any:
        """What it holds: a spec, None for float, or "same"."""
        return getattr(self.layer, self.attribute)

    def fits(self, pattern: str) -> bool:
        """Whether a pattern means it."""
        own = self.main or pattern.endswith(self.name[self.name.rindex(".") :])
        return own and fnmatchcase(self.name, pattern)

    def put(self, spec: Any) -> None:
        """Give it a spec."""
        if self.main:
            getattr(self.layer, self.part.setter)(spec)
        else:
            before = self.spec
            setattr(self.layer, self.attribute, spec)
            try:
                self.layer.set_state_spec(self.layer.state_spec)  # levels follow
            except ValueError:
                setattr(self.layer, self.attribute, before)
                raise


Wanted = tuple[Slot, Any]
"""A place, and the spec that it shall have."""


def quantize_(
    net: nn.Module, *, weights: Specs = None, states: Specs = None, filter_fn: Filter | None = None
) -> QuantizationReport:
    """Give the layers of a network weight specs and state specs, in place; the float weights stay as masters.

    A layer is named by where it stands: "0", "1", ... in a `Sequential` or `Network`, "encoder.fc1" in a module of your
    own. A mapping goes from patterns (`*`, `?`) of names to specs, and the first pattern that fits decides; layers that
    none fits stay as they are. So mixed precision is `weights={"0": IntWeight(8), "*": IntWeight(4)}`. A layer that
    already has its spec is not touched, so a second call changes nothing. Further states of a neuron have names too,
    `states={"1.current": Uniform(4, 1.0, 1.0), "*": Uniform(4)}`, and follow its membrane otherwise.

    Args:
        net: any module that holds layers and neurons of squat.
        weights: an `IntWeight` for every layer with weights, or a mapping; in a mapping None means float weights.
        states: a state spec for every layer of neurons, or a mapping; in a mapping None means float states.
        filter_fn: `filter_fn(name, layer)` says whether a layer takes part; together with one spec, not a mapping.

    Returns:
        The report; its text is a table.

    Raises:
        TypeError: for arguments of the wrong type.
        ValueError: nothing to do; a pattern that decides for no layer; a filter that leaves no layer, or beside a
            mapping; float states for a neuron with `initial="code_of_zero"`. The network is then unchanged.

    Example:
        >>> from squat import LIF, Anchored, IntWeight, Linear, Sequential
        >>> net = Sequential(Linear(8, 4), LIF(), Linear(4, 2), LIF())
        >>> quantize_(net, weights={"0": IntWeight(8), "*": IntWeight(4)}, states=Anchored(4))
        layer  class   part     before  after
        0      Linear  weights  float   IntWeight(bits=8, granularity='tensor', scale='mse')
        1      LIF     states   float   Anchored(bits=4, low=None, high=None, base=None, decay='free')
        2      Linear  weights  float   IntWeight(bits=4, granularity='tensor', scale='mse')
        3      LIF     states   float   Anchored(bits=4, low=None, high=None, base=None, decay='free')
    """
    check_type("net", net, nn.Module, "a network of squat, or a module that holds layers of squat")
    if weights is None and states is None:
        raise ValueError("weights=None, states=None: expected a spec; to go back to float use squat.dequantize_(net)")
    if filter_fn is not None and any(isinstance(specs, Mapping) for specs in (weights, states)):
        raise ValueError("filter_fn beside a mapping: expected one of them; a mapping chooses layers by name already")
    layers = _layers_of(net)
    chosen = {name: layer for name, layer in layers.items() if filter_fn is None or filter_fn(name, layer)}
    if not chosen:
        raise ValueError(f"filter_fn: true for no layer; there are {_listed(layers)}")
    wanted: list[Wanted] = []
    for part, specs in ((WEIGHTS, weights), (STATES, states)):
        if specs is not None:
            wanted += _assigned(part, specs, chosen)
    return _apply(layers, wanted)


def dequantize_(net: nn.Module) -> QuantizationReport:
    """Float weights and float states again, in place: the weights are the masters that training has kept.

    Args:
        net: any module that holds layers and neurons of squat.

    Returns:
        The report; its text is a table.

    Raises:
        TypeError: if `net` is no module.
        ValueError: for a neuron with `initial="code_of_zero"`, which float states do not know.

    Example:
        >>> from squat import LIF, Anchored, IntWeight, Linear, Sequential
        >>> net = Sequential(Linear(8, 4, weight=IntWeight(4)), LIF(state=Anchored(4)))
        >>> [(row.part, row.before.bits, row.after) for row in dequantize_(net).rows]
        [('weights', 4, None), ('states', 4, None)]
    """
    check_type("net", net, nn.Module, "a network of squat, or a module that holds layers of squat")
    layers = _layers_of(net)
    return _apply(layers, [(slot, None) for slot in _slots_of(layers) if slot.spec != "same"])


def named_layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every layer with a weight or state spec, by the name that `quantize_` knows it under.

    Example:
        >>> from squat import LIF, Linear, Sequential
        >>> [name for name, _ in named_layers(nn.ModuleDict({"body": Sequential(Linear(2, 2), LIF())}))]
        ['body.0', 'body.1']
    """
    if hasattr(module, "set_weight_spec") or hasattr(module, "set_state_spec"):
        yield prefix, module
        return
    stack = module.layers if isinstance(module, Network) else module
    children = stack.layers if isinstance(stack, Sequential) else stack
    for name, child in children.named_children():
        yield from named_layers(child, f"{prefix}.{name}" if prefix else name)


def _layers_of(net: nn.Module) -> dict[str, Any]:
    layers = dict(named_layers(net))
    if not layers:
        raise ValueError(
            f"net has no layer of squat: {type(net).__name__} has nothing to quantize; squat.from_snntorch converts a "
            "network of snnTorch"
        )
    return layers


def _slots_of(layers: Mapping[str, Any]) -> list[Slot]:
    """Every place for a spec, in the order of the layers."""
    slots = []
    for name, layer in layers.items():
        slots += [Slot(name, layer, part, part.attribute) for part in PARTS if hasattr(layer, part.setter)]
        for argument in dict.fromkeys(getattr(layer, "spec_arguments", ())):
            slots.append(Slot(f"{name}.{argument.removesuffix('_state')}", layer, STATES, argument))
    return slots


def _assigned(part: Part, specs: Specs, layers: Mapping[str, Any]) -> list[Wanted]:
    """The places that get a spec, and which."""
    slots = [slot for slot in _slots_of(layers) if slot.part is part]
    if not slots:
        raise ValueError(f"{part.name}: no layer has {part.name} to quantize; there are {_listed(layers)}")
    if not isinstance(specs, Mapping):
        check_type(part.name, specs, part.kind, f"{part.accepted}, or a mapping from layer names to specs")
        return [(slot, specs) for slot in slots if slot.main]
    for pattern, spec in specs.items():
        check_type(f"{part.name}[{pattern!r}]", spec, (part.kind, type(None)), f"{part.accepted}, or None for float")
    decided = {slot: next((pattern for pattern in specs if slot.fits(pattern)), None) for slot in slots}
    for pattern in specs:
        if pattern not in decided.values():
            raise ValueError(
                f"{part.name}[{pattern!r}]: decides for no layer with {part.name}; the first pattern that fits a name "
                f"counts, and the names are {', '.join(slot.name for slot in slots)}"
            )
    return [(slot, specs[pattern]) for slot, pattern in decided.items() if pattern is not None]


def _apply(layers: Mapping[str, Any], wanted: list[Wanted]) -> QuantizationReport:
    """All or nothing: weights, whose scales would be lost, come last, and what they would refuse is found before."""
    specs = dict(wanted)
    for slot, spec in wanted:
        if slot.part is WEIGHTS and spec is not None:
            _check_finite(slot)
    slots = _slots_of(layers)
    rows = [Change(s.name, type(s.layer).__name__, s.part.name, s.spec, specs.get(s, s.spec)) for s in slots]
    changed = [(slot, row) for slot, row in zip(slots, rows, strict=True) if row.changed]
    done: list[tuple[Slot, Change]] = []
    try:
        for slot, row in sorted(changed, key=lambda pair: pair[0].part is WEIGHTS):
            slot.put(row.after)
            done.append((slot, row))
    except ValueError as error:
        for before, row in done:
            before.put(row.before)
        raise ValueError(f"layer {slot.name} ({type(slot.layer).__name__}): {error}") from error
    return QuantizationReport(tuple(rows))


def _check_finite(slot: Slot) -> None:
    for parameter in slot.layer.parameters(recurse=False):
        if not bool(parameter.isfinite().all()):
            raise ValueError(
                f"layer {slot.name} ({type(slot.layer).__name__}): NaN or infinity in its weights; the training has "
                "diverged, or the weights that were loaded are damaged"
            )


def _listed(layers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(layer).__name__})" for name, layer in layers.items())
