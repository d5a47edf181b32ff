"""Networks in the styles that snnTorch users write: a time loop in `forward`, `init_hidden=True`, and others.

`NETWORKS` maps a name to a function that returns `(net, x, options)`: `x` is what `net` is called with, and `options`
may say `by_step`; `exact`, the share of differing outputs allowed where weights are dyadic, and sums thus exact;
`image`, the shape that `squat.lower` needs; `lowers`, the class that it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")
pytest.importorskip("snntorch.functional.quant", reason="snnTorch is converted here (dev extra)")
STEPS, BATCH = 12, 5


def spikes(*shape: int, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < rate).float()


class StaticInput(nn.Module):
    """The feed-forward classifier of the first lessons: one image, held for all steps; spikes and membranes out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(40, 30)
        self.lif1 = snntorch.Leaky(beta=0.95, threshold=0.5)
        self.fc2 = nn.Linear(30, 10)
        self.lif2 = snntorch.Leaky(beta=0.95, threshold=0.5)

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class LearnedDecays(nn.Module):
    """One learned decay per neuron, a learned threshold, a surrogate of one's own choice; spike trains in."""

    def __init__(self) -> None:
        super().__init__()
        surrogate = snntorch.surrogate.fast_sigmoid(slope=10)
        self.fc1 = nn.Linear(40, 20, bias=False)
        self.lif1 = snntorch.Leaky(torch.linspace(0.2, 1.1, 20), learn_beta=True, threshold=0.3, spike_grad=surrogate)
        self.fc2 = nn.Linear(20, 6)
        self.lif2 = snntorch.Leaky(0.8, learn_beta=True, learn_threshold=True, threshold=0.4, spike_grad=surrogate)

    def forward(self, x):
        mem1, mem2 = torch.zeros(x.shape[1], 20), torch.zeros(x.shape[1], 6)
        counts = torch.zeros(x.shape[1], 6)
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            counts = counts + spk2
        return counts


class Convolutional(nn.Module):
    """Pooling and flattening as functions, batch first, states reset to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.lif1 = snntorch.Leaky(0.9, threshold=0.4, reset_mechanism="zero")
        self.conv2 = nn.Conv2d(4, 6, (3, 3), stride=(1, 1))
        self.lif2 = snntorch.Leaky(0.9, threshold=0.3)
        self.fc = nn.Linear(6 * 3 * 3, 5)
        self.lif3 = snntorch.Leaky(0.9, threshold=0.3)

    def forward(self, x):  # [B, T, C, H, W]
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        out = []
        for t in range(x.size(1)):
            spk1, mem1 = self.lif1(self.conv1(x[:, t]), mem1)
            spk2, mem2 = self.lif2(self.conv2(F.avg_pool2d(spk1, 2)), mem2)
            pooled = F.avg_pool2d(spk2, kernel_size=2)
            spk3, mem3 = self.lif3(self.fc(pooled.view(x.size(0), -1)), mem3)
            out.append(spk3)
        return torch.stack(out)


class MaxPooled(nn.Module):
    """The convolutional classifier of the lessons: the largest currents of a window, static image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.lif1 = snntorch.Leaky(0.5, threshold=0.2)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.lif2 = snntorch.Leaky(0.5, threshold=0.2)
        self.drop = nn.Dropout(0.25)
        self.fc1 = nn.Linear(8 * 2 * 2, 10)
        self.lif3 = snntorch.Leaky(0.5, threshold=0.2)

    def forward(self, x):
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        out = []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(self.drop(spk2).flatten(1)), mem3)
            out.append(spk3)
        return torch.stack(out)


class Recurrent(nn.Module):
    """A recurrent hidden layer, all to all."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(40, 24)
        self.rlif1 = snntorch.RLeaky(0.8, linear_features=24, threshold=0.5)
        self.fc2 = nn.Linear(24, 8)
        self.lif2 = snntorch.Leaky(0.9, threshold=0.3)

    def forward(self, x):
        spk1, mem1 = self.rlif1.init_rleaky()
        mem2 = self.lif2.init_leaky()
        out = []
        for t in range(x.size(0)):
            spk1, mem1 = self.rlif1(self.fc1(x[t]), spk1, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem=mem2)
            out.append(spk2)
        return torch.stack(out)


class Populations(nn.Module):
    """A readout without weights: sums over the neurons of each class."""

    def forward(self, counts):
        return counts.reshape(len(counts), 3, 10).sum(-1)


class PopulationOutput(nn.Module):
    """Several output neurons for each class, summed over time and over the population."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(40, 32)
        self.lif1 = snntorch.Leaky(0.9, threshold=0.4, spike_grad=snntorch.surrogate.sigmoid(slope=5))
        self.head = nn.Linear(32, 3 * 10)
        self.lif2 = snntorch.Leaky(0.9, threshold=0.3)
        self.populations = Populations()

    def forward(self, x):
        mem1, mem2, out = None, None, []
        for t in range(len(x)):
            spk1, mem1 = self.lif1(self.body(x[t]), mem1)
            spk2, mem2 = self.lif2(self.head(spk1), mem2)
            out.append(spk2)
        return self.populations(torch.stack(out).sum(0))


