"""A run of a network, recorded: every call of a layer, every torch function between layers, every write in place.

Each tensor has a `Value` for what it holds at a time: its maker, and a copy that later readers are compared with. A
write in place makes new values of all tensors in the same memory, so that what is followed back can never be stale, nor
lead in a circle. A layer is recorded around its `forward`: whatever hooks do counts as outside of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from squat.compat.structure import NOTHING, Link, key_of, layers_of, refusal, tensors_in
from squat.compat.values import Call, Record, Value, alike, made_by, memory, name_of, same, stamp_of

STATES = ("spk", "syn", "syn_exc", "syn_inh", "mem")
"""States of snnTorch's neurons: arguments of `forward`, and attributes of the module between calls."""
DROPS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
"""Functions that do something in training only."""
ABOUT = {
    *("shape", "size", "dim", "ndim", "numel", "nelement", "__len__", "stride", "storage_offset", "is_contiguous"),
    *("dtype", "type", "element_size", "itemsize", "nbytes", "is_floating_point", "is_complex", "is_quantized"),
    *("device", "get_device", "is_cuda", "is_mps", "is_meta", "layout", "is_sparse", "is_nested", "names", "_version"),
    *("requires_grad", "grad", "grad_fn", "is_leaf", "backward", "register_hook", "retain_grad"),
    *("__hash__", "__repr__", "__format__"),
}
"""What may be asked of a tensor without its values entering Python."""


