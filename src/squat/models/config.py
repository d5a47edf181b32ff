"""`NetworkConfig`: everything that fixes a network but its seed, as one frozen value with a JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squat.checks import check_choice, check_input_range, check_int, check_real, check_type
from squat.models.readout import READOUT_NAMES
from squat.models.serial import decode_fields, encode_fields
from squat.quant.spec import StateSpec, spec_from_json
from squat.quant.weight import IntWeight
from squat.surrogate import FastSigmoid, Surrogate, surrogate_from_json
from squat.text import brief

ARCHITECTURES = ("feedforward", "recurrent", "conv")
RECURRENT_NEURONS = ("RLIF", "RCubaLIF", "RALIF")
ADDED = ("neuron", "batch_norm", "dropout", "input_min")
"""Fields that older configs do not have."""


@dataclass(frozen=True)
class NetworkConfig:
    """A spiking network of one of three architectures; every layer has the same specs, the output included.

    `feedforward`: `Linear, LIF` per hidden size. `recurrent`: `RLIF`, or another neuron, per hidden size. `conv`:
    `Conv2d, LIF, pool` per hidden size (feature maps). Each ends in a `Linear` to the classes and the readout; readouts
    of a neuron add it.

    Args:
        architecture: `"feedforward"`, `"recurrent"` or `"conv"`.
        inputs: features of a time step, or `(channels, height, width)` for `"conv"`.
        hidden: neurons (feature maps) of the hidden layers, in order.
        classes: number of classes, at least 2.
        beta: decay per step, in [0, 1]; one value for all layers.
        threshold: firing threshold, > 0.
        surrogate: surrogate gradient of every spike.
        reset: `"subtract"`, `"zero"` or `"none"`.
        zero_reset: `"keep_input"`, `"drop_input"`, or None for each neuron's own default.
        weights: `IntWeight` of all layers, or None for float weights.
        states: state spec of all neurons, or None for float states.
        readout: `"spike_count"`, `"accumulated_current"`, `"max_membrane"` or `"mean_membrane"`.
        bias: whether layers have a bias.
        input_scale: factor of the integer inputs, e.g. 1/255 for pixels.
        input_max: largest integer input, e.g. 255 for pixels, 1 for spikes.
        input_gain: factor on the default initialisation of the first layer's input weights.
        recurrent_gain: factor on the default initialisation of recurrent weights.
        arithmetic: `"integer"` or `"float"` rule where weights and states are quantized.
        ste: `"identity"` or `"clipped"` straight-through estimator.
        learn_beta: False, `"clamp"` or `"sigmoid"`.
        learn_threshold: whether each layer's threshold is learned.
        initial: initial membrane, `"zero"` (off the grid) or `"code_of_zero"`.
        kernel_size: side of the square kernels of `"conv"`, odd.
        pool: side of the square pooling windows of `"conv"`.
        neuron: neurons of the recurrent layers, `"RCubaLIF"` or `"RALIF"`, with the defaults of their own arguments;
            None for `"RLIF"`.
        batch_norm: batch normalisation of the hidden layers' currents, folded into their weights, for `"conv"` and
            `"feedforward"`.
        input_min: smallest integer input, e.g. -1 for signed spikes.
        dropout: probability, in [0, 1), that an input of a layer behind the first is dropped for a sequence, for
            `"conv"` and `"feedforward"`.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Example:
        >>> config = NetworkConfig("recurrent", inputs=140, hidden=(128,))
        >>> NetworkConfig.from_json(config.to_json()) == config
        True
    """

    architecture: str = "recurrent"
    inputs: int | tuple[int, ...] = 140
    hidden: tuple[int, ...] = (128,)
    classes: int = 10
    beta: float = 0.9
    threshold: float = 1.0
    surrogate: Surrogate = FastSigmoid(25.0)
    reset: str = "subtract"
    zero_reset: str | None = None
    weights: IntWeight | None = None
    states: StateSpec | None = None
    readout: str = "accumulated_current"
    bias: bool = True
    input_scale: float = 1.0
    input_max: int = 1
    input_gain: float = 1.0
    recurrent_gain: float = 1.0
    arithmetic: str = "integer"
    ste: str = "identity"
    learn_beta: bool | str = False
    learn_threshold: bool = False
    initial: str = "zero"
    kernel_size: int = 5
    pool: int = 2
    neuron: str | None = None
    batch_norm: bool = False
    dropout: float = 0.0
    input_min: int = 0

    __repr__ = brief

    def __post_init__(self) -> None:
        check_choice("architecture", self.architecture, ARCHITECTURES)
        self._check_shape()
        self._check_neuron()
        check_type("weights", self.weights, (IntWeight, type(None)), "an IntWeight or None for float weights")
        check_type("states", self.states, (StateSpec, type(None)), "a state spec or None for float states")
        check_choice("readout", self.readout, READOUT_NAMES)
        for name in ("bias", "learn_threshold", "batch_norm"):
            check_type(name, getattr(self, name), bool, "True or False")
        for name in ("input_scale", "input_gain", "recurrent_gain"):
            object.__setattr__(self, name, check_real(name, getattr(self, name), 0.0, open_low=True))
        check_input_range(self.input_max, self.input_min)
        self._check_regularisation()

    def _check_shape(self) -> None:
        if self.architecture == "conv":
            remedy = "give (channels, height, width)"
            check_type("inputs", self.inputs, tuple, "three sizes for the conv architecture", remedy)
            if len(self.inputs) != 3:  # type: ignore[arg-type]
                raise ValueError(
                    f"inputs={self.inputs!r}: expected (channels, height, width) for the conv architecture"
                )
            for size in self.inputs:  # type: ignore[union-attr]
                check_int("inputs", size, 1)
        else:
            check_int("inputs", self.inputs, 1, remedy=f"{self.architecture} networks take flat features")
        object.__setattr__(self, "hidden", tuple(check_type("hidden", self.hidden, (tuple, list), "a tuple of sizes")))
        if not self.hidden:
            raise ValueError("hidden=(): expected at least one hidden layer")
        for size in self.hidden:
            check_int("hidden", size, 1)
        check_int("classes", self.classes, 2)
        check_int("pool", self.pool, 1)
        if check_int("kernel_size", self.kernel_size, 1) % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size}: expected an odd size; padding keeps the image's size")

    def _check_neuron(self) -> None:
        object.__setattr__(self, "beta", check_real("beta", self.beta, 0.0, 1.0))
        object.__setattr__(self, "threshold", check_real("threshold", self.threshold, 0.0, open_low=True))
        check_type("surrogate", self.surrogate, Surrogate, "a surrogate such as FastSigmoid(25.0)")
        check_choice("reset", self.reset, ("subtract", "zero", "none"))
        check_choice("zero_reset", self.zero_reset, (None, "keep_input", "drop_input"))
        check_choice("arithmetic", self.arithmetic, ("integer", "float"))
        check_choice("ste", self.ste, ("identity", "clipped"))
        check_choice("learn_beta", self.learn_beta, (False, "clamp", "sigmoid"))
        check_choice("initial", self.initial, ("zero", "code_of_zero"))
        if self.neuron is None:
            return
        check_choice("neuron", self.neuron, RECURRENT_NEURONS)
        if self.architecture != "recurrent":
            raise ValueError(
                f"neuron={self.neuron!r}: expected architecture='recurrent', got {self.architecture!r}; the other "
                "architectures are made of LIF"
            )
        if self.neuron != "RLIF" and self.zero_reset is not None:
            raise ValueError(
                f"zero_reset={self.zero_reset!r}: {self.neuron} drops the input of a reset step always; leave it out"
            )

    def _check_regularisation(self) -> None:
        object.__setattr__(self, "dropout", check_real("dropout", self.dropout, 0.0, 1.0))
        if self.dropout == 1.0:
            raise ValueError("dropout=1.0: expected a probability in [0, 1); at 1 no input would be left")
        for name in ("batch_norm", "dropout"):
            if self.architecture == "recurrent" and getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: recurrent networks have none; use architecture='feedforward' or "
                    "'conv', or leave it out"
                )

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `from_json` is the inverse.

        Fields that came later (`ADDED`) stand in it only where they are set, so that what has no use for them keeps
        its name: run ids are hashes of it.
        """
        document = encode_fields(self)
        return {name: value for name, value in document.items() if name not in ADDED or value}

    @classmethod
    def from_json(cls, document: Any) -> NetworkConfig:
        """The config that `to_json` described; unknown keys and wrong types are refused by name."""
        decoders = {"weights": spec_from_json, "states": spec_from_json, "surrogate": surrogate_from_json}
        return decode_fields(cls, document, "network", decoders)
