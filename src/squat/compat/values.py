"""What tensors held while a network ran, and the calls that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from squat.compat.structure import NOTHING, Link

SHAPED = ("zeros_like", "new_zeros", "empty_like", "new_empty", "ones_like", "new_ones")
"""Functions that take the shape of a tensor only."""


@dataclass(eq=False)
class Value:
    """What a tensor held from one write to the next.

    Attributes:
        tensor: the tensor, kept so that its identity stays its own.
        maker: the call that gave it, None for a tensor from outside.
        copy: what it held, where a later reader is compared with it.
        from_input: whether what the network was called with enters it.
        from_layer: whether the output of a layer enters it.
        late: from outside, and first seen after a layer had run: nobody knows what it depends on.
    """

    tensor: Tensor
    maker: Call | None = None
    copy: Tensor | None = None
    from_input: bool = False
    from_layer: bool = False
    late: bool = False


@dataclass(eq=False)
class Call:
    """One call of a layer or function while the network ran.

    Attributes:
        link: which.
        args: its arguments, and by name.
        kwargs: of a function.
        inputs: what its tensors held: what it computes with first, then the states of a neuron.
        outputs: what came out: spikes first, then the states of a neuron.
        writes: what tensors held that it changed in place.
        keeps: it gave back the values of its first tensor.
        number: how many calls came before.
        before, after: the states of a neuron by name.
    """

    link: Link
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    writes: list[Value] = field(default_factory=list)
    keeps: bool = False
    number: int = 0
    before: dict[str, Value] = field(default_factory=dict)
    after: dict[str, Value] = field(default_factory=dict)

    @property
    def is_layer(self) -> bool:
        """Whether it is a module."""
        return self.link.module is not None


@dataclass
class Record:
    """What happened while a network ran.

    Attributes:
        calls: in order.
        results: what its result held.
        escapes: calls that handed values of tensors to Python, with what they read.
    """

    calls: list[Call]
    results: list[Value]
    escapes: list[Call]


def memory(tensor: Tensor) -> int:
    """Where its values lie; tensors that share it change together."""
    return tensor.untyped_storage().data_ptr() if tensor.numel() else -id(tensor)


def same(one: Tensor, other: Tensor) -> bool:
    """Equal values, NaN included."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def made_by(call: Call, tensor: Tensor) -> Value:
    """What a call put into a tensor."""
    inputs = call.inputs[:1] if call.link.name in NOTHING else call.inputs  # x.to(y) takes the type of y only
    layer = call.is_layer or any(value.from_layer for value in inputs)
    read = call.link.name not in SHAPED
    given = read and any(value.from_input for value in inputs)
    return Value(tensor, call, None, given, read and layer, read and any(value.late for value in inputs))


def held(value: Value) -> Tensor:
    """The values as they were read."""
    return value.tensor if value.copy is None else value.copy


def name_of(func: Any) -> str:
    """Of a function, or of the attribute that is read or set."""
    name = getattr(func, "__name__", str(func))
    return getattr(func.__self__, "__name__", name) if name in ("__get__", "__set__") else name


def stamp_of(tensor: Tensor) -> tuple[int, int]:
    """Changes with every write that torch sees; tensors of inference mode count none."""
    return -1 if tensor.is_inference() else tensor._version, memory(tensor)


def alike(before: list[Tensor], after: list[Tensor]) -> bool:
    """One tensor each, of one shape and dtype."""
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) == 1 and all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)
