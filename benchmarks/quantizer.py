"""The state quantizer alone: `squat.quantize_state` against snnTorch's `state_quant`, threshold-centred levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import cases, published


def quantizer(bits: int, stack: str) -> Callable[[Tensor], Tensor]:
    if stack == cases.SQUAT:
        import squat

        spec = squat.ThresholdCentered(bits)
        return lambda x: squat.quantize_state(x, spec)
    snntorch, _ = published.load_libraries(brevitas=False)
    return snntorch.functional.quant.state_quant(num_bits=bits, uniform=False)


def values(settings: dict[str, Any]) -> Tensor:
    return torch.randn(settings["values"], generator=torch.Generator().manual_seed(0))


def build(settings: dict[str, Any], measure: str, stack: str) -> Callable[[], object]:
    """Forward and backward of one tensor."""
    del measure
    return forward_and_backward(quantizer(settings["bits"], stack), values(settings))


def forward_and_backward(quantize: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    x, gradient = x.requires_grad_(), torch.ones_like(x)

    def run() -> None:
        x.grad = None
        quantize(x).backward(gradient)

    return run


def check(settings: dict[str, Any]) -> dict[str, bool]:
    """Values and gradients must equal snnTorch's."""
    outcomes = []
    for stack in (cases.SQUAT, cases.FLOAT):
        x = values(settings)[:100_000].requires_grad_()
        y = quantizer(settings["bits"], stack)(x)
        y.sum().backward()
        outcomes.append((y.detach(), x.grad))
    (ours, our_gradient), (theirs, their_gradient) = outcomes
    return {
        "values equal snnTorch's": torch.equal(ours, theirs),
        "gradients equal snnTorch's": torch.equal(our_gradient, their_gradient),
    }
