"""Weights by maximum against Brevitas: narrow range, round half to even, the only definitions it shares with ours."""

import warnings

import pytest
import torch

from squat.quant.weight import IntWeight, WeightQuantizer


def brevitas_quantizer(bits, per_channel, weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import and tensor wrappers warn about torch's own deprecations
        qnn = pytest.importorskip("brevitas.nn", reason="Brevitas, an oracle of the dev extra, is not installed")
        from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat

        quantizer = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFloat
        layer = qnn.QuantLinear(
            weight.shape[1], weight.shape[0], bias=False, weight_quant=quantizer, weight_bit_width=bits
        )
        layer.weight.data.copy_(weight)
        quantized = layer.quant_weight()
        return quantized.value, quantized.scale, quantized.value / quantized.scale


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_equals_brevitas(bits, per_channel):
    weight = torch.randn(20, 50, generator=torch.Generator().manual_seed(bits)) * 0.1
    value, their_scale, ratio = brevitas_quantizer(bits, per_channel, weight)
    spec = IntWeight(bits, "channel" if per_channel else "tensor", "max")
    w_int, scale = WeightQuantizer(spec, weight.shape)(weight)
    scale = scale.reshape(-1, 1)
    assert torch.equal(scale, their_scale.detach().reshape(scale.shape))
    assert torch.equal(w_int, ratio.detach().round())
    assert torch.equal(scale * w_int, value.detach())
