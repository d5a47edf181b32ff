"""Whether a product with spikes adds rows or multiplies: by measured density, or as forced; the choices can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from squat.checks import check_choice

PRODUCTS = ("auto", "rows", "dense")


class Choice(NamedTuple):
    """One product: `"forward"` or `"weight gradient"`, the share of inputs that spiked, `"rows"` or `"dense"`."""

    product: str
    density: float
    chosen: str


_forced: ContextVar[tuple[str, list[Choice]] | None] = ContextVar("squat_products", default=None)


@contextmanager
def products(name: str = "auto") -> Iterator[list[Choice]]:
    """Force how products with spikes are computed inside a `with` block, and see what was chosen.

    It concerns layers with integer weights whose inputs are zeros and ones, on the CPU. Sums are equal either way;
    weight gradients are rounded differently. Other inputs always take the dense product.

    Args:
        name: `"auto"` (by the share of inputs that spike), `"rows"` (add a row of weights for every spike) or
            `"dense"` (multiply).

    Yields:
        A list to which every product appends its `Choice`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> import torch
        >>> from squat import IntWeight, Linear
        >>> spikes = (torch.rand(50, 8, 700) < 0.05).float()
        >>> with products() as choices:
        ...     current = Linear(700, 256, weight=IntWeight(4))(spikes)
        >>> choices[0].product, choices[0].chosen
        ('forward', 'rows')
    """
    choices: list[Choice] = []
    token = _forced.set((check_choice("name", name, PRODUCTS), choices))
    try:
        yield choices
    finally:
        _forced.reset(token)


def adds_rows(product: str, density: float, limit: float) -> bool:
    """Whether a product with this density of spikes adds rows, which pays up to `limit`."""
    forced = _forced.get()
    name, choices = forced or ("auto", None)
    rows = density <= limit if name == "auto" else name == "rows"
    if choices is not None:
        choices.append(Choice(product, density, "rows" if rows else "dense"))
    return rows
