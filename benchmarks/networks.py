"""The networks in squat and in the stacks that a user would otherwise write; a training step and inference of each.

The published stack is snnTorch 1.0.0 neurons with `state_quant` and Brevitas 0.13.4 weights (recurrent ones too), one
Python step per time step. SpikingJelly and Norse are float, and their neurons differ a little (reset, in Norse a
synaptic current too): they are compared by time, not by spikes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import cases, products, published

BETA, SLOPE, LEARNING_RATE = published.BETA, published.SLOPE, 1e-3
Settings = dict[str, Any]


def data(settings: Settings, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Input `[T, B, ...]` and labels `[B]`: random spikes, or images (pixels 0..255) held for all steps."""
    generator = torch.Generator().manual_seed(seed)
    steps, batch = settings["steps"], settings["batch"]
    labels = torch.randint(settings["classes"], (batch,), generator=generator)
    if settings.get("pixels"):
        images, labels = _images(settings, labels, generator)
        return images.expand(steps, *[-1] * images.dim()), labels
    x = torch.rand(steps, batch, settings["inputs"], generator=generator) < settings["density"]
    return x.float(), labels


def _images(settings: Settings, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """FashionMNIST where its files are at hand (nothing is downloaded), else random pixels of the same shape."""
    from benchmarks.run import FASHION_MNIST, pictures
    from squat.data import load

    batch = settings["batch"]
    if pictures() == FASHION_MNIST:
        x, labels = load("fashion_mnist", steps=1).train.batch(torch.arange(batch))
        images = x[0].float()
    else:
        images = torch.randint(256, (batch, 784), generator=generator).float()
    return images.reshape(batch, 1, 28, 28) if settings["kind"] == "conv" else images, labels


def squat_network(
    settings: Settings, *, bias: bool = True, arithmetic: str = "integer", scale: str = "mse", unit: float = 255.0
) -> nn.Module:
    """squat: everything at its default but the bits; `bits=None` is the float network; a pixel is worth `1/unit`."""
    import squat

    bits, classes = settings["bits"], settings["classes"]
    weight = None if bits is None else squat.IntWeight(bits, scale=scale)
    common = {"weight": weight, "bias": bias}
    pixels = {"input_scale": 1 / unit, "input_max": 255} if settings.get("pixels") else {}

    def neuron() -> dict[str, Any]:
        state = None if bits is None else squat.ThresholdCentered(bits)
        return {"state": state, "surrogate": squat.FastSigmoid(SLOPE), "arithmetic": arithmetic}

    if settings["kind"] == "conv":
        from squat.layers import SumPool2d

        first, second = settings["channels"]
        pooled = {"input_scale": 0.25, "input_max": 4}  # sums of four spikes, worth their average
        return squat.Sequential(
            squat.Conv2d(1, first, settings["kernel"], **common, **pixels),
            squat.LIF(BETA, **neuron()),
            SumPool2d(2),
            squat.Conv2d(first, second, settings["kernel"], **common, **pooled),
            squat.LIF(BETA, **neuron()),
            SumPool2d(2),
            squat.Flatten(),
            squat.Linear(published.conv_features(settings), classes, **common, **pooled),
            squat.LIF(BETA, **neuron()),
        )
    inputs, hidden = settings["inputs"], settings["hidden"]
    if settings["kind"] == "recurrent":
        layers = [squat.RLIF(inputs, hidden, BETA, **common, **neuron())]
    else:
        layers = [squat.Linear(inputs, hidden, **common, **pixels), squat.LIF(BETA, **neuron())]
    return squat.Sequential(*layers, squat.Linear(hidden, classes, **common), squat.LIF(BETA, **neuron()))


def network(settings: Settings, stack: str) -> nn.Module:
    """The network of a stack; its forward gives output spikes `[T, B, classes]` and something more."""
    if stack == cases.SQUAT:
        return squat_network(settings)
    if stack == cases.FLOAT:
        return published.Stack({**settings, "bits": None})
    if stack == cases.PUBLISHED:
        return published.Stack(settings)
    from benchmarks import others

    return others.network(settings, stack)


def build(settings: Settings, measure: str, stack: str) -> Callable[[], object]:
    """One training step (forward, cross-entropy of spike counts, backward, Adam), or one inference, as a function."""
    torch.manual_seed(0)
    if stack == cases.PRODUCTS:
        return products.matrix_products(settings, training=measure == cases.TRAINING)
    net = network(settings, stack)
    x, labels = data(settings)
    if settings.get("pixels") and stack != cases.SQUAT:
        x = (x[:1] / 255).expand_as(x)
    return training_step(net, x, labels) if measure == cases.TRAINING else inference(net, x)


def training_step(net: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x)[0].sum(0), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def inference(net: nn.Module, x: Tensor) -> Callable[[], object]:
    net.eval()

    @torch.no_grad()
    def run() -> Tensor:
        return net(x)[0].sum(0)

    return run


def check(settings: Settings) -> dict[str, bool]:
    """Do the stacks compute the same? And does the compiled network that is timed equal its specification?

    Under the float rule, on weights that both quantizers leave alone, every output spike of squat and of the published
    stack must agree; of the network that is timed every spike must agree with the reference, and its gradients nearly.
    """
    few = {**settings, "batch": min(settings["batch"], 4)}
    short = {**few, "steps": min(settings["steps"], 20)}
    ours, theirs = same_networks(few)
    x, _ = data(few)
    with torch.no_grad():
        spikes = ours(x)[0]
        # A power of two per pixel: both stacks then sum the same float32 numbers exactly, in whatever order.
        expected = theirs(x / 256 if settings.get("pixels") else x)[0]
    torch.manual_seed(0)
    timed = squat_network(settings)
    compiled, gradients = _outcome(timed, *data(short), "cpu")
    reference, expected_gradients = _outcome(timed, *data(short), "reference")
    return {
        "spikes equal the published stack's": torch.equal(spikes, expected),
        "some neurons fire, some do not": 0 < float(spikes.mean()) < 1,
        "compiled spikes equal the reference's": torch.equal(compiled, reference),
        "compiled gradients are close to the reference's": all(map(_close, gradients, expected_gradients)),
    }


def same_networks(settings: Settings) -> tuple[nn.Module, nn.Module]:
    """Both networks with the same weights, multiples of a power of two that both quantizers leave as they are."""
    bits = settings["bits"] or 8
    ours = squat_network({**settings, "bits": bits}, bias=False, arithmetic="float", scale="max", unit=256.0)
    theirs = published.Stack(settings, bias=False)
    put_on_one_grid(ours, theirs.weights(), bits)
    if settings["bits"] is None:
        for layer in ours.layers:
            for swap in ("set_weight_spec", "set_state_spec"):
                getattr(layer, swap, lambda spec: None)(None)
    return ours, theirs


@torch.no_grad()
def put_on_one_grid(ours: nn.Module, theirs: list[nn.Parameter], bits: int) -> None:
    """Integers times a power of two, one of them the largest: a scale by maximum is then the scale meant."""
    generator, largest = torch.Generator().manual_seed(1), 2 ** (bits - 1) - 1
    published_weights = iter(theirs)
    for layer in ours.layers:
        matrices = [parameter for parameter in layer.parameters() if parameter.dim() > 1]
        for weight in matrices:
            # Weights reach up to about 1/2 for 64 inputs and less for more, so that some neurons fire and some do not.
            unit = 2.0 ** -(bits + round(math.log2(matrices[0][0].numel() / 64) / 2))
            integers = torch.randint(-largest, largest + 1, weight.shape, generator=generator)
            integers.view(-1)[0] = largest
            weight.copy_(integers * unit)
            next(published_weights).copy_(weight)
        if matrices:
            layer.set_weight_spec(layer.weight_spec)


def _outcome(net: nn.Module, x: Tensor, labels: Tensor, backend: str) -> tuple[Tensor, list[Tensor]]:
    """Spikes and gradients in eval mode, whose weight scales stay as they are."""
    import squat.ops

    net.eval()
    net.zero_grad()
    with squat.ops.backend("reference") if backend == "reference" else contextlib.nullcontext():
        spikes = net(x)[0]
        nn.functional.cross_entropy(spikes.sum(0), labels).backward()
    return spikes.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


def _close(gradient: Tensor, expected: Tensor) -> bool:
    return bool((gradient - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-12)
