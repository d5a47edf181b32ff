"""Neurons: one converter for each class of snnTorch. A new neuron is one entry in `CONVERTERS`."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from squat.compat.builder import Builder, copy_parameter
from squat.compat.layers import Converter
from squat.compat.recognise import number_written, state_spec_of, surrogate_of
from squat.compat.structure import Link
from squat.layers import Dropout, Linear
from squat.neurons import LI, LIF, RLIF, ConvRLIF, Lapicque, SpikingLSTM

RESETS = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
"""By the name of the method that a neuron runs: `reset_mechanism` may have been set later, without effect."""


def neuron_arguments(build: Builder, link: Link) -> dict[str, Any]:
    """What every neuron shares: threshold, reset, surrogate, state spec and rule.

    Raises:
        ValueError: for options that squat does not have.
    """
    theirs = link.module
    if theirs.inhibition:
        raise ValueError("inhibition=True: expected False; squat has no winner-take-all layer")
    factor = theirs.graded_spikes_factor
    if isinstance(factor, nn.Parameter) or not bool((factor == 1).all()):
        raise ValueError("graded_spikes_factor other than 1: spikes are 0 or 1; put the factor into the next layer")
    several = theirs.threshold.numel() > 1
    if several and theirs.state_quant:
        raise ValueError(
            f"{theirs.threshold.numel()} thresholds with a state_quant: expected one threshold, in units of which the "
            "levels of squat are"
        )
    state = None if several else state_spec_of(theirs.state_quant, number_written(theirs.threshold))
    return {
        "threshold": granular(link, "threshold", theirs.threshold) if several else number_written(theirs.threshold),
        "reset": RESETS[theirs.state_function.__name__],
        "surrogate": build.surrogate or surrogate_of(theirs.spike_grad),
        "state": state,
        "learn_threshold": isinstance(theirs.threshold, nn.Parameter),
        "arithmetic": "integer" if state is None else build.arithmetic,
    }


def granular(link: Link, name: str, value: Tensor) -> Tensor:
    """A parameter in the shape that ties its neurons in squat as it does in snnTorch, where torch broadcasts it.

    Where the shape of the neurons is not known, it is kept.

    Raises:
        ValueError: where it differs within a batch.
    """
    values = value.detach().float()
    if values.numel() == 1:
        return values.reshape(())
    if not link.inputs:
        return values
    shape = link.inputs[0].shape[1:]
    values = values[(0,) * (values.dim() - len(shape))] if values.shape[: -len(shape)].numel() == 1 else values
    if values.dim() > len(shape):
        raise ValueError(f"{name} of shape {tuple(value.shape)} differs within a batch of neurons {tuple(shape)}")
    return values.reshape((1,) * (len(shape) - values.dim()) + values.shape)


def decay_of(link: Link, name: str) -> Tensor:
    """A decay clamped to [0, 1] as snnTorch does in its forward pass."""
    return granular(link, name, getattr(link.module, name)).clamp(0, 1)


def _leaky(build: Builder, link: Link) -> None:
    theirs, arguments = link.module, neuron_arguments(build, link)
    arguments |= {"beta": decay_of(link, "beta"), "learn_beta": learned(theirs.beta)}
    if link.membrane_only:
        del arguments["reset"], arguments["surrogate"]
        if isinstance(arguments["threshold"], Tensor):  # nothing fires, so they do not matter
            arguments |= {"threshold": 1.0, "learn_threshold": False}
    layer = LI(**arguments) if link.membrane_only else LIF(**arguments, reset_delay=theirs.reset_delay)
    copy_learned(layer, theirs, "beta")
    build.layers.append(layer)


def learned(value: Tensor) -> str | bool:
    """The `learn_beta` of a decay that is, or is not, a parameter."""
    return "clamp" if isinstance(value, nn.Parameter) else False


def copy_learned(layer: Any, theirs: Any, *decays: str) -> None:
    """Learned decays as they are, since those outside [0, 1] are clamped in the forward pass, here as there.

    And which parameters are frozen.
    """
    for name in decays:
        mine, value = getattr(layer, name), getattr(theirs, name)
        if isinstance(value, nn.Parameter):
            copy_parameter(mine, value.reshape(mine.shape))
    if layer.learn_threshold:
        layer.log_threshold.requires_grad_(theirs.threshold.requires_grad)


def _rleaky(build: Builder, link: Link) -> None:
    theirs, arguments = link.module, neuron_arguments(build, link)
    arguments |= {"beta": decay_of(link, "beta"), "learn_beta": learned(theirs.beta)}
    image = theirs.all_to_all and isinstance(theirs.recurrent, nn.Conv2d)
    if image:
        layer = _on_images(build, theirs, arguments)
    else:
        layer = recurrent_layer(build, theirs, RLIF, **arguments, reset_delay=theirs.reset_delay)
    copy_learned(layer, theirs, "beta")
    build.layers.append(layer)


def check_delayed(theirs: Any) -> None:
    """Where squat has the delayed reset only.

    Raises:
        ValueError: for a neuron without delay.
    """
    if not theirs.reset_delay:
        raise ValueError("reset_delay=False: expected True; this neuron of squat resets with the step after a spike")


def recurrent_layer(build: Builder, theirs: Any, kind: Any, **arguments: Any) -> Any:
    """A recurrent layer of squat, which owns its input weights too: those of the Linear before it.

    Raises:
        ValueError: where no float Linear stands before it, or its recurrence is a convolution.
    """
    if theirs.all_to_all and not isinstance(theirs.recurrent, nn.Linear):
        raise ValueError("its recurrence is a convolution: expected linear_features, all to all")
    linear = _own_linear(build)
    weight, bias = _recurrent_weights(theirs, linear.out_features)
    biases = [each for each in (linear.bias, bias) if each is not None]
    if not theirs.all_to_all:
        arguments["recurrence"] = "one_to_one"
    layer = kind(
        linear.in_features, linear.out_features, bias=bool(biases), input_scale=linear.input_scale,
        input_max=linear.input_max, **arguments,
    )  # fmt: skip
    copy_parameter(layer.weight_in, linear.weight)
    copy_parameter(layer.weight_rec, weight)
    if biases:
        copy_parameter(layer.bias, sum(biases[1:], biases[0]))
        layer.bias.requires_grad_(any(each.requires_grad for each in biases))
    return layer


def _own_linear(build: Builder) -> Linear:
    """The Linear that a layer with its own input weights takes in."""
    while build.layers and isinstance(build.layers[-1], Dropout):
        build.layers.pop()
        warnings.warn(
            "the Dropout between a Linear and a recurrent neuron is left out: the recurrent layer of squat owns those "
            "weights, so nothing drops its currents in training; in use it does nothing",
            UserWarning,
            stacklevel=6,
        )
    linear = build.layers.pop() if build.layers else None
    if not isinstance(linear, Linear) or linear.weight_spec is not None:
        raise ValueError("it stands behind no float Linear, whose weights the recurrent layer of squat takes in")
    return linear


def _recurrent_weights(theirs: Any, features: int) -> tuple[Tensor, Tensor | None]:
    """All to all `[N, N]` with a bias, or one to one `[N, 1]`: a factor that neurons shared is now each one's own."""
    if theirs.all_to_all:
        return theirs.recurrent.weight, theirs.recurrent.bias
    factors = theirs.recurrent.V.detach().float().expand(features).reshape(features, 1)
    return factors.clone().requires_grad_(theirs.recurrent.V.requires_grad), None


