"""Operators that `torch.compile` and `torch.export` keep whole: what depends on values stays inside them.

Eager code calls an implementation directly, since a registered operator costs more than a step of a small network; code
that is being traced holds the operator, with a rule for the shapes of its results.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from squat.kernels.sources import source_hash


def operator(schema: str, shapes: Callable[..., Any], gradient: tuple[Callable[..., Any], ...] | None = None) -> Any:
    """Decorator: registers a function on tensors as the operator `squat::NAME` of its own name.

    Args:
        schema: arguments and results, such as `"(Tensor x, int steps) -> Tensor"`. One without results is a check: it
            raises, and stays in graphs although nothing reads it.
        shapes: from the same arguments to empty tensors like the results.
        gradient: `(setup_context, backward)` as for `torch.autograd.Function`, or None.

    Returns:
        The function, which calls the operator where code is traced and the implementation elsewhere; the operator is
        its attribute `registered`.

    Example:
        >>> @operator("(Tensor x) -> Tensor", torch.empty_like)
        ... def doubled_for_example(x):
        ...     return 2 * x
        >>> doubled_for_example(torch.ones(1)), doubled_for_example.registered(torch.ones(1))
        (tensor([2.]), tensor([2.]))
    """

    def register(run: Callable[..., Any]) -> Any:
        name = run.__name__.lstrip("_")
        registered: Any = torch.library.custom_op(f"squat::{name}", run, mutates_args=(), schema=schema)
        registered.register_fake(_traced(shapes))
        if gradient is not None:
            registered.register_autograd(gradient[1], setup_context=gradient[0])
        if schema.endswith("-> ()"):
            torch.fx.node.has_side_effect(getattr(torch.ops.squat, name).default)

        @wraps(run)
        def call(*arguments: Any) -> Any:
            return registered(*arguments) if torch.compiler.is_compiling() else run(*arguments)

        call.registered = registered  # type: ignore[attr-defined]
        return call

    return register


def _traced(shapes: Callable[..., Any]) -> Callable[..., Any]:
    """`shapes`, which is the first of squat's code that runs where a graph with an operator is compiled."""

    def follow(*arguments: Any, **named: Any) -> Any:
        _mark_compiled_graphs()
        return shapes(*arguments, **named)

    return follow


@cache
def _mark_compiled_graphs() -> None:
    """Let torch's disk cache of compiled graphs follow squat's files.

    It tells graphs by the names of their operators, and would go on running gradients and shapes of an older revision.
    """
    import torch.compiler.config as settings

    if not hasattr(settings, "cache_key_tag"):  # before torch 2.7: then nothing is kept
        import torch._inductor.config as inductor

        inductor.force_disable_caches = True
        return
    settings.cache_key_tag = f"{settings.cache_key_tag}squat-{source_hash()}"


def outside_graphs(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function without an operator, kept out of graphs: a compiled network calls it as it is.

    With `fullgraph=True` torch refuses it. Only where something compiles is torch's compiler loaded.
    """
    return torch.compiler.disable(run) if "torch._dynamo" in sys.modules else run


def no_result(*_: Any) -> None:
    """The `shapes` of a check."""


def as_tensor(bound: int | Tensor) -> Tensor:
    """A bound as operators take it, int64 0-dim."""
    return bound if isinstance(bound, Tensor) else torch.tensor(bound)


@operator("(Tensor x) -> ()", no_result)
def check_finite(x: Tensor) -> None:
    """Refuse NaN and infinity: they are never quantized silently.

    Raises:
        ValueError: `x` holds one.

    Example:
        >>> check_finite(torch.ones(3))
    """
    x = x.detach()
    # One cheap pass: a sum is finite only if every term is; it may overflow, so look closer before refusing.
    if not math.isfinite(x.sum().item()) and not bool(torch.isfinite(x).all()):
        raise ValueError("x contains NaN or infinity: expected finite inputs; clean the batch with torch.nan_to_num")
