"""Granularity of parameters: one for a layer, one per channel, or one per neuron; tied as their shape says.

A parameter has the shape `[]` or `[1]` (one for all), `[N]` (one per neuron, flattened), or the axes of one step, each
with its length or 1, as torch broadcasts them: `[C, 1, 1]` is one per channel of images, `[C, H, W]` one per neuron.
What is learned is what this shape holds: gradients are summed over the neurons that share a value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from squat.checks import check_type

SHAPES = "one per channel such as [C, 1, 1], or one per neuron"


def checked_values(
    name: str, value: Sequence[float] | Tensor, accepted: str, dtype: torch.dtype | None = None
) -> Tensor:
    """Values for several neurons, as a new tensor; lists, which may be nested, in `dtype`."""
    check_type(name, value, (Tensor, Sequence), accepted)
    try:
        values = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(list(value), dtype=dtype)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: expected {accepted}, as numbers in lists of equal lengths") from error
    if not values.is_floating_point() or values.numel() == 0:
        raise ValueError(f"{name}: {values.dtype} of shape {tuple(values.shape)}, expected {accepted}")
    return values


def over_neurons(name: str, value: Tensor, shape: Sequence[int]) -> Tensor:
    """A parameter for every neuron, `[N]`; as it is if there is one for all, or `[N]` already.

    Args:
        name: for messages.
        value: the parameter.
        shape: of one step, without the batch.

    Raises:
        ValueError: if the parameter is not of such neurons.

    Example:
        >>> over_neurons("beta", torch.tensor([[0.5], [0.9]]), (2, 3))
        tensor([0.5000, 0.5000, 0.5000, 0.9000, 0.9000, 0.9000])
    """
    neurons = math.prod(shape)
    if value.numel() == 1 or (value.dim() == 1 and value.numel() == neurons):
        return value if value.dim() <= 1 else value.reshape(())
    if value.dim() != len(shape) or any(own not in (1, size) for own, size in zip(value.shape, shape, strict=False)):
        raise ValueError(
            f"{name}: {value.numel()} values of shape {tuple(value.shape)} for an input of {neurons} neurons "
            f"{tuple(shape)}; expected one, {SHAPES}"
        )
    return value.expand(shape).reshape(-1)


def rows_of(values: Sequence[Tensor], shape: Sequence[int]) -> int:
    """How many rows a table of neurons with these parameters needs: 1, one per channel, or one per neuron.

    Example:
        >>> rows_of([torch.ones(()), torch.ones(2, 1, 1)], (2, 3, 3)), rows_of([torch.ones(1, 3, 3)], (2, 3, 3))
        (2, 18)
    """
    several = [value.shape for value in values if value.numel() > 1]
    if not several:
        return 1
    return shape[0] if all(own.numel() == shape[0] == own[0] for own in several) else math.prod(shape)
