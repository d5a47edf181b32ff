"""Post-training quantization: weights by their scale rule, states on published, calibrated or fitted levels."""

from squat.ptq.calibrate import STATE_RANGES, calibrate
from squat.ptq.compare import compare
from squat.ptq.comparison import Comparison
from squat.ptq.distance import van_rossum
from squat.ptq.histogram import StreamingHistogram
from squat.ptq.limits import fit_limits, quantization_error, with_range
from squat.ptq.lloyd_max import lloyd_max
from squat.ptq.ranges import RANGE_RULES
from squat.ptq.report import CalibrationReport, StateReport, WeightReport
from squat.ptq.shape import fit_shape

__all__ = [
    "RANGE_RULES",
    "STATE_RANGES",
    "CalibrationReport",
    "Comparison",
    "StateReport",
    "StreamingHistogram",
    "WeightReport",
    "calibrate",
    "compare",
    "fit_limits",
    "fit_shape",
    "lloyd_max",
    "quantization_error",
    "van_rossum",
    "with_range",
]
