"""The loop of spiking LSTM cells: `lstm` chooses a backend and differentiates."""

from squat.ops.lstm.loop import lstm
from squat.ops.lstm.reference import LSTMConfig, LSTMWeights

__all__ = ["LSTMConfig", "LSTMWeights", "lstm"]
