"""Post-training quantization: weights by their scale rule, states on a published or a calibrated range."""

from squat.ptq.calibrate import STATE_RANGES, calibrate
from squat.ptq.histogram import StreamingHistogram
from squat.ptq.limits import fit_limits, quantization_error, with_range
from squat.ptq.report import CalibrationReport, StateReport, WeightReport

__all__ = [
    "STATE_RANGES",
    "CalibrationReport",
    "StateReport",
    "StreamingHistogram",
    "WeightReport",
    "calibrate",
    "fit_limits",
    "quantization_error",
    "with_range",
]
