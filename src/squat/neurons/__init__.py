"""Neurons: parameters, specs, states and checks around the loops of `squat.ops`; no arithmetic."""

from squat.neurons.alif import ALIF, RALIF, ALIFState
from squat.neurons.alpha import AlphaLIF, AlphaState
from squat.neurons.conv_rlif import ConvRLIF
from squat.neurons.cuba import CubaLIF, CubaState, RCubaLIF
from squat.neurons.lapicque import Lapicque
from squat.neurons.lif import LI, LIF
from squat.neurons.lstm import SpikingLSTM
from squat.neurons.rlif import RLIF
from squat.neurons.state import LIFState, LSTMState
from squat.neurons.time_constants import sample_beta

NEURONS = {
    neuron.__name__: neuron
    for neuron in (LIF, LI, RLIF, ConvRLIF, Lapicque, SpikingLSTM, CubaLIF, RCubaLIF, AlphaLIF, ALIF, RALIF)
}
"""Every neuron by class name. A new one is added here and inherits the contract tests."""

__all__ = [
    "ALIF",
    "LI",
    "LIF",
    "NEURONS",
    "RALIF",
    "RLIF",
    "ALIFState",
    "AlphaLIF",
    "AlphaState",
    "ConvRLIF",
    "CubaLIF",
    "CubaState",
    "LIFState",
    "LSTMState",
    "Lapicque",
    "RCubaLIF",
    "SpikingLSTM",
    "sample_beta",
]
