"""From the recorded calls of a run to the chain of its layers, or a sentence on why it is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from squat.compat.structure import NOTHING, Call, Link, record, refusal, tensors_in


def trace(net: nn.Module, example: Any) -> list[Link]:
    """The chain of layers that `net` runs on an example, which is one input or a tuple of them.

    Raises:
        ValueError: where it is no chain; the message says why.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    calls, output = record(net, inputs)
    others = tuple(torch.zeros_like(x) if isinstance(x, Tensor) else x for x in inputs)
    if [call.link.name for call in record(net, others)[0]] != [call.link.name for call in calls]:
        raise refusal("what it computes depends on the values of its input: branches on data cannot be converted")
    return chain_of(calls, output)


def chain_of(calls: list[Call], output: Any) -> list[Link]:
    """The layers, and the functions between them, in order, with what they were given and gave at each step.

    Raises:
        ValueError: where the calls form no chain.
    """
    return _Chain(calls, output).links()


class _Chain:
    def __init__(self, calls: list[Call], output: Any) -> None:
        self.maker = {id(result): call for call in calls for result in call.results}
        self.calls, self.output = calls, output
        layers = [call for call in calls if call.link.module is not None]
        if not layers:
            raise refusal("it ran no layer (a module) on the example")
        self.steps = self._by_step(layers)

    def links(self) -> list[Link]:
        """The layers of a time step in order, with what they gave; refuses what is no chain."""
        first, last = self.steps[0][0], self.steps[0][-1]
        self._check_no_feedback()
        paths = [[self._path(step, k) for k in range(1, len(step))] for step in self.steps]
        self._check_states()
        links = [self._link([step[0] for step in self.steps], first.link)]
        on_the_way: set[int] = set()
        for k in range(1, len(self.steps[0])):
            links += self._functions([path[k - 1] for path in paths], on_the_way)
            links.append(self._link([step[k] for step in self.steps], self.steps[0][k].link))
        self._check_outputs(last, on_the_way)
        if self._reads_membrane_only():
            links[-1].membrane_only = True
            links[-1].outputs = [step[-1].results[-1] for step in self.steps]
        return links

    def _by_step(self, layers: list[Call]) -> list[list[Call]]:
        """The calls cut into steps, each with every layer once and in the same order."""
        times: dict[str, int] = {}
        for call in layers:
            times[call.link.name] = times.get(call.link.name, 0) + 1
        names = list(times)
        if len(set(times.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in times.items())
            raise refusal(
                f"its layers run a different number of times ({listed}); expected each once in every step, so move "
                "what runs outside the time loop into it, and give every place a module of its own"
            )
        steps = [layers[at : at + len(names)] for at in range(0, len(layers), len(names))]
        for step in steps:
            found = [call.link.name for call in step]
            if found != names:
                raise refusal(
                    f"its layers run in another order in a later step ({', '.join(found)}) than in the first "
                    f"({', '.join(names)})"
                )
        return steps

    def _path(self, step: list[Call], k: int) -> list[Call]:
        """The functions from the output of layer k-1 to the input of layer k, in order."""
        tensor, path = step[k].given[0], []
        here, before = step[k].link.name, step[k - 1].link.name
        while tensor is not step[k - 1].results[0]:
            call = self.maker.get(id(tensor))
            if call is None:
                raise refusal(
                    f"{here} takes no output of {before}, the layer that runs before it; branches cannot be converted"
                )
            if call.link.module is not None:
                what = "a state" if tensor is not call.results[0] else "the output"
                raise refusal(
                    f"{here} takes {what} of {call.link.name}, expected the output of {before}, which runs just before "
                    "it; branches, residual connections and shared modules cannot be converted"
                )
            others = [given for given in call.given[1:] if id(given) in self.maker]
            if others:
                raise refusal(
                    f"{call.link.name} joins several tensors between {before} and {here}; residual connections and "
                    "other joins cannot be converted"
                )
            path.append(call)
            tensor = call.given[0]
        return path[::-1]

    def _functions(self, paths: list[list[Call]], on_the_way: set[int]) -> list[Link]:
        """One link for each function of a path, which must be the same at every step."""
        on_the_way |= {id(call) for path in paths for call in path}
        kinds = {tuple(call.link.name for call in path) for path in paths}
        if len(kinds) > 1:
            raise refusal(f"the functions between two layers change from step to step: {sorted(kinds)}")
        return [
            self._link(list(calls), calls[0].link)
            for calls in zip(*paths, strict=True)
            if calls[0].link.name not in NOTHING
        ]

    def _link(self, calls: list[Call], link: Link) -> Link:
        arguments = (calls[0].args[1:], calls[0].kwargs) if link.module is None else ((), {})
        inputs, outputs = [call.given[0] for call in calls], [call.results[0] for call in calls]
        return Link(link.name, link.key, link.module, arguments, inputs, outputs)

    def _check_no_feedback(self) -> None:
        """The first layer may take anything that comes from no layer: the encoding of the input."""
        for step in self.steps:
            waiting, seen = [step[0].given[0]], set()
            while waiting:
                tensor = waiting.pop()
                call = self.maker.get(id(tensor))
                if call is None or id(call) in seen:
                    continue
                seen.add(id(call))
                if call.link.module is not None:
                    raise refusal(f"{call.link.name} feeds back into the first layer, {step[0].link.name}")
                waiting += call.given

    def _check_states(self) -> None:
        """A neuron's states are its own of the step before; at first zero."""
        for t, step in enumerate(self.steps):
            for k, call in enumerate(step):
                for state in call.given[1:]:
                    origin = self._unchanged(state)
                    own = t > 0 and any(origin is result for result in self.steps[t - 1][k].results)
                    fresh = t == 0 and not bool(origin.any())
                    if not own and not fresh:
                        expected = "zero at first" if t == 0 else "what it returned in the step before"
                        raise refusal(f"{call.link.name} gets a state in step {t} that is not {expected}")

    def _unchanged(self, tensor: Tensor) -> Tensor:
        call = self.maker.get(id(tensor))
        while call is not None and call.link.module is None and call.link.name in NOTHING:
            tensor = call.given[0]
            call = self.maker.get(id(tensor))
        return tensor

    def _check_outputs(self, last: Call, on_the_way: set[int]) -> None:
        """Nothing but the last layer is read from outside the chain."""
        hidden = {id(result): call.link.name for step in self.steps for call in step[:-1] for result in call.results}
        for call in self.calls:
            if call.link.module is None and id(call) not in on_the_way and call.link.name not in NOTHING:
                self._check_not_hidden(call.given, hidden, f"{call.link.name}(...)", last)
        self._check_not_hidden(tensors_in(self.output), hidden, "its result", last)

    def _check_not_hidden(self, tensors: list[Tensor], hidden: dict[int, str], where: str, last: Call) -> None:
        for tensor in tensors:
            name = hidden.get(id(self._unchanged(tensor)))
            if name is not None:
                raise refusal(
                    f"{where} reads {name}, but only the last layer, {last.link.name}, can be an output; several "
                    "outputs cannot be converted"
                )

    def _reads_membrane_only(self) -> bool:
        ends = [step[-1] for step in self.steps]
        read = {id(tensor) for call in self.calls if call.link.module is None for tensor in call.given}
        read |= {id(tensor) for tensor in tensors_in(self.output)}
        spikes = any(id(call.results[0]) in read for call in ends)
        return not spikes and any(id(result) in read for call in ends for result in call.results[1:])