class Regression(nn.Module):
    """The membrane of a last neuron that nothing resets is the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(40, 16)
        self.lif1 = snntorch.Leaky(0.9, threshold=0.4)
        self.fc2 = nn.Linear(16, 1)
        self.readout = snntorch.Leaky(0.9, reset_mechanism="none")

    def forward(self, x):
        mem1, mem2 = self.lif1.reset_mem(), self.readout.reset_mem()
        trace = []
        for t in range(len(x)):
            spk1, mem1 = self.lif1(self.fc1(x[t]), mem1)
            _, mem2 = self.readout(self.fc2(spk1), mem2)
            trace.append(mem2)
        return torch.stack(trace).squeeze(-1)


class OneStep(nn.Module):
    """`init_hidden=True` in a class: forward is one step, and the loop over time lies outside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(40, 20), snntorch.Leaky(0.7, threshold=0.3, init_hidden=True), nn.Linear(20, 10)]
        )
        self.out = snntorch.Leaky(0.7, threshold=0.3, init_hidden=True, output=True)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class Circuits(nn.Module):
    """Neurons as RC circuits, and one-to-one recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(40, 24)
        self.lif1 = snntorch.Lapicque(R=4.0, C=0.5, time_step=0.25, threshold=0.1)
        self.fc2 = nn.Linear(24, 12)
        self.rlif2 = snntorch.RLeaky(0.8, all_to_all=False, V=torch.linspace(-0.5, 0.5, 12), threshold=0.3)

    def forward(self, x):
        mem1 = self.lif1.init_lapicque()
        spk2, mem2 = self.rlif2.init_rleaky()
        out = []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.rlif2(self.fc2(spk1), spk2, mem2)
            out.append(spk2)
        return torch.stack(out)


class ImageRecurrence(nn.Module):
    """Neurons on images that hear their neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.rlif1 = snntorch.RLeaky(0.8, conv2d_channels=3, kernel_size=3, threshold=0.4)
        self.fc = nn.Linear(3 * 36, 8)
        self.lif2 = snntorch.Leaky(0.8, threshold=0.3)

    def forward(self, x):
        (spk1, mem1), mem2, out = self.rlif1.init_rleaky(), self.lif2.init_leaky(), []
        for step in x:
            spk1, mem1 = self.rlif1(self.conv(step), spk1, mem1)
            spk2, mem2 = self.lif2(self.fc(spk1.reshape(len(step), -1)), mem2)
            out.append(spk2)
        return torch.stack(out)


class SpikingCells(nn.Module):
    """LSTM cells that fire, of equal sizes, since snnTorch loses the states of others."""

    def __init__(self) -> None:
        super().__init__()
        self.slstm1 = snntorch.SLSTM(20, 20, threshold=0.02)
        self.fc = nn.Linear(20, 6)
        self.lif2 = snntorch.Leaky(0.9, threshold=0.3)

    def forward(self, x):
        syn1, mem1 = self.slstm1.init_slstm()
        mem2, out = self.lif2.init_leaky(), []
        for step in x:
            spk1, syn1, mem1 = self.slstm1(step, syn1, mem1)
            spk2, mem2 = self.lif2(self.fc(spk1), mem2)
            out.append(spk2)
        return torch.stack(out)


