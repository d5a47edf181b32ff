"""From a recorded run to the chain of its layers, or a sentence on why it is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from squat.compat.heads import forked, last_calls
from squat.compat.outputs import mark_outputs
from squat.compat.paths import Paths, in_words, is_join, unchanged
from squat.compat.record import record
from squat.compat.steps import by_step, check_states, links_of_steps
from squat.compat.structure import Link, refusal, tensors_in
from squat.compat.values import Call, Record, Value, memory

DATA = "what it computes depends on the values of its input: branches on data cannot be converted"


def trace(net: nn.Module, example: Any) -> list[Link]:
    """The chain of layers that `net` runs on an example, which is one input or a tuple of them.

    Raises:
        ValueError: where it is no chain; the message says why.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    for x in tensors_in(inputs):
        if x.layout != torch.strided:
            raise refusal(f"example is a tensor of layout {x.layout}, expected a dense one: use its to_dense()")
    ran = record(net, inputs)
    others = tuple(torch.zeros_like(x) if isinstance(x, Tensor) else x for x in inputs)
    if [call.link.name for call in record(net, others).calls] != [call.link.name for call in ran.calls]:
        raise refusal(DATA)
    return _Chain(ran).links()


class _Chain:
    def __init__(self, ran: Record) -> None:
        self.ran = ran
        layers = [call for call in ran.calls if call.is_layer]
        if not layers:
            raise refusal("it ran no layer (a module) on the example")
        self.steps = by_step(layers)
        self.paths = [Paths(step) for step in self.steps]

    def links(self) -> list[Link]:
        """The layers of a time step in order, with what they were given and gave; refuses what is no chain."""
        self._check_escapes()
        self._check_no_feedback()
        self._check_writes({call for call in self.ran.calls if is_join(call)})
        for step, paths in zip(self.steps, self.paths, strict=True):
            for call in step:
                paths.to(call.inputs[0], call.link.name)
        check_states(self.steps)
        ends = self._ends()
        trees = [forked([paths.to(end[t], "its result") for end in ends]) for t, paths in enumerate(self.paths)]
        order = last_calls(trees[0])
        ends.sort(key=lambda end: [call is end[0].maker for call in order].index(True))
        links = links_of_steps(trees)
        on_the_way = {call for tree in trees for piece in tree for call in piece.calls()}
        self._check_writes(on_the_way)
        mark_outputs(self.ran, self.steps, links, ends, self._reads(on_the_way))
        return links

    def _check_escapes(self) -> None:
        first, last = self.steps[0][0].number, self.steps[-1][-1].number
        for call in self.ran.escapes:
            if any(value.from_layer for value in call.inputs) and call.number <= last:
                raise refusal(
                    f"{in_words(call)} takes values that layers gave out of torch, where they cannot be followed; take "
                    "it out, or move it behind the last layer"
                )
            if first < call.number <= last:
                raise refusal(DATA)

    def _check_no_feedback(self) -> None:
        """The first layer may take anything that comes from no layer: the encoding of the input."""
        for step in self.steps:
            waiting, seen = [step[0].inputs[0]], set()
            while waiting:
                value = waiting.pop()
                if value.maker is None or value.maker in seen:
                    continue
                seen.add(value.maker)
                if value.maker.is_layer:
                    raise refusal(f"{value.maker.link.name} feeds back into the first layer, {step[0].link.name}")
                waiting += value.maker.inputs

    def _ends(self) -> list[list[Value]]:
        """What the network gives, by head and step, where no layer follows; refuses an end that nothing reads."""
        ends, at = list[list[Value]](), len(self.steps[0]) - 1
        while True:
            ends.insert(0, self._end(at))
            trees = [[paths.to(end[t], "its result")[0] for end in ends] for t, paths in enumerate(self.paths)]
            used = {call for tree in trees for path in tree for piece in path for call in piece.calls()}
            unused = [k for k, call in enumerate(self.steps[0]) if call not in used]
            if not unused:
                return ends
            at = unused[-1]
            self._check_head(at, self._reads(used))

    def _end(self, at: int) -> list[Value]:
        """What a layer gives at each step, or its sum with a branch."""
        ends = [step[at].outputs[0] for step in self.steps]
        joins = [call for call in self.ran.calls if not call.is_layer and is_join(call)]
        while True:
            grown = [_grown(joins, paths, end) for paths, end in zip(self.paths, ends, strict=True)]
            if any(end is None for end in grown):
                return ends
            ends = [end for end in grown if end is not None]

    def _check_head(self, at: int, reads: list[tuple[str, Value]]) -> None:
        call = self.steps[0][at]
        name, following = call.link.name, self.steps[0][at + 1].link.name
        given = unchanged(call.outputs[0], layers=True)
        if all(value is not given and value.maker is not call for _, value in reads):
            raise refusal(
                f"{following} takes no output of {name}, the layer that runs before it, and nothing else does; remove "
                "it"
            )
        if len(self.steps) > 1 and self.steps[1][at] is call:
            raise refusal(f"its result reads {name}, which runs once before the loop; move it into the loop")

    def _check_writes(self, on_the_way: set[Call]) -> None:
        """No write in place touches what a layer gave, unless it is a sum that is converted."""
        given = {
            memory(value.tensor): (call.link.name, t)
            for t, step in enumerate(self.steps)
            for call in step
            for value in (*call.outputs, *call.after.values())
        }
        for call in self.ran.calls:
            for value in [] if call in on_the_way else call.writes:
                name, t = given.get(memory(value.tensor), ("", 0))
                if name:
                    raise refusal(
                        f"{in_words(call)} changes in place what {name} gave in step {t}; squat repeats no such write: "
                        "take it out, or compute a new tensor behind the last layer"
                    )

    def _reads(self, on_the_way: set[Call]) -> list[tuple[str, Value]]:
        """What is read beside the chain: by functions, and by the result."""
        reads = [
            (f"{call.link.name}(...)", value)
            for call in self.ran.calls
            if not call.is_layer and call not in on_the_way and not call.keeps
            for value in call.inputs
            if any(made.from_layer for made in call.outputs) or call.writes
        ]
        reads += [("its result", value) for value in self.ran.results]
        return [(where, unchanged(value, layers=True)) for where, value in reads if value.from_layer]


def _grown(joins: list[Call], paths: Paths, end: Value) -> Value | None:
    """The sum of what a step gives and a branch of the same step, if there is one."""
    for call in joins:
        if any(unchanged(value) is end for value in call.inputs) and call.outputs:
            try:
                paths.to(call.outputs[0], "its result")
            except ValueError:
                continue  # a count over steps, say: a readout
            return unchanged(call.outputs[0])
    return None
