"""The neuron loop on a GPU against SpikingJelly, snnTorch and a memory copy: `python -m benchmarks.gpu`.

Nothing is reported unless the spikes equal the reference's. Without a GPU it says so and exits with code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

STEPS, BATCH, NEURONS = 100, 64, 4096
BETA, SLOPE = 0.9, 25.0


def loop_of(bits: int | None) -> Callable[[Tensor], Tensor]:
    """squat's loop, with codes of `bits` or a float membrane."""
    import squat

    state = None if bits is None else squat.ThresholdCentered(bits)
    neuron = squat.LIF(BETA, state=state, surrogate=squat.FastSigmoid(SLOPE)).cuda()
    return lambda x: neuron(x)[0]


def snntorch_loop() -> Callable[[Tensor], Tensor]:
    """snnTorch's `Leaky`, a Python loop over time."""
    import snntorch

    neuron = snntorch.Leaky(beta=BETA, spike_grad=snntorch.surrogate.fast_sigmoid(SLOPE)).cuda()

    def run(x: Tensor) -> Tensor:
        u, spikes = neuron.init_leaky(), []
        for current in x:
            s, u = neuron(current, u)
            spikes.append(s)
        return torch.stack(spikes)

    return run


def spikingjelly_loop() -> Callable[[Tensor], Tensor]:
    """SpikingJelly's multi-step LIF with the fastest backend that it offers."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=1 / (1 - BETA), decay_input=False, v_reset=None, detach_reset=True, step_mode="m",
        surrogate_function=surrogate.ATan(),
    ).cuda()  # fmt: skip
    node.backend = next(name for name in ("triton", "cupy", "torch") if name in node.supported_backends)

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


def milliseconds(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Medians of the forward pass alone, and of forward and backward."""
    from triton.testing import do_bench

    gradient = torch.rand_like(x)

    def step() -> None:
        torch.autograd.grad(run(x), x, gradient)

    with torch.no_grad():
        forward = do_bench(lambda: run(x), return_mode="median")
    return forward, do_bench(step, return_mode="median")


def copy_bandwidth() -> float:
    """Bytes read and written in a millisecond by a copy of 1 GiB."""
    from triton.testing import do_bench

    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / do_bench(lambda: target.copy_(source), return_mode="median")


def equal_to_reference(bits: int | None, x: Tensor) -> bool:
    """Whether the loop gives the specification's spikes, on a part of the input."""
    from squat.ops import backend

    part, run = x.detach()[:20, :4], loop_of(bits)
    with backend("reference"):
        expected = run(part)
    return torch.equal(run(part), expected)


def main() -> int:
    """Prints one line a loop; returns the exit code."""
    if not torch.cuda.is_available():
        print("benchmarks.gpu: no CUDA device here, so nothing to measure; run it where there is one", file=sys.stderr)
        return 2
    generator = torch.Generator("cuda").manual_seed(0)
    x = (0.3 * torch.randn(STEPS, BATCH, NEURONS, device="cuda", generator=generator)).requires_grad_()
    bandwidth = copy_bandwidth()
    device = torch.cuda.get_device_name()
    print(f"{device}: T={STEPS}, batch {BATCH}, {NEURONS} neurons, copy {bandwidth / 1e6:.0f} GB/s")
    print("loop                    forward, ms   training, ms   share of the copy's bandwidth: forward, training")
    for bits in (None, 8, 4, 2):
        if not equal_to_reference(bits, x):
            print(f"{bits} bits: the spikes differ from the reference's, so nothing is reported", file=sys.stderr)
            return 1
        # Input, output and what is saved; backward the saved state again, and two gradients.
        saved = 4 if bits is None else 1
        must_move = torch.tensor([4 + 4 + saved, 2 * (4 + 4 + saved)]) * x.numel()
        times = torch.tensor(milliseconds(loop_of(bits), x))
        share = must_move / times / bandwidth
        name = "squat, float" if bits is None else f"squat, {bits} bits"
        print(f"{name:22} {times[0]:12.3f} {times[1]:14.3f}   {share[0]:.2f}, {share[1]:.2f}")
    for name, make in (("spikingjelly", spikingjelly_loop), ("snntorch", snntorch_loop)):
        if find_spec(name) is None:
            print(f"{name:22} not installed")
            continue
        forward, training = milliseconds(make(), x)
        print(f"{name:22} {forward:12.3f} {training:14.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
