"""Neurons: parameters, specs, states and checks around the loops of `squat.ops`; no arithmetic."""

from squat.neurons.conv_rlif import ConvRLIF
from squat.neurons.lapicque import Lapicque
from squat.neurons.lif import LI, LIF
from squat.neurons.lstm import SpikingLSTM
from squat.neurons.rlif import RLIF
from squat.neurons.state import LIFState, LSTMState
from squat.neurons.time_constants import sample_beta

NEURONS = {neuron.__name__: neuron for neuron in (LIF, LI, RLIF, ConvRLIF, Lapicque, SpikingLSTM)}
"""Every neuron by class name. A new one is added here and inherits the contract tests."""

__all__ = [
    "LI",
    "LIF",
    "NEURONS",
    "RLIF",
    "ConvRLIF",
    "LIFState",
    "LSTMState",
    "Lapicque",
    "SpikingLSTM",
    "sample_beta",
]
