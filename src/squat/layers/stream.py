"""Single time steps of networks in use: one compiled call a layer, with everything constant prepared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from squat.layers.linear import Linear
from squat.neurons.base import Neuron
from squat.neurons.lif import LI, LIF
from squat.neurons.rlif import RLIF
from squat.neurons.state import LIFState
from squat.ops.dispatch import current_backend
from squat.ops.lif.tables import code_tables
from squat.quant.weight import WeightQuantizer


class _Plan(NamedTuple):
    """What a layer's steps have in common: arguments of `step_integer`, and the codes of a start that is not fresh."""

    features: int
    first_code: int | None
    arguments: tuple[Any, ...]


class _Watched(NamedTuple):
    """A parameter, buffer or module in its module's table, and how it was.

    `memory` is a tensor's, held so that nothing else can come to lie there, and `version` its count of changes.
    """

    table: dict[str, Any]
    name: str
    value: Any
    memory: Tensor | None
    version: int

    @classmethod
    def of(cls, module: nn.Module, name: str) -> _Watched:
        """What is there now."""
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers, module._modules)
        # A layer without a bias has no such entry; one that is given later becomes a parameter.
        table = next((table for table in tables if name in table), module._parameters)
        value = table.get(name)
        if not isinstance(value, Tensor):
            return cls(table, name, value, None, 0)
        if value.is_inference():  # which keeps no count of its changes
            return cls(table, name, None, value, -1)
        return cls(table, name, value, value.detach(), value._version)

    def is_unchanged(self) -> bool:
        """Whether it is the same object, and unwritten as autograd counts it."""
        value = self.table.get(self.name)
        if value is not self.value:
            return False
        if self.memory is None:
            return True
        return value._version == self.version and value.data_ptr() == self.memory.data_ptr()