class SynapticCurrents(nn.Module):
    """Neurons behind synaptic currents, feed-forward and recurrent."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(40, 20)
        self.lif1 = snntorch.Synaptic(alpha=0.6, beta=torch.linspace(0.5, 0.9, 20), learn_alpha=True, threshold=0.6)
        self.fc2 = nn.Linear(20, 8)
        self.rlif2 = snntorch.RSynaptic(alpha=0.5, beta=0.8, linear_features=8, learn_beta=True, threshold=0.4)

    def forward(self, x):
        syn1, mem1 = self.lif1.init_synaptic()
        spk2, syn2, mem2 = self.rlif2.init_rsynaptic()
        out = []
        for step in x:
            spk1, syn1, mem1 = self.lif1(self.fc1(step), syn1, mem1)
            spk2, syn2, mem2 = self.rlif2(self.fc2(spk1), spk2, syn2, mem2)
            out.append(spk2)
        return torch.stack(out)


def synaptic_currents() -> Any:
    return SynapticCurrents(), spikes(STEPS, BATCH, 40), {}


def alpha_neurons() -> Any:
    net = nn.Sequential(
        *(nn.Linear(40, 20), snntorch.Alpha(alpha=0.9, beta=0.8, threshold=0.3, init_hidden=True)),
        *(nn.Linear(20, 8), snntorch.Leaky(0.9, threshold=0.3, init_hidden=True)),
    )
    return net, spikes(STEPS, BATCH, 40), {}


def static_input() -> Any:
    return StaticInput(), spikes(BATCH, 40), {}


def learned_decays() -> Any:
    return LearnedDecays(), spikes(STEPS, BATCH, 40), {}


def convolutional() -> Any:
    return Convolutional(), spikes(BATCH, STEPS, 2, 16, 16), {"image": (2, 16, 16)}


def convolutional_init_hidden() -> Any:
    common = {"beta": 0.9, "threshold": 0.3, "init_hidden": True}
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 5), snntorch.Leaky(**common), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 6, 3), snntorch.Leaky(**common), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(6 * 2 * 2, 10), snntorch.Leaky(**common, output=True)),
    )
    return net, spikes(STEPS, BATCH, 1, 16, 16), {"image": (1, 16, 16)}


def max_pooled() -> Any:
    return MaxPooled(), spikes(BATCH, 1, 16, 16), {"image": (1, 16, 16)}


def circuits() -> Any:
    return Circuits(), spikes(STEPS, BATCH, 40), {}


def image_recurrence() -> Any:
    return ImageRecurrence(), spikes(STEPS, BATCH, 1, 8, 8), {"image": (1, 8, 8)}


def spiking_cells() -> Any:
    return SpikingCells(), spikes(STEPS, BATCH, 20), {"lowers": "SpikingLSTM"}


def recurrent() -> Any:
    return Recurrent(), spikes(STEPS, BATCH, 40), {}


def recurrent_init_hidden() -> Any:
    net = nn.Sequential(
        nn.Sequential(nn.Linear(40, 24), snntorch.RLeaky(0.8, linear_features=24, threshold=0.4, init_hidden=True)),
        nn.Sequential(nn.Linear(24, 10), snntorch.Leaky(0.8, threshold=0.3, init_hidden=True, output=True)),
    )
    return net, spikes(STEPS, BATCH, 40), {}


def population_output() -> Any:
    return PopulationOutput(), spikes(STEPS, BATCH, 40), {}


def regression() -> Any:
    return Regression(), spikes(STEPS, BATCH, 40), {}


def one_step() -> Any:
    return OneStep(), spikes(STEPS, BATCH, 40), {"by_step": True}


def quantized_states() -> Any:
    quantize = snntorch.functional.quant.state_quant
    net = nn.Sequential(
        nn.Linear(40, 20),
        snntorch.Leaky(0.5, threshold=0.3, init_hidden=True, state_quant=quantize(4, threshold=0.3)),
        nn.Linear(20, 10),
        snntorch.Leaky(
            0.5, threshold=0.2, init_hidden=True, state_quant=quantize(3, uniform=False, threshold=0.2, lower_limit=0.5)
        ),
    )
    return net, spikes(STEPS, BATCH, 40), {}


def batch_normalised() -> Any:
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), snntorch.Leaky(0.9, threshold=0.4, init_hidden=True)),
        *(nn.Flatten(), nn.Linear(4 * 6 * 6, 10), nn.BatchNorm1d(10)),
        snntorch.Leaky(0.9, threshold=0.3, init_hidden=True, output=True),
    )
    generator = torch.Generator().manual_seed(2)
    for norm in (net[1], net[5]):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.25)
    # Folded weights are no longer dyadic, so sums depend on their order.
    return net, spikes(STEPS, BATCH, 1, 8, 8), {"image": (1, 8, 8), "exact": 0.02}


NETWORKS: dict[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (
        static_input,
        learned_decays,
        convolutional,
        convolutional_init_hidden,
        recurrent,
        recurrent_init_hidden,
        population_output,
        regression,
        one_step,
        quantized_states,
        batch_normalised,
        synaptic_currents,
        alpha_neurons,
        max_pooled,
        circuits,
        image_recurrence,
        spiking_cells,
    )
}


def made(name: str, dyadic: bool = False) -> Any:
    """The network with fresh seeded weights; dyadic ones are multiples of 1/64, whose sums are exact in any order."""
    torch.manual_seed(0)
    net, x, options = NETWORKS[name]()
    if dyadic:
        for parameter in net.parameters():
            if parameter.dim():
                parameter.data.mul_(64).round_().div_(64)
    return net, x, options
