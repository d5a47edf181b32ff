"""What does not change between calls is computed once: quantized weights, bounds and tables of networks in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Remembered:
    """The last result of a computation, given again while the tensors that it came from are the same and unchanged.

    Only where no gradient is recorded: a call that records one forgets. A tensor counts as changed by what autograd
    counts too: every in-place operation and every replacement of its memory, but not a write through `.data` or through
    an array that shares its memory, nor the step of a fused optimizer. A module therefore also forgets when it is
    switched to training or back, see `forget_all`.

    Example:
        >>> weight, remembered = torch.ones(2), Remembered()
        >>> with torch.no_grad():
        ...     first = remembered((weight,), (), lambda: weight * 2)
        ...     print(remembered((weight,), (), lambda: weight * 2) is first)
        ...     _ = weight.add_(1)
        ...     print(remembered((weight,), (), lambda: weight * 2))
        True
        tensor([4., 4.])
    """

    def __init__(self) -> None:
        self._tensors: tuple[Tensor | None, ...] = ()
        self._seen: tuple[Any, ...] = ()
        self._value: Any = None
        self._memory: list[Tensor | None] = []

    def __call__(
        self, tensors: tuple[Tensor | None, ...], constants: tuple[Any, ...], compute: Callable[[], Any]
    ) -> Any:
        """`compute()`, or its last result.

        Args:
            tensors: everything with values that the result depends on; always the same number.
            constants: the rest, compared by `==`.
            compute: makes the result, which callers must not change.
        """
        if torch.is_grad_enabled() or any(t is not None and t.is_inference() for t in tensors):
            self.forget()
            return compute()  # an inference tensor keeps no count of its changes
        seen = (*constants, *[None if t is None else (t._version, t.data_ptr()) for t in tensors])
        if seen != self._seen or any(a is not b for a, b in zip(tensors, self._tensors, strict=True)):
            self._value = compute()
            self._tensors, self._seen = tensors, seen
            # Memory that is held cannot be given to another tensor, which would then lie at the same address.
            self._memory = [None if t is None else t.detach() for t in tensors]
        return self._value

    def forget(self) -> None:
        """Compute anew next time."""
        self._tensors, self._seen, self._value, self._memory = (), (), None, []

    def __deepcopy__(self, memo: Any) -> Remembered:
        return Remembered()

    def __reduce__(self) -> tuple[Any, ...]:
        return Remembered, ()


def forget_all(module: nn.Module) -> None:
    """Forget what a module remembers itself; its parts are asked by their own `train`."""
    for value in vars(module).values():
        if isinstance(value, Remembered):
            value.forget()