def record(net: nn.Module, inputs: tuple[Any, ...]) -> Record:
    """Every call of a layer, and of a torch function between layers, while `net` runs on copies of `inputs`."""
    inputs = tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
    recorder = _Recorder(tensors_in(inputs))
    with torch.random.fork_rng(devices=[]), torch.no_grad(), undisturbed(net), recorder.watching(net), recorder:
        output = net(*inputs)
        recorder.check_kept()
    results = [recorder.value_of(tensor) for tensor in tensors_in(output)]
    return Record(recorder.calls, results, recorder.escapes)


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, from zero states; modes, states and other buffers are put back."""
    before = [(module, module.training, dict(module._buffers)) for module in net.modules()]
    values = [(buffer, buffer.clone()) for buffer in net.buffers()]
    net.eval()
    neurons: list[Any] = [module for module in net.modules() if key_of(module).startswith("snntorch.")]
    for neuron in neurons:
        if hasattr(neuron, "_init_mem"):
            neuron._init_mem()
    try:
        yield
    finally:
        for module, training, buffers in before:
            module.training = training
            module._buffers.update(buffers)
        for buffer, value in values:
            if not same(buffer, value):
                with torch.no_grad():
                    buffer.copy_(value)


class _Recorder(TorchFunctionMode):
    """Every call of a layer, and of a torch function outside of layers, in order."""

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.escapes: list[Call] = []
        self.depth = 0
        self.counts: dict[str, int] = {}
        self.values: dict[int, Value] = {id(x): Value(x, from_input=True) for x in inputs}
        self.written: dict[int, Call] = {}
        self.constants: dict[int, str] = {}
        self.stamps: dict[str, Any] = {}

    def value_of(self, tensor: Tensor) -> Value:
        """What it holds now."""
        value = self.values.get(id(tensor))
        if value is None:
            value = self.values[id(tensor)] = Value(tensor, late=bool(self.counts))
        write, made = self.written.get(memory(tensor)), -1 if value.maker is None else value.maker.number
        if write is not None and write.number > made:
            value = self.values[id(tensor)] = made_by(write, tensor)
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.depth:
            return func(*args, **kwargs)
        given = tensors_in((args, kwargs))
        call = Call(Link(name_of(func), ""), args, kwargs, [self.value_of(tensor) for tensor in given])
        call.link.key = f"function.{call.link.name}"
        stamps = [stamp_of(tensor) for tensor in given]
        result = func(*args, **kwargs)
        if call.link.name in DROPS and any(result is tensor for tensor in given):
            result = result.clone()  # nothing is dropped in evaluation, but the call is part of the network
        changed = [x for x, stamp in zip(given, stamps, strict=True) if stamp_of(x) != stamp]
        self._note(call, changed, result)
        return result

    def _note(self, call: Call, changed: list[Tensor], result: Any) -> None:
        results, given = tensors_in(result), [value.tensor for value in call.inputs]
        if not changed and not results:
            about = call.link.name in ABOUT or result is NotImplemented
            if not about and any(value.from_input or value.from_layer for value in call.inputs):
                call.number = len(self.calls)
                self.escapes.append(call)
            return
        if not changed and all(any(result is tensor for tensor in given) for result in results):
            return  # a cast, say, that had nothing to do
        self._append(call)
        for tensor in changed:
            self._write(call, tensor)
        call.writes = [value for value in call.inputs if any(value.tensor is tensor for tensor in changed)]
        call.keeps = call.link.name in NOTHING and not changed and alike(given[:1], results)
        call.outputs = [self._give(call, tensor) for tensor in results]

    def _append(self, call: Call) -> None:
        call.number = len(self.calls)
        self.calls.append(call)

    def _write(self, call: Call, tensor: Tensor) -> None:
        name = self.constants.get(memory(tensor))
        if name is not None:
            raise refusal(f"{call.link.name}(...) changes {name} in place while the network runs; change it before")
        self.written[memory(tensor)] = call
        self.values[id(tensor)] = made_by(call, tensor)

    def _give(self, call: Call, tensor: Tensor) -> Value:
        value = self.values[id(tensor)] = made_by(call, tensor)
        if value.from_layer and not call.writes:
            value.copy = tensor.detach().clone()
        return value

    @contextmanager
    def watching(self, net: nn.Module) -> Iterator[None]:
        """Puts the recorder around the `forward` of every layer."""
        watched = list(layers_of(net))
        for name, layer in watched:
            self.constants |= {memory(constant): f"{name}.{key}" for key, constant in _constants(layer)}
            self.stamps[name] = _fingerprint(layer)
        own = [tensor for module in net.modules() for tensor in tensors_in((vars(module), module._buffers))]
        self.values |= {id(tensor): Value(tensor) for tensor in own}
        kept = {layer: vars(layer).get("forward") for _, layer in watched}
        for name, layer in watched:
            vars(layer)["forward"] = self._around(Link(name, key_of(layer), layer), layer.forward)
        try:
            yield
        finally:
            for layer, forward in kept.items():
                vars(layer).pop("forward") if forward is None else vars(layer).update(forward=forward)

    def _around(self, link: Link, forward: Any) -> Any:
        signature = inspect.signature(forward)
        states = STATES if link.key.startswith("snntorch.") else ()

        def call_of(args: Any, kwargs: Any) -> Call:
            bound = signature.bind(*args, **kwargs).arguments
            before = {}
            for name in (name for name in states if name in signature.parameters):
                state = bound.pop(name, None)
                state = getattr(link.module, name) if state is None else state
                before[name] = self._read(link, state)
            inputs = [self._read(link, tensor) for tensor in tensors_in(bound)]
            return Call(link, inputs=inputs + list(before.values()), before=before)

        def run(*args: Any, **kwargs: Any) -> Any:
            if self.depth:
                return forward(*args, **kwargs)
            self.depth += 1
            try:
                call = call_of(args, kwargs)
                if _fingerprint(link.module) != self.stamps[link.name]:
                    raise refusal(f"a parameter of {link.name} was changed while the network ran; change it before")
                self.counts[link.name] = self.counts.get(link.name, 0) + 1
                stamps = [stamp_of(value.tensor) for value in call.inputs]
                result = forward(*args, **kwargs)
                self._leave(call, result, [stamp_of(value.tensor) for value in call.inputs] != stamps)
            finally:
                self.depth -= 1
            return result

        return run

    def _leave(self, call: Call, result: Any, changed: bool) -> None:
        if changed:
            raise refusal(f"{call.link.name} ({call.link.key}) changes what it is given in place; use inplace=False")
        results, module = tensors_in(result), call.link.module
        call.keeps = any(results[0] is value.tensor for value in call.inputs[:1]) if results else False
        self._append(call)
        call.outputs = [self._give(call, tensor) for tensor in results]
        for name in call.before:
            state = getattr(module, name)
            known = next((value for value in call.outputs if value.tensor is state), None)
            call.after[name] = known or self._give(call, state)

    def _read(self, link: Link, state: Any) -> Value:
        """What a layer gets, which must be what its maker gave."""
        value = self.value_of(state)
        if value.copy is None:
            value.copy = state.detach().clone()
        self._check_kept(value, f"what {link.name} gets in step {self.counts.get(link.name, 0)}")
        return value

    def check_kept(self) -> None:
        """Outputs of layers that no function of torch was seen to change are as they were."""
        self.depth += 1
        for call in self.calls:
            for value in call.outputs if call.is_layer else []:
                if self.value_of(value.tensor) is value:
                    self._check_kept(value, "it")
        self.depth -= 1

    def _check_kept(self, value: Value, what: str) -> None:
        if value.copy is not None and not same(value.tensor, value.copy):
            maker = "the input" if value.maker is None else value.maker.link.name
            raise refusal(
                f"{what} is not what {maker} gave: its values were changed by something that torch does not see, such "
                "as numpy"
            )


def _constants(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters, and buffers that are no states."""
    own = [(name, buffer) for name, buffer in layer.named_buffers() if name.split(".")[-1] not in (*STATES, "reset")]
    return [*layer.named_parameters(), *own]


def _fingerprint(layer: nn.Module) -> list[tuple[str, int, tuple[int, int]]]:
    return [(name, id(constant), stamp_of(constant)) for name, constant in _constants(layer)]
