"""Neurons that own weights: their quantizers, and the integers of a coming sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from squat.checks import check_type
from squat.quant.weight import IntWeight, WeightQuantizer
from squat.remember import Remembered


class OwnWeights(nn.Module):
    """Mixin of neurons with weights; `weight_matrices` lists what has a scale of its own."""

    _spec: IntWeight | None

    @property
    def weight_spec(self) -> IntWeight | None:
        """The weight spec, None for float weights."""
        return self._spec

    def weight_matrices(self) -> list[Tensor]:
        """The float weights of each quantizer, output channels first."""
        raise NotImplementedError

    def set_weight_spec(self, spec: IntWeight | None) -> None:
        """Swap the weight spec in place; the scales are found anew from the present float weights.

        Raises:
            TypeError: if `spec` is not an `IntWeight`.
            ValueError: for NaN or infinity in the weights.
        """
        check_type("weight", spec, (IntWeight, type(None)), "an IntWeight, or None for float weights")
        self._spec, self._remembered = spec, Remembered()
        self.quantizers: Any = nn.ModuleList()
        if spec is None:
            return
        for matrix in self.weight_matrices():
            quantizer = WeightQuantizer(spec, matrix.shape).to(matrix.device).train(self.training)
            quantizer.rescale(matrix)
            self.quantizers.append(quantizer)

    def quantized_weights(self) -> list[tuple[WeightQuantizer, tuple[Tensor, Tensor]]]:
        """Quantizers with the integers and the scale of the coming sequence; none for float weights."""
        weights = self.weight_matrices() if self.quantizers else []
        return [(quantizer, quantizer(weight)) for quantizer, weight in zip(self.quantizers, weights, strict=True)]
