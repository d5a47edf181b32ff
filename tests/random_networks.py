"""Random small networks of everything that can be lowered, with inputs that make them spike."""

from __future__ import annotations

import math
import random

import torch

import squat
from helpers import louder
from squat.layers import AvgPool1d, AvgPool2d, Dropout, Flatten, MaxPool1d, MaxPool2d, SumPool1d, SumPool2d, Unflatten
from squat.models import READOUT_NAMES, Network
from squat.neurons import NEURONS
from squat.neurons.several import SeveralStates
from squat.quant.spec import STATE_SPECS

RESETS = [
    {"reset": "subtract"},
    {"reset": "zero", "zero_reset": "keep_input"},
    {"reset": "zero", "zero_reset": "drop_input"},
    {"reset": "none"},
]


def random_network(seed: int) -> tuple[Network | squat.Sequential, torch.Tensor]:
    """A network in evaluation mode, and an input `[T, B, ...]`; both depend on the seed alone."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    lowest, largest = _input_range(draw, seed)
    make = draw.choice([_dense] * 6 + [_convolutional] * 3 + [_over_signals])
    layers, shape = make(draw, lowest, largest)
    readout = draw.choice([None, *READOUT_NAMES])
    layers += _last(draw, layers.pop(), readout)
    stack = squat.Sequential(*layers)
    net = stack if readout is None else Network(stack, READOUT_NAMES[readout]())
    louder(net, draw.choice([1.0, 3.0, 6.0]))
    steps, batch = draw.randint(1, 12), draw.randint(1, 3)
    if largest == 1:
        spikes = (torch.rand(steps, batch, *shape) < draw.choice([0.1, 0.4])).float()
        return net, spikes if lowest == 0 else spikes * (torch.randint(0, 2, spikes.shape) * 2 - 1)
    x = torch.randint(lowest, largest + 1, (steps, batch, *shape)).float()
    return net, x[:1].expand(steps, *x.shape[1:]) if draw.random() < 0.5 else x


def _input_range(draw, seed):
    """Smallest and largest input. A draw of its own makes some of the networks signed, and leaves the others alone."""
    largest, own = draw.choice([1, 1, 1, 3, 255]), random.Random(-1 - seed)
    if own.random() < 0.7:
        return 0, largest
    return {1: (-1, 1), 3: own.choice([(-4, 3), (-5, 1), (-1, 3)]), 255: own.choice([(-128, 127), (-127, 127)])}[
        largest
    ]


def _dense(draw, lowest, largest):
    """Linear with LIF, or RLIF, once or twice, perhaps a residual block; outputs and their largest value come last."""
    layers, inputs = [], draw.randint(1, 40)
    size = shape = (inputs,)
    scale = {"input_min": lowest, "input_max": largest, "input_scale": 1.0 if largest == 1 else 1 / largest}
    for _ in range(draw.randint(1, 2)):
        features = draw.randint(1, 40)
        if draw.random() < 0.5:
            unit = draw.choice([scale, {**scale, "input_scale": 4.0}]) if largest == 1 else scale
            beta = _beta(draw, features)
            options = {"beta": beta, "bias": _coin(draw), "weight": _weight(draw), **unit}
            neuron, own = draw.choice([_single, _single, _several])(draw, squat.RLIF)
            layers.append(neuron(size[0], features, **options, **own))
        else:
            layers.append(squat.Linear(size[0], features, bias=_coin(draw), weight=_weight(draw), **scale))
            layers.append(_elementwise(draw, _beta(draw, features)))
        size, scale = (features,), {}
    if draw.random() < 0.3:
        block, largest = _dense_block(draw, features)
        return [*layers, block, (features, largest)], shape
    return [*layers, (features, 1)], shape


def _dense_block(draw, features):
    """A residual block, perhaps with another in its branch, and the largest value that it gives."""
    branch = [squat.Linear(features, features, bias=_coin(draw), weight=_weight(draw)), squat.LIF(**_neuron(draw))]
    if draw.random() < 0.3:
        branch = [squat.RLIF(features, features, weight=_weight(draw), **_neuron(draw))]
    largest = 2
    if draw.random() < 0.3:
        block, inner = _dense_block(draw, features)
        branch, largest = [*branch, block], 1 + inner
    return squat.Residual(squat.Sequential(*branch)), largest


def _convolutional(draw, lowest, largest):
    """A convolution, its currents or spikes perhaps pooled, perhaps recurrent, perhaps a second one, flattened."""
    channels, rows, columns = draw.randint(1, 3), draw.randint(6, 9), draw.randint(6, 9)
    shape = (channels, rows, columns)
    scale = {"input_min": lowest, "input_max": largest, "input_scale": 1.0 if largest == 1 else 1 / largest}
    layers, highest = [], 1
    for stage in range(draw.randint(1, 2)):
        maps, kernel, stride = draw.randint(1, 9), draw.choice([1, 3, (2, 3)]), draw.choice([1, 2, (1, 2)])
        options = {"stride": stride, "padding": draw.choice([0, 1, (1, 0)]), "bias": _coin(draw)}
        weight = _weight(draw)
        layers.append(squat.Conv2d(channels, maps, kernel, weight=weight, **options, **scale))
        if _coin(draw) and min(_shape_behind(layers, shape)[1:]) > 1:
            pool = draw.choice([MaxPool2d, MaxPool2d, AvgPool2d, SumPool2d])
            layers.append(pool(draw.choice([2, (1, 2)]), draw.choice([None, 1])))
        if draw.random() < 0.3 and weight.granularity != "shift":
            options = {"weight": weight, "bias": _coin(draw), **_neuron(draw)}
            layers.append(squat.ConvRLIF(maps, draw.choice([1, 3, (3, 1)]), _image_beta(draw, maps), **options))
        else:
            layers.append(_elementwise(draw, _image_beta(draw, maps)))
        channels, highest = maps, 1
        if stage == 0 and _coin(draw) and min(_shape_behind(layers, shape)[1:]) > 1:
            layers.append(draw.choice([SumPool2d, SumPool2d, MaxPool2d])(2))
            highest = 4 if type(layers[-1]) is SumPool2d else 1
        if draw.random() < 0.3 and min(_shape_behind(layers, shape)[1:]) > 1:
            block, highest = _image_block(draw, maps, highest)
            layers.append(block)
        scale = {"input_max": highest, "input_scale": 0.5}
        if min(_shape_behind(layers, shape)[1:]) < 3:
            break
    return [*layers, Flatten(), (math.prod(_shape_behind(layers, shape)), highest)], shape


def _over_signals(draw, lowest, largest):
    """Convolutions over signals, their currents and spikes perhaps pooled, the input perhaps without its shape."""
    channels, length, maps = draw.randint(1, 3), draw.randint(8, 14), draw.randint(1, 5)
    scale = {"input_min": lowest, "input_max": largest, "input_scale": 1.0 if largest == 1 else 1 / largest}
    sizes = draw.choice([1, 3]), draw.choice([1, 2]), draw.choice([0, 1])
    layers = [squat.Conv1d(channels, maps, *sizes, bias=_coin(draw), weight=_weight(draw), **scale)]
    layers += [draw.choice([MaxPool1d, AvgPool1d, SumPool1d])(2)] if _coin(draw) else []
    layers += [Dropout(0.5), _elementwise(draw, draw.uniform(0.3, 1.0))]
    if _coin(draw):
        layers.append(draw.choice([MaxPool1d, SumPool1d])(2, 1))
        highest = 2 if type(layers[-1]) is SumPool1d else 1
        layers.append(squat.Conv1d(maps, 2, 1, weight=_weight(draw), input_max=highest))
        layers.append(_elementwise(draw, draw.uniform(0.3, 1.0)))
    shape = (channels, length)
    features = math.prod(_shape_behind(layers, shape))
    if _coin(draw):
        layers, shape = [Unflatten(shape), *layers], (channels * length,)
    return [*layers, Flatten(), (features, 1)], shape


def _image_block(draw, channels, largest):
    """A residual block, with a pool of currents and of what is kept or without, and the largest value that it gives."""
    branch = [squat.Conv2d(channels, channels, 3, padding=1, weight=_weight(draw), input_max=largest)]
    shortcut = draw.choice([None, SumPool2d(2, 1), MaxPool2d(2, 1)])
    if shortcut is not None:
        branch.append(MaxPool2d(2, 1))
    branch.append(squat.LIF(draw.uniform(0.3, 1.0), **_neuron(draw)))
    return squat.Residual(squat.Sequential(*branch), shortcut), 1 + largest * (4 if type(shortcut) is SumPool2d else 1)


@torch.no_grad()
def _shape_behind(layers, shape):
    out = squat.Sequential(*layers).eval()(torch.zeros(1, 1, *shape))[0]
    return (out.z if isinstance(out, squat.Current) else out).shape[2:]


def _last(draw, inputs, readout):
    """The layer that a readout reads."""
    features, largest = inputs
    classes = draw.randint(2, 6)
    weight = _weight(draw)
    linear = squat.Linear(features, classes, bias=_coin(draw), weight=weight, input_max=largest)
    neuron = _neuron(draw)
    if readout in ("max_membrane", "mean_membrane"):
        for name in ("reset", "zero_reset"):
            neuron.pop(name, None)
        return [linear, squat.LI(draw.uniform(0.3, 1.0), **neuron)]
    if readout == "accumulated_current" or (readout is None and draw.random() < 0.3):
        return [linear]
    return [linear, _elementwise(draw, _beta(draw, classes))]


def _elementwise(draw, beta):
    neuron, own = draw.choice([_single, _single, _several])(draw, squat.LIF)
    # The slower trace of an AlphaLIF has the larger decay.
    return neuron(beta=beta * 0.9 + 0.01, alpha=0.95, **own) if neuron is squat.AlphaLIF else neuron(beta=beta, **own)


def _single(draw, family):
    """LIF or RLIF, and their arguments."""
    return family, _neuron(draw)


def _several(draw, family):
    """A neuron of several states of that family, and its arguments."""
    found = [cls for cls in NEURONS.values() if issubclass(cls, SeveralStates)]
    recurrent = family is squat.RLIF
    cls = draw.choice([cls for cls in found if issubclass(cls, squat.RLIF) == recurrent])
    options = {name: value for name, value in _neuron(draw).items() if name != "zero_reset"}
    options["state"] = draw.choice(list(STATE_SPECS.values()))(draw.randint(2, 5))
    reach = draw.choice([0.5, 3.0])
    own = draw.choice([squat.Uniform, squat.ThresholdCentered])(draw.randint(2, 5), reach, reach)
    return cls, {**options, cls.spec_arguments[0]: own}


def _neuron(draw):
    cls = draw.choice(list(STATE_SPECS.values()))
    options = {"state": cls(draw.randint(2, 8)), "initial": draw.choice(["zero", "zero", "code_of_zero"])}
    return {**options, **draw.choice(RESETS), "threshold": draw.choice([1.0, 0.5])}


def _weight(draw):
    return squat.IntWeight(draw.randint(2, 8), draw.choice(["tensor", "tensor", "channel", "shift"]))


def _beta(draw, features):
    return torch.rand(features) if draw.random() < 0.2 else draw.uniform(0.3, 1.0)


def _image_beta(draw, channels):
    """One decay, or one per channel."""
    beta = draw.uniform(0.3, 1.0)
    return beta if int(1000 * beta) % 3 else torch.linspace(0.3, beta, channels).reshape(-1, 1, 1)


def _coin(draw):
    return draw.random() < 0.5
