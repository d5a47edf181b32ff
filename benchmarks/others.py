"""The feed-forward and the recurrent network, float, in SpikingJelly 2.0 (multi-step mode) and in Norse."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from benchmarks.cases import Unavailable
from benchmarks.published import BETA

DT = 1e-3
"""Norse's time step in seconds, its default."""


def network(settings: dict[str, Any], stack: str) -> nn.Module:
    """The network of `stack`.

    Raises:
        Unavailable: if the library cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about their own optional parts
            return {"SpikingJelly": SpikingJelly, "Norse": Norse}[stack](settings)
    except (ImportError, RuntimeError, OSError) as error:  # torch reports a broken extension as RuntimeError
        raise Unavailable(f"{stack} cannot be imported: {str(error).splitlines()[0]}") from None


class SpikingJelly(nn.Module):
    """Decay 1 - 1/tau, soft reset in the step of the spike."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        inputs, hidden, classes = (settings[name] for name in ("inputs", "hidden", "classes"))

        def lif(step_mode: str = "m") -> nn.Module:
            return neuron.LIFNode(
                tau=1 / (1 - BETA), decay_input=False, v_reset=None, detach_reset=True, step_mode=step_mode,
                surrogate_function=surrogate.ATan(),
            )  # fmt: skip

        first = lif()
        if settings["kind"] == "recurrent":
            self.recurrent = nn.Linear(hidden, hidden, bias=False)
            first = layer.ElementWiseRecurrentContainer(lif("s"), lambda x, y: x + self.recurrent(y), step_mode="m")
        self.layers = nn.Sequential(
            layer.Linear(inputs, hidden, step_mode="m"), first, layer.Linear(hidden, classes, step_mode="m"), lif()
        )
        self._reset = functional.reset_net

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Output spikes `[T, B, classes]` from rest."""
        self._reset(self.layers)
        return self.layers(x), None


class Norse(nn.Module):
    """Neurons with a synaptic current, hard reset."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        import norse.torch as norse
        import torch

        inputs, hidden, classes = (settings[name] for name in ("inputs", "hidden", "classes"))
        parameters = norse.LIFParameters(tau_mem_inv=torch.tensor((1 - BETA) / DT))
        if settings["kind"] == "recurrent":
            first = [norse.LIFRecurrent(inputs, hidden, p=parameters, dt=DT)]
        else:
            first = [nn.Linear(inputs, hidden), norse.LIF(p=parameters, dt=DT)]
        self.layers = norse.SequentialState(*first, nn.Linear(hidden, classes), norse.LIF(p=parameters, dt=DT))

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """Output spikes `[T, B, classes]` from rest."""
        return self.layers(x)