def _on_images(build: Builder, theirs: Any, arguments: dict[str, Any]) -> ConvRLIF:
    check_delayed(theirs)
    convolution = theirs.recurrent
    biased = convolution.bias is not None
    layer = ConvRLIF(convolution.in_channels, convolution.kernel_size, bias=biased, **arguments)
    copy_parameter(layer.weight_rec, convolution.weight)
    if biased:
        copy_parameter(layer.bias, convolution.bias)  # type: ignore[arg-type]
    return layer


def _lapicque(build: Builder, link: Link) -> None:
    theirs, arguments = link.module, neuron_arguments(build, link)
    if isinstance(theirs.beta, nn.Parameter):
        raise ValueError("learn_beta=True: snnTorch computes R and C from it once, so it learns nothing; use Leaky")
    circuit: dict[str, Any] = {"R": float(theirs.R), "C": float(theirs.C), "time_step": float(theirs.time_step)}
    layer = Lapicque(**circuit, **arguments)
    copy_learned(layer, theirs)
    build.layers.append(layer)


def _slstm(build: Builder, link: Link) -> None:
    theirs, arguments = link.module, neuron_arguments(build, link)
    arguments.pop("arithmetic")  # its gates are float
    if theirs.input_size != theirs.hidden_size:
        warnings.warn(
            f"{link.name}: snnTorch 1.0.0 sets the states of an SLSTM to zero at every step where input_size="
            f"{theirs.input_size} and hidden_size={theirs.hidden_size} differ; the converted layer keeps them",
            UserWarning,
            stacklevel=5,
        )
    cell = theirs.lstm_cell
    layer = SpikingLSTM(theirs.input_size, theirs.hidden_size, bias=cell.bias, **arguments)
    copy_learned(layer, theirs)
    copy_parameter(layer.weight_in, cell.weight_ih)
    copy_parameter(layer.weight_rec, cell.weight_hh)
    if cell.bias:
        copy_parameter(layer.bias_in, cell.bias_ih)  # type: ignore[arg-type]
        copy_parameter(layer.bias_rec, cell.bias_hh)  # type: ignore[arg-type]
    build.layers.append(layer)


CONVERTERS: dict[str, Converter] = {
    "snntorch.Leaky": _leaky,
    "snntorch.RLeaky": _rleaky,
    "snntorch.Lapicque": _lapicque,
    "snntorch.SLSTM": _slstm,
}
"""By package and class. A new neuron is one entry."""
