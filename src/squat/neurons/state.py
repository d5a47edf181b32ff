"""The states that neurons carry from one call to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from squat.text import brief


class LIFState(NamedTuple):
    """Membrane at the end of a sequence; pass it to the next call to continue.

    Attributes:
        u: membrane `[B, ...]`; for quantized states `level[codes]`. Gradients of the carried state mean this tensor.
        codes: state codes, uint8 `[B, ...]`, or None for float states. They decide; `u` carries the gradient.
        fresh: no step has run yet: the first step has neither leak nor reset, as with snnTorch's zero membrane.
        rest: None, or of neurons with `refractory` or without `reset_delay` the steps of rest left `[B, ...]`.
        reset: None, or of the same neurons 1 where the last step began with a reset, else 0.
    """

    u: Tensor
    codes: Tensor | None = None
    fresh: bool = False
    rest: Tensor | None = None
    reset: Tensor | None = None

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> LIFState:
        """The state without its history, for truncated backpropagation through time."""
        return self._replace(u=self.u.detach())


# So that an exported network can be saved; torch has no public function for named tuples.
_register_namedtuple(LIFState, serialized_type_name="squat.LIFState")


class LSTMState(NamedTuple):
    """Hidden and cell state of a `SpikingLSTM` at the end of a sequence; pass it to the next call to continue.

    Attributes:
        u: hidden state `[B, N]`, the membrane that fires; for quantized states `level[codes]`.
        cell: cell state `[B, N]`.
        codes: codes of the hidden state, uint8 `[B, N]`, or None for a float one. The values decide.
        cell_codes: codes of the cell state, or None.
    """

    u: Tensor
    cell: Tensor
    codes: Tensor | None = None
    cell_codes: Tensor | None = None

    def __repr__(self) -> str:
        return brief(self)

    def detach(self) -> LSTMState:
        """The state without its history, for truncated backpropagation through time."""
        return self._replace(u=self.u.detach(), cell=self.cell.detach())


_register_namedtuple(LSTMState, serialized_type_name="squat.LSTMState")


def codes_of(state: Any) -> list[Tensor]:
    """The codes that a neuron's state holds, in the order in which its states are updated; none for None.

    Of a tuple, as `Sequential` and `Residual` return them: those of all its neurons, in order.

    Example:
        >>> import torch
        >>> len(codes_of(LIFState(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.uint8))))
        1
    """
    if type(state) is tuple:
        return [codes for part in state for codes in codes_of(part)]
    fields = getattr(state, "_fields", ())
    names = [*(name for name in fields if name.endswith("_codes")), *(name for name in fields if name == "codes")]
    return [codes for codes in (getattr(state, name) for name in names) if codes is not None]
