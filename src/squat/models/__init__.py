"""Networks: configs, `build_network`, readouts, and predictions from scores."""

from __future__ import annotations

from squat.models.build import build_network
from squat.models.config import ARCHITECTURES, NetworkConfig
from squat.models.network import Network
from squat.models.readout import (
    READOUT_NAMES,
    READOUTS,
    AccumulatedCurrent,
    MaxMembrane,
    MeanMembrane,
    Readout,
    SpikeCount,
    predict,
    readout_from_json,
    tied,
)

__all__ = [
    "ARCHITECTURES",
    "READOUTS",
    "READOUT_NAMES",
    "AccumulatedCurrent",
    "MaxMembrane",
    "MeanMembrane",
    "Network",
    "NetworkConfig",
    "Readout",
    "SpikeCount",
    "build_network",
    "predict",
    "readout_from_json",
    "tied",
]
