"""The loops of LIF neurons whose recurrence is a convolution."""

from squat.ops.conv_rlif.integer import conv_rlif_integer
from squat.ops.conv_rlif.loop import conv_rlif
from squat.ops.conv_rlif.recurrence import Recurrence

__all__ = ["Recurrence", "conv_rlif", "conv_rlif_integer"]
