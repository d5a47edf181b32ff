"""Lists that contract tests run over: a new spec, surrogate, neuron or backend is one row here, and inherits them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

import squat
from squat import ops
from squat.quant.spec import STATE_SPECS as SPEC_CLASSES
from squat.surrogate import SURROGATES as SURROGATE_CLASSES
from squat.surrogate import Surrogate

BITS = range(1, 9)

STATE_SPECS: list[squat.StateSpec] = [
    *(cls(bits) for cls in SPEC_CLASSES.values() for bits in BITS),
    squat.Uniform(4, lower_limit=0.5, upper_limit=1.0),
    squat.ThresholdCentered(4, base=0.8),
    squat.ZeroCentered(3, base=0.6, upper_limit=0.5),
    squat.Anchored(4, decay="at_least_one_code"),
    squat.Fitted(2, (-0.7, 0.05, 0.9, 1.1)),
    squat.Fitted(3, (-2.0, -0.4, 0.0, 0.3, 0.5, 1.0, 1.25, 3.0), firing="threshold"),
]
"""Every registered spec at every width, and some off their defaults."""

SURROGATES: list[Surrogate] = [cls() for cls in SURROGATE_CLASSES.values()]

NEURONS: dict[str, Callable[..., nn.Module]] = {
    "LIF": lambda features, **keywords: squat.LIF(**keywords),
    "LIF that rests": lambda features, **keywords: squat.LIF(refractory=2, **keywords),
    "LIF without delay": lambda features, **keywords: squat.LIF(reset_delay=False, **keywords),
    "LI": lambda features, **keywords: squat.LI(**keywords),
    "RLIF": lambda features, **keywords: squat.RLIF(features, features, **keywords),
    "RLIF, one to one": lambda features, **keywords: squat.RLIF(
        features, features, recurrence="one_to_one", **keywords
    ),
    "RLIF with both options": lambda features, **keywords: squat.RLIF(
        features, features, refractory=1, reset_delay=False, **keywords
    ),
    "SpikingLSTM": lambda features, beta=None, **keywords: squat.SpikingLSTM(features, features, **keywords),
    "Lapicque": lambda features, beta=0.9, **keywords: squat.Lapicque(beta, **keywords),
    "CubaLIF": lambda features, **keywords: squat.CubaLIF(**keywords),
    "RCubaLIF": lambda features, **keywords: squat.RCubaLIF(features, features, **keywords),
    "AlphaLIF": lambda features, **keywords: squat.AlphaLIF(**keywords),
    "ALIF": lambda features, **keywords: squat.ALIF(**keywords),
    "RALIF": lambda features, **keywords: squat.RALIF(features, features, **keywords),
}
"""`make(features, **keywords)` gives a neuron that maps `[T, B, features]` to `[T, B, features]`."""

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton: pip install 'squat-snn[gpu]'")

BACKENDS = [pytest.param(name, marks=needs_triton if name == "gpu" else ()) for name in ops.BACKENDS]
"""Every backend by name, for `pytest.mark.parametrize`."""

DEVICES = {name: "cuda" if name == "gpu" and torch.cuda.is_available() else "cpu" for name in ops.BACKENDS}
"""Where a backend runs in the tests: without a GPU Triton interprets its kernels on tensors of the CPU."""


def spec_id(spec: Any) -> str:
    """A readable test id, such as `Anchored-4`, or `float` for None."""
    return "float" if spec is None else f"{type(spec).__name__}-{spec.bits}"


def louder(net, factor=3.0):
    """Weights large enough that neurons fire."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "weight" in name:
                value.mul_(factor)
    for module in net.modules():
        if hasattr(module, "set_weight_spec"):
            module.set_weight_spec(module.weight_spec)
    return net.eval()
