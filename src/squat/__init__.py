"""squat: spiking neural networks whose weights and neuron states are both low-bit.

Names are loaded on first use, so that `import squat` costs little more than `import torch`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squat import export, integer
    from squat.compat import from_snntorch, to_snntorch
    from squat.files import load, save
    from squat.integer.lower import lower
    from squat.layers import Conv1d, Conv2d, Current, Flatten, Linear
    from squat.layers.checkpoint import checkpoint_over_time
    from squat.layers.heads import Heads
    from squat.layers.residual import Residual
    from squat.layers.sequential import Sequential
    from squat.layers.tap import Membrane, Tap, tapped
    from squat.models import Network
    from squat.models.quantize import dequantize_, quantize_
    from squat.neurons import (
        ALIF,
        LI,
        LIF,
        RALIF,
        RLIF,
        AlphaLIF,
        ConvRLIF,
        CubaLIF,
        Lapicque,
        LIFState,
        LSTMState,
        RCubaLIF,
        SpikingLSTM,
        sample_beta,
    )
    from squat.ptq import calibrate
    from squat.quant import levels
    from squat.quant.encoder import quantize_state
    from squat.quant.spec import Anchored, Fitted, StateSpec, ThresholdCentered, Uniform, ZeroCentered
    from squat.quant.weight import IntWeight
    from squat.surrogate import ATan, Boxcar, FastSigmoid, Sigmoid, Triangular

try:
    __version__ = version("squat-snn")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_MODULES = {"export": "squat.export", "integer": "squat.integer", "levels": "squat.quant.levels"}
_HOME = {
    "StateSpec": "squat.quant.spec",
    "Uniform": "squat.quant.spec",
    "ThresholdCentered": "squat.quant.spec",
    "ZeroCentered": "squat.quant.spec",
    "Anchored": "squat.quant.spec",
    "Fitted": "squat.quant.spec",
    "IntWeight": "squat.quant.weight",
    "quantize_state": "squat.quant.encoder",
    "FastSigmoid": "squat.surrogate",
    "ATan": "squat.surrogate",
    "Sigmoid": "squat.surrogate",
    "Triangular": "squat.surrogate",
    "Boxcar": "squat.surrogate",
    "Current": "squat.layers",
    "Linear": "squat.layers",
    "Conv1d": "squat.layers",
    "Conv2d": "squat.layers",
    "Flatten": "squat.layers",
    "Heads": "squat.layers.heads",
    "Residual": "squat.layers.residual",
    "Tap": "squat.layers.tap",
    "tapped": "squat.layers.tap",
    "Membrane": "squat.layers.tap",
    "Sequential": "squat.layers.sequential",
    "checkpoint_over_time": "squat.layers.checkpoint",
    "LIF": "squat.neurons",
    "LI": "squat.neurons",
    "RLIF": "squat.neurons",
    "CubaLIF": "squat.neurons",
    "RCubaLIF": "squat.neurons",
    "AlphaLIF": "squat.neurons",
    "ALIF": "squat.neurons",
    "RALIF": "squat.neurons",
    "LIFState": "squat.neurons",
    "ConvRLIF": "squat.neurons",
    "Lapicque": "squat.neurons",
    "SpikingLSTM": "squat.neurons",
    "LSTMState": "squat.neurons",
    "sample_beta": "squat.neurons",
    "Network": "squat.models",
    "quantize_": "squat.models.quantize",
    "dequantize_": "squat.models.quantize",
    "calibrate": "squat.ptq",
    "from_snntorch": "squat.compat",
    "to_snntorch": "squat.compat",
    "lower": "squat.integer.lower",
    "save": "squat.files",
    "load": "squat.files",
}

__all__ = [
    "ALIF",
    "LI",
    "LIF",
    "RALIF",
    "RLIF",
    "ATan",
    "AlphaLIF",
    "Anchored",
    "Boxcar",
    "Conv1d",
    "Conv2d",
    "ConvRLIF",
    "CubaLIF",
    "Current",
    "FastSigmoid",
    "Fitted",
    "Flatten",
    "Heads",
    "IntWeight",
    "LIFState",
    "LSTMState",
    "Lapicque",
    "Linear",
    "Membrane",
    "Network",
    "RCubaLIF",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SpikingLSTM",
    "StateSpec",
    "Tap",
    "ThresholdCentered",
    "Triangular",
    "Uniform",
    "ZeroCentered",
    "__version__",
    "calibrate",
    "checkpoint_over_time",
    "dequantize_",
    "export",
    "from_snntorch",
    "integer",
    "levels",
    "load",
    "lower",
    "quantize_",
    "quantize_state",
    "sample_beta",
    "save",
    "tapped",
    "to_snntorch",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = import_module(_MODULES[name])
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'squat' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
