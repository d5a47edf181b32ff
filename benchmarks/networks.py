"""The recurrent 700-256-20 network in squat and in the stack a user would otherwise write; a training step of each.

The other stack is snnTorch 1.0.0 neurons with `state_quant` and Brevitas 0.13.4 `QuantLinear` weights (recurrent ones
too) in a Python loop over time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

INPUTS, HIDDEN, CLASSES = 700, 256, 20
STEPS, BATCH, SPIKE_PROBABILITY = 100, 64, 0.05
BETA, SLOPE, LEARNING_RATE = 0.9, 25.0, 1e-3


def batch(steps: int = STEPS, samples: int = BATCH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random input spikes `[T, B, 700]` and labels `[B]`."""
    generator = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(steps, samples, INPUTS, generator=generator) < SPIKE_PROBABILITY).float()
    return spikes, torch.randint(CLASSES, (samples,), generator=generator)


def squat_network(bits: int | None, *, bias: bool = True, arithmetic: str = "integer", scale: str = "mse") -> nn.Module:
    """squat: everything at its default but the bits; `bits=None` is the float network."""
    import squat

    weight = None if bits is None else squat.IntWeight(bits, scale=scale)
    neuron = {
        "state": None if bits is None else squat.ThresholdCentered(bits),
        "surrogate": squat.FastSigmoid(SLOPE),
        "arithmetic": arithmetic,
    }
    return squat.Sequential(
        squat.RLIF(INPUTS, HIDDEN, BETA, weight=weight, bias=bias, **neuron),
        squat.Linear(HIDDEN, CLASSES, weight=weight, bias=bias),
        squat.LIF(BETA, **neuron),
    )


class PublishedStack(nn.Module):
    """snnTorch and Brevitas; `bits=None` is the float network."""

    def __init__(self, bits: int | None, bias: bool = True) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both libraries warn about their own imports
            import brevitas.nn as quantized
            import snntorch
            from snntorch.functional import quant
        states = False if bits is None else quant.state_quant(num_bits=bits, uniform=False)
        surrogate = snntorch.surrogate.fast_sigmoid(slope=SLOPE)
        common = {"spike_grad": surrogate, "state_quant": states}

        def linear(inputs: int, outputs: int, has_bias: bool) -> nn.Module:
            if bits is None:
                return nn.Linear(inputs, outputs, bias=has_bias)
            return quantized.QuantLinear(inputs, outputs, bias=has_bias, weight_bit_width=bits)

        self.linear_in = linear(INPUTS, HIDDEN, bias)
        self.hidden = snntorch.RLeaky(BETA, linear_features=HIDDEN, **common)
        self.hidden.recurrent = linear(HIDDEN, HIDDEN, False)
        self.linear_out = linear(HIDDEN, CLASSES, bias)
        self.out = snntorch.Leaky(BETA, **common)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Output spikes `[T, B, 20]`."""
        spikes, membrane = torch.zeros(x.shape[1], HIDDEN), torch.zeros(x.shape[1], HIDDEN)
        membrane_out = torch.zeros(x.shape[1], CLASSES)
        outputs = []
        for step in x:
            spikes, membrane = self.hidden(self.linear_in(step), spikes, membrane)
            spikes_out, membrane_out = self.out(self.linear_out(spikes), membrane_out)
            outputs.append(spikes_out)
        return torch.stack(outputs), None


def training_step(network: nn.Module) -> Callable[[], float]:
    """A function that does one step: forward, cross-entropy of the spike counts, backward, Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    x, labels = batch()

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x)[0].sum(0), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def matrix_products() -> Callable[[], None]:
    """The floor: the float32 matrix products of one training step and nothing else."""
    rows = STEPS * BATCH
    x, hidden, out = torch.rand(rows, INPUTS), torch.rand(rows, HIDDEN), torch.rand(rows, CLASSES)
    w_in, w_rec, w_out = torch.rand(HIDDEN, INPUTS), torch.rand(HIDDEN, HIDDEN), torch.rand(CLASSES, HIDDEN)
    by_step = hidden.view(STEPS, BATCH, HIDDEN)

    @torch.no_grad()
    def products() -> None:
        x @ w_in.T, hidden.T @ x  # input weights: forward, weight gradient
        hidden @ w_out.T, out.T @ hidden, out @ w_out  # output weights: both, and the input gradient
        for step in by_step:
            step @ w_rec.T, step @ w_rec  # recurrence: forward and backward through time
        hidden.T @ hidden

    return products


@torch.no_grad()
def put_on_one_grid(ours: nn.Module, theirs: PublishedStack, bits: int) -> None:
    """Gives both networks the same weights, multiples of a power of two that both quantizers leave as they are."""
    generator, largest = torch.Generator().manual_seed(1), 2 ** (bits - 1) - 1
    recurrent, linear = ours.layers[0], ours.layers[1]
    pairs = (
        (theirs.linear_in.weight, recurrent.weight_in),
        (theirs.hidden.recurrent.weight, recurrent.weight_rec),
        (theirs.linear_out.weight, linear.weight),
    )
    for published, mine in pairs:
        integers = torch.randint(-largest, largest + 1, mine.shape, generator=generator)
        integers[0, 0] = largest  # so that the scale by maximum is the scale meant
        mine.copy_(integers * 2.0 ** -(bits + 1))
        published.copy_(mine)
    for layer in (recurrent, linear):
        layer.set_weight_spec(layer.weight_spec)
