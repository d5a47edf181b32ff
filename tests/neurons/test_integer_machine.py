"""The integer rule against a machine in numpy int64, written from the equations of the documentation.

acc = (z << F) + bias_int + table_int[c]          table_int = round((beta*level[c] - reset[c]) * 2^F / w_scale)
c'  = #{k : acc > bound_int[k]}                   bound_int = floor(bound * 2^F / w_scale)
spike = c' >= first firing code                   init: acc = (z << F) + bias_int
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import squat
from squat.layers import Current
from squat.quant.spec import STATE_SPECS

BITS = (2, 4, 8)
SPECS = [STATE_SPECS[name](bits) for name in STATE_SPECS for bits in BITS]
FRACTION = {2: 4, 4: 8, 8: 16}


@dataclass
class Machine:
    """One layer; `scale` and `beta` are scalars or one value per neuron."""

    spec: squat.StateSpec
    beta: float | list[float]
    threshold: float
    scale: np.ndarray
    bias: np.ndarray | None
    bound: int
    reset: str = "subtract"
    drop_input: bool = False

    def __post_init__(self):
        levels = self.spec.levels(self.threshold).double().numpy()
        bounds = self.spec.boundaries(self.threshold, torch.float64).numpy()
        self.fires = levels > self.threshold
        self.first = int(self.fires.argmax())
        beta = np.asarray(self.beta, dtype=np.float32).astype(np.float64).reshape(-1, 1)
        scale = np.asarray(self.scale, dtype=np.float64).reshape(-1, 1)
        kept = np.where(self.fires & (self.reset == "zero"), 0.0, levels)
        subtracted = np.where(self.fires & (self.reset == "subtract"), self.threshold, 0.0)
        self.shift = FRACTION[self.spec.bits]
        while True:
            unit = 2.0**self.shift / scale
            self.table = np.rint((beta * kept - subtracted) * unit).astype(np.int64)
            if self.bound * 2**self.shift + np.abs(self.table).max() < 2**31:
                break
            self.shift -= 1
        self.bounds = np.floor(bounds * unit).astype(np.int64)
        self.bias_int = 0 if self.bias is None else np.rint(self.bias * unit[:, 0]).astype(np.int64)

    def run(self, z, w_rec=None):
        """Codes and spikes `[T, B, N]` for integer sums `z` `[T, B, N]`."""
        codes, spikes, all_codes = None, None, []
        for total in z.astype(np.int64):
            if spikes is not None and w_rec is not None:
                total = total + spikes.astype(np.int64) @ w_rec.T
            acc = (total << self.shift) + self.bias_int
            if codes is not None:
                neuron = np.zeros(z.shape[-1], dtype=int) if len(self.table) == 1 else np.arange(z.shape[-1])
                acc = acc + self.table[neuron, codes]
                if self.drop_input and self.reset == "zero":
                    acc = np.where(self.fires[codes], 0, acc)
            codes = (acc[..., None] > self.bounds).sum(-1)
            spikes = codes >= self.first
            all_codes.append(codes)
        return np.stack(all_codes), np.stack(all_codes) >= self.first


def random_current(seed, per_channel, bias, shape=(12, 5, 11)):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(-60, 91, shape, generator=generator).float()
    scale = torch.rand(shape[2], generator=generator) * 0.01 + 0.004 if per_channel else torch.tensor(0.00731)
    return Current(z, scale, torch.randn(shape[2], generator=generator) * 0.1 if bias else None, 90)


def assert_same_machine(neuron, current, machine):
    expected, expected_spikes = machine.run(current.z.numpy())
    spikes, state = neuron(current)
    assert np.array_equal(spikes.numpy(), expected_spikes)
    assert np.array_equal(state.codes.numpy(), expected[-1])
    state = None
    for t in range(len(expected)):  # the codes of every step, streamed
        _, state = neuron(current._replace(z=current.z[t : t + 1]), state)
        assert np.array_equal(state.codes.numpy(), expected[t]), f"codes differ at step {t}"
    assert torch.equal(state.u, machine.spec.levels(machine.threshold)[state.codes.long()])


@pytest.mark.parametrize(
    ("reset", "zero_reset"), [("subtract", None), ("zero", "keep_input"), ("zero", "drop_input"), ("none", None)]
)
@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_lif(spec, reset, zero_reset):
    per_neuron = np.linspace(0.0, 1.0, 11).round(2).tolist()
    cases = [
        (1.0, 0.9, False, True),
        (0.75, 0.95, True, False),
        (0.75, per_neuron, True, True),
        (2.5, per_neuron, False, True),
    ]
    for seed, (threshold, beta, per_channel, bias) in enumerate(cases):
        current = random_current(seed, per_channel, bias)
        more = {} if zero_reset is None else {"zero_reset": zero_reset}
        neuron = squat.LIF(beta, threshold, state=spec, reset=reset, **more)
        scale = current.scale.double().numpy()
        b = None if current.bias is None else current.bias.double().numpy()
        machine = Machine(spec, beta, threshold, scale, b, current.bound, reset, zero_reset == "drop_input")
        assert machine.shift == FRACTION[spec.bits]
        assert_same_machine(neuron, current, machine)


def grid_weights(weight, per_channel):
    """Integers `[11, 21]` and scales `[11, 1]`, powers of two: `scale * w_int` lies on the quantizer's own grid."""
    w_int = torch.randint(-weight.qmax, weight.qmax + 1, (11, 21), generator=torch.Generator().manual_seed(1)).float()
    w_int[:, 0] = weight.qmax  # so the scale by maximum is the scale meant
    scale = torch.full((11, 1), 0.125 if weight.bits == 2 else 2.0 ** -(weight.bits + 1))
    return w_int, scale * torch.tensor([1.0, 0.5, 2.0, 1.0]).repeat(3)[:11, None] if per_channel else scale


