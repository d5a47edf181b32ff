"""SpikingLSTM: LSTM cells whose hidden state fires, with own specs for hidden and cell state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from squat.checks import check_choice, check_int, check_type
from squat.neurons.base import check_sequence, widened
from squat.neurons.lif import DEFAULT_SURROGATE
from squat.neurons.state import LSTMState
from squat.neurons.stateful import Stateful
from squat.neurons.weights import OwnWeights
from squat.operators import check_finite, outside_graphs
from squat.ops.lstm import LSTMConfig, LSTMWeights, lstm
from squat.quant.encoder import STE_RULES
from squat.quant.spec import StateSpec
from squat.quant.weight import IntWeight
from squat.surrogate import Surrogate


class SpikingLSTM(OwnWeights, Stateful):
    """LSTM cells that spike (snnTorch's `SLSTM`), with float or quantized hidden and cell states and weights.

        i, f, g, o = gates(W_in x[t] + b_in + W_rec h[t-1] + b_rec)      sigmoid; g: tanh
        c[t] = Q_c(a_c),    a_c = f*c[t-1] + i*g
        h[t] = Q_h(a_h),    a_h = o*tanh(a_c) - theta*s[t-1]             s[t] = (h[t] > theta)

    The hidden state takes the unquantized `a_c`, as published. `o*tanh(a_c)` lies in (-1, 1): choose a threshold below
    1 (snnTorch's default is 1). snnTorch 1.0.0 sets both states to zero at every step where `in_features != features`;
    here they are kept. The gates are float, so this layer cannot be lowered.

    Args:
        in_features: inputs.
        features: cells.
        threshold: firing threshold, > 0.
        state: spec of the hidden state such as `Uniform(4)`, or None for a float one.
        cell_state: spec of the cell state, None for a float one, or `"same"` as the hidden state's, as in snnTorch; its
            levels are in units of the threshold too.
        weight: weight spec for both matrices, each with its own scale (`"channel"`: one for each row of gates), or None
            for float weights. They are quantized once per sequence.
        bias: whether there are biases, one for each matrix as in torch's cells.
        reset: `"none"`, `"subtract"` the threshold from the hidden state, or `"zero"` it.
        surrogate: surrogate gradient of the spike.
        learn_threshold: train the threshold; the levels follow it.
        ste: straight-through estimator, `"identity"` as published or `"clipped"` to the range of the levels.

    Raises:
        TypeError, ValueError: for values outside these ranges.

    Source: Hochreiter & Schmidhuber 1997; Eshraghian et al. 2023 (snnTorch).

    Example:
        >>> from squat import SpikingLSTM, Uniform
        >>> layer = SpikingLSTM(140, 32, 0.3, state=Uniform(4), cell_state=Uniform(8, 4.0, 4.0))
        >>> spikes, state = layer(torch.ones(20, 3, 140))
        >>> spikes.shape, state.codes.dtype, state.cell_codes.dtype
        (torch.Size([20, 3, 32]), torch.uint8, torch.uint8)
    """

    states_per_neuron = 2
    wide = (*Stateful.wide, "levels", "cell_levels")
    spec_arguments = ("cell_state",)
    """Arguments, and attributes, that hold the specs of further states."""
    state_spec: StateSpec | None

    def __init__(
        self,
        in_features: int,
        features: int,
        threshold: float = 0.5,
        *,
        state: StateSpec | None = None,
        cell_state: StateSpec | str | None = "same",
        weight: IntWeight | None = None,
        bias: bool = True,
        reset: str = "none",
        surrogate: Surrogate = DEFAULT_SURROGATE,
        learn_threshold: bool = False,
        ste: str = "identity",
    ) -> None:
        super().__init__()
        self.in_features = check_int("in_features", in_features, 1)
        self.features = check_int("features", features, 1)
        self.reset = check_choice("reset", reset, ("none", "subtract", "zero"))
        self.surrogate = check_type("surrogate", surrogate, Surrogate, "a surrogate such as FastSigmoid(25.0)")
        self.ste = check_choice("ste", ste, STE_RULES)
        self._set_threshold(threshold, learn_threshold)
        rows = 4 * features
        self.weight_in = nn.Parameter(torch.empty(rows, in_features))
        self.weight_rec = nn.Parameter(torch.empty(rows, features))
        biased = check_type("bias", bias, bool, "True or False")
        self.bias_in = nn.Parameter(torch.empty(rows)) if biased else None
        self.bias_rec = nn.Parameter(torch.empty(rows)) if biased else None
        self.reset_parameters()
        self.set_weight_spec(weight)
        self.cell_state = _checked_spec("cell_state", cell_state, cell_state == "same")
        self.set_state_spec(state)

    def reset_parameters(self) -> None:
        """Draw weights and biases as torch's LSTM cells do, from the global seed."""
        limit = 1 / math.sqrt(self.features)
        for parameter in (self.weight_in, self.weight_rec, self.bias_in, self.bias_rec):
            if parameter is not None:
                nn.init.uniform_(parameter, -limit, limit)

    @property
    def cell_spec(self) -> StateSpec | None:
        """The spec of the cell state in force, None for a float one."""
        return self.state_spec if isinstance(self.cell_state, str) else self.cell_state

    def set_state_spec(self, spec: StateSpec | None) -> None:
        """Swap the spec of the hidden state in place, and that of the cell state if it has the same.

        Raises:
            TypeError: if `spec` is not a state spec.
            ValueError: for a spec that forces decays.
        """
        self.state_spec = _checked_spec("state", spec)
        self._refresh_levels()

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        specs = {"state": self.state_spec, "cell_state": self.cell_state, "weight": self.weight_spec}
        return {
            "in_features": self.in_features,
            "features": self.features,
            "threshold": float(self.threshold.detach()),
            **{name: spec if spec is None or spec == "same" else spec.to_json() for name, spec in specs.items()},
            "bias": self.bias_in is not None,
            "reset": self.reset,
            "surrogate": self.surrogate.to_json(),
            "learn_threshold": self.learn_threshold,
            "ste": self.ste,
        }

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """Run the layer through a sequence.

        Args:
            x: `[T, B, in_features]`, any finite values.
            state: the state that an earlier call returned, to continue a sequence.

        Returns:
            Spikes `[T, B, features]` in the dtype of the input, and the state after the last step.

        Raises:
            TypeError: for an input that is no floating-point tensor.
            ValueError: for wrong axes or features, no step or sample, NaN or infinity, or a foreign state.
        """
        check_sequence(x, "[T, B, in_features]")
        if x.dim() != 3 or x.shape[2] != self.in_features:
            raise ValueError(
                f"x: shape {tuple(x.shape)}, expected [T, B, in_features] with in_features={self.in_features}"
            )
        check_finite(x)
        values = widened(x)
        u, cell = self._start(state, values)
        config = LSTMConfig(self.state_spec, self.cell_spec, self.surrogate, self.reset, self.ste == "clipped")
        result = outside_graphs(lstm)(values, u, cell, self._weights_in(values.dtype), self.threshold, config)
        return result.spikes.to(x.dtype), LSTMState(result.u, result.cell, result.codes, result.cell_codes)

    def weight_matrices(self) -> list[Tensor]:
        """Input and recurrent weights, each with a scale of its own."""
        return [self.weight_in, self.weight_rec]

    def extra_repr(self) -> str:
        """The arguments, specs in their own words."""
        parts = [f"{self.in_features}, {self.features}, threshold={float(self.threshold.detach()):.4g}"]
        parts += [
            f"state={self.state_spec}, cell_state={self.cell_state}, reset={self.reset!r}, surrogate={self.surrogate}"
        ]
        return ", ".join(parts)

    def _weights_in(self, dtype: torch.dtype) -> LSTMWeights:
        """Weights and biases of the coming sequence, in the loop's dtype."""
        if self.quantizers and not self.training:
            stored = [quantizer.stored_scale() for quantizer in self.quantizers]
            matrices = self._remembered((self.weight_in, self.weight_rec, *stored), (), self._matrices)
        else:
            matrices = self._matrices()
        biases = (None if bias is None else bias.to(dtype) for bias in (self.bias_in, self.bias_rec))
        return LSTMWeights(*(matrix.to(dtype) for matrix in matrices), *biases)

    def _matrices(self) -> list[Tensor]:
        """Both matrices, quantized ones as `scale * w_int`."""
        if not self.quantizers:
            return self.weight_matrices()
        return [w_int * scale.reshape(-1, 1) for _, (w_int, scale) in self.quantized_weights()]

    def _start(self, state: LSTMState | None, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (x.shape[1], self.features)
        if state is None:
            return x.new_zeros(shape), x.new_zeros(shape)
        check_type("state", state, LSTMState, "an LSTMState that this layer returned")
        for name, value in (("hidden", state.u), ("cell", state.cell)):
            if value.shape != shape:
                raise ValueError(
                    f"state: {name} state of shape {tuple(value.shape)}, expected {shape} like one step of the output; "
                    "carry the state of the same layer and batch"
                )
        return state.u.to(x.dtype), state.cell.to(x.dtype)

    @torch.no_grad()
    def _refresh_levels(self) -> None:
        """The buffers follow the specs and a learned threshold."""
        for name, spec in (("levels", self.state_spec), ("cell_levels", self.cell_spec)):
            levels = None if spec is None else spec.levels(float(self.threshold)).to(self.threshold.device)
            self.register_buffer(name, levels)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._refresh_levels()
        super()._save_to_state_dict(destination, prefix, keep_vars)


def _checked_spec(name: str, spec: Any, same: bool = False) -> Any:
    if not same:
        check_type(name, spec, (StateSpec, type(None)), "a state spec such as Uniform(4), or None for a float state")
    if isinstance(spec, StateSpec) and spec.decays:
        raise ValueError(f"{name}={spec}: expected a spec with decay='free'; the forget gate decides what decays here")
    return spec