class _Stage:
    """A layer with integer weights and its neurons."""

    def __init__(self, product: Linear | RLIF, neuron: Neuron) -> None:
        self.product, self.neuron = product, neuron
        self._watched: list[_Watched] = []
        self._settings: tuple[Any, ...] = ()
        self._plan: _Plan | None = None

    def plan(self) -> _Plan | None:
        """The plan in force, kept while nothing changes that it depends on; None where the layer has no such step."""
        product, neuron = self.product, self.neuron
        settings = (
            product.input_scale, product.input_max, product.input_min, neuron.state_spec, neuron.reset,
            neuron.zero_reset, neuron.initial, neuron.arithmetic, neuron.learn_beta,
        )  # fmt: skip
        if settings != self._settings or not all(watched.is_unchanged() for watched in self._watched):
            self._settings, self._watched, self._plan = settings, self._watch(), self._make()
        return self._plan

    def _watch(self) -> list[_Watched]:
        product, neuron = self.product, self.neuron
        weights = ("weight_in", "weight_rec", "quantizers") if isinstance(product, RLIF) else ("weight", "quantizer")
        decay = "beta_logit" if neuron.learn_beta == "sigmoid" else "beta"
        watched = [_Watched.of(product, name) for name in (*weights, "bias")]
        if isinstance(product, Linear) and product.norm is not None:
            watched += [_Watched.of(product.norm, name) for name in ("log_gain", "mean", "variance")]
        thresholds = ("threshold_start", "log_threshold") if neuron.learn_threshold else ("threshold",)
        watched += [_Watched.of(neuron, name) for name in (decay, *thresholds)]
        for quantizer in product.modules():
            if isinstance(quantizer, WeightQuantizer):
                watched.append(_Watched.of(quantizer, "log_scale" if quantizer.spec.scale == "learned" else "scale"))
        return watched

    def _make(self) -> _Plan | None:
        from squat.ops.encoder import make_encoder
        from squat.ops.lif.cpu import padded_table, presynaptic_first

        product, neuron = self.product, self.neuron
        state, threshold = neuron.state_spec, neuron.threshold
        integer = product.weight_spec is not None and neuron.integer_states
        if not integer or (isinstance(product, RLIF) and not product.shared_scale) or not float(threshold) > 0:
            return None  # the layers' own steps run them, or refuse them
        w_in, w_rec, scale, bias, bound = product.integer_layer()
        config: Any = neuron.loop_config(True)
        tables = code_tables(
            config, torch.float32, neuron.decay_over((len(w_in),), torch.float32), threshold, scale, bias, bound
        )
        integers = tables.integers
        if w_in.dtype != torch.float32 or w_in.device.type != "cpu" or integers is None:
            return None
        if len(integers.table) > 1 or len(integers.bound) > 1:
            return None  # tables of each neuron's own
        features = len(w_in)
        # Sums of int16 entries stay int16 where the bound says so.
        kind = torch.int16 if bound < 2**15 else torch.int32
        offset = np.zeros(features, np.int32) if integers.bias is None else integers.bias.numpy()
        arguments = (
            presynaptic_first(w_in, kind), presynaptic_first(w_rec, kind), np.int32(integers.shift),
            padded_table(integers.table)[0], make_encoder(integers.bound[0].numpy()), offset, np.int32(tables.first),
            config.reset == "zero" and config.drop_input, tables.levels.numpy(), neuron.spiking,
        )  # fmt: skip
        first_code = None
        if neuron.initial == "code_of_zero" and state is not None:
            first_code = int(state.encode(torch.zeros(()), float(threshold)))
        return _Plan(features, first_code, arguments)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, LIFState] | None:
        """One step `[B, in]`, or None where the layer's own step must decide."""
        plan = None if _is_overridden(self.product) or _is_overridden(self.neuron) else self.plan()
        if plan is None:
            return None
        from squat.ops.lif.cpu_step import step_integer

        shape = (len(x), plan.features)
        fresh = state is not None or plan.first_code is None
        before = np.full(shape, plan.first_code or 0, np.uint8)
        if state is not None:
            if not isinstance(state, LIFState) or state.u.shape != shape:
                return None
            if not state.fresh:
                if state.codes is None or state.codes.dtype != torch.uint8 or state.codes.shape != shape:
                    return None
                fresh, before = False, state.codes.contiguous().numpy()
        out, u, codes = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint8)
        if not step_integer(x.detach().numpy(), before, fresh, *plan.arguments, out, u, codes):
            return None
        return torch.from_numpy(out), LIFState(torch.from_numpy(u), torch.from_numpy(codes))


def _is_overridden(module: nn.Module) -> bool:
    """Whether a call of the module does more than its class says: hooks, or a `forward` of its own."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks or _global_forward_hooks or _global_forward_pre_hooks) or "forward" in vars(module)


class Stream:
    """Steps a network of `Linear` with `LIF` or `LI`, and `RLIF`, under the integer rule, on spikes, without gradients.

    Args:
        layers: the network's layers.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self.layers = tuple(layers)
        self.stages: list[tuple[_Stage, int]] = []
        index, count = 0, len(self.layers)
        while index < count:
            layer, following = self.layers[index], self.layers[index + 1 : index + 2]
            if type(layer) is RLIF:
                self.stages.append((_Stage(layer, layer), index))
            elif type(layer) is Linear and following and type(following[0]) in (LIF, LI):
                index += 1
                self.stages.append((_Stage(layer, following[0]), index))  # type: ignore[arg-type]
            else:
                self.stages = []
                return
            index += 1

    def step(self, x: Tensor, states: tuple[Any, ...] | None) -> tuple[Tensor, tuple[Any, ...]] | None:
        """Spikes (or membranes) of one step and the states, or None where the network's own step must decide."""
        plain = self.stages and x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 2 and len(x)
        if not plain or current_backend(x.device) != "cpu" or (states is not None and len(states) != len(self.layers)):
            return None
        after: list[Any] = [None] * len(self.layers)
        out = x.contiguous()
        for stage, index in self.stages:
            columns = stage.product.in_features
            stepped = None if out.shape[1] != columns else stage.step(out, None if states is None else states[index])
            if stepped is None:
                return None
            out, after[index] = stepped
        return out, tuple(after)