@pytest.mark.parametrize("weight_bits", BITS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_rlif(spec, weight_bits):
    for per_channel, reset in ((False, "subtract"), (True, "zero")):
        weight = squat.IntWeight(weight_bits, "channel" if per_channel else "tensor", scale="max")
        w_int, scale = grid_weights(weight, per_channel)
        neuron = squat.RLIF(10, 11, 0.9, 1.0, weight=weight, state=spec, reset=reset)
        neuron.weight_in.copy_((w_int * scale)[:, :10])
        neuron.weight_rec.copy_((w_int * scale)[:, 10:])
        neuron.bias.copy_(torch.linspace(-0.2, 0.3, 11))
        neuron.set_weight_spec(weight)
        neuron.eval()
        x = (torch.rand(12, 5, 10, generator=torch.Generator().manual_seed(3)) < 0.4).float()

        integers = w_int.numpy().astype(np.int64)
        row_bound = int(np.abs(integers).sum(1).max())
        used = scale[:, 0] if per_channel else scale[0, 0]
        bias = neuron.bias.double().numpy()
        machine = Machine(spec, 0.9, 1.0, used.numpy(), bias, row_bound, reset, drop_input=True)
        expected, expected_spikes = machine.run(x.numpy().astype(np.int64) @ integers[:, :10].T, integers[:, 10:])
        spikes, state = neuron(x)
        assert 0.02 < expected_spikes.mean() < 0.98
        assert np.array_equal(spikes.numpy(), expected_spikes)
        assert np.array_equal(state.codes.numpy(), expected[-1])


@pytest.mark.parametrize("name", STATE_SPECS)
@torch.no_grad()
def test_pixels_lower_the_fraction_bits(name):
    """784 pixels of up to 255 with 8-bit weights leave fewer than 16 fraction bits in 32."""
    torch.manual_seed(0)
    spec = STATE_SPECS[name](8)
    linear = squat.Linear(784, 6, weight=squat.IntWeight(8, scale="max"), input_scale=1 / 255, input_max=255).eval()
    pixels = torch.randint(0, 256, (3, 784)).float().expand(9, -1, -1)
    current = linear(pixels)
    w_int = np.rint(linear.weight.double().numpy() / float(linear.weight.abs().max() / 127))
    assert np.array_equal(current.z[0].numpy(), pixels[0].numpy().astype(np.int64) @ w_int.T)
    bias = linear.bias.double().numpy()
    machine = Machine(spec, 0.9, 0.25, current.scale.double().numpy(), bias, current.bound)
    assert machine.shift < 16
    assert_same_machine(squat.LIF(0.9, 0.25, state=spec), current, machine)


def test_a_certain_overflow_is_refused():
    current = Current(torch.zeros(1, 1, 1), torch.tensor(1e-12), None, 2**20)
    with pytest.raises(ValueError, match=r"accumulator.*2\*\*31"):
        squat.LIF(0.9, state=squat.Uniform(8))(current)
