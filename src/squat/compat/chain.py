"""From a recorded run to the chain of its layers, or a sentence on why it is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from squat.compat.paths import Paths, Piece, in_words, is_join, unchanged
from squat.compat.record import record
from squat.compat.steps import by_step, check_states, links_of_steps
from squat.compat.structure import Link, neurons_in, refusal, tensors_in
from squat.compat.values import Call, Record, Value, held, memory

READOUTS = {
    *(
        "stack",
        "cat",
        "concat",
        "hstack",
        "vstack",
        "__setitem__",
        "copy_",
        "index_copy_",
        "sum",
        "mean",
        "max",
        "argmax",
    ),
    *("reshape", "view", "squeeze", "unsqueeze", "flatten", "softmax", "log_softmax", "cross_entropy", "mse_loss"),
}
"""Functions that collect, count or judge outputs; others would make another output of them."""
SHAPES = {"reshape", "view", "squeeze", "unsqueeze", "flatten"}
"""Functions that give outputs another shape."""
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
        trees = [paths.to(end, "its result")[0] for paths, end in zip(self.paths, ends, strict=True)]
        links = links_of_steps(trees)
        on_the_way = {call for tree in trees for piece in tree for call in piece.calls()}
        self._check_writes(on_the_way)
        reads = self._reads(on_the_way)
        self._check_all_used(trees, reads)
        self._mark_outputs(links, ends, reads)
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

    def _ends(self) -> list[Value]:
        """What the network gives at each step: the output of the last layer, or its sum with a branch."""
        ends = [step[-1].outputs[0] for step in self.steps]
        joins = [call for call in self.ran.calls if not call.is_layer and is_join(call)]
        while True:
            grown = [_grown(joins, paths, end) for paths, end in zip(self.paths, ends, strict=True)]
            if any(end is None for end in grown):
                return ends
            ends = [end for end in grown if end is not None]

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

    def _check_all_used(self, trees: list[list[Piece]], reads: list[tuple[str, Value]]) -> None:
        used = [call for piece in trees[0] for call in piece.calls()]
        unused = [call for call in self.steps[0] if call not in used]
        if not unused:
            return
        name, last = unused[-1].link.name, self.steps[0][-1].link.name
        if any(value.maker is unused[-1] for _, value in reads):
            raise refusal(
                f"its result reads {name}, on which {last} does not build: two heads cannot be converted; convert a "
                "network for each of them, with the layers before it"
            )
        following = self.steps[0][self.steps[0].index(unused[-1]) + 1].link.name
        raise refusal(
            f"{following} takes no output of {name}, the layer that runs before it, and nothing else does; remove it"
        )

    def _mark_outputs(self, links: list[Link], ends: list[Value], reads: list[tuple[str, Value]]) -> None:
        """Whether spikes or the membrane of the last layer are read; nothing else may be."""
        main = {unchanged(end, layers=True) for end in ends}
        self._check_readouts(main, links[-1].name)
        last = {end.maker for end in ends}
        layers = {call for step in self.steps for call in step}
        membranes, tapped = False, set[str]()
        for where, value in reads:
            if value in main or value.maker not in layers:
                continue
            if value is value.maker.outputs[0] and value.maker.before and value.maker not in last:
                tapped.add(value.maker.link.name)
                continue
            if value.maker in last and value is value.maker.after.get("mem"):
                membranes = True
                continue
            raise refusal(
                f"{where} reads {value.maker.link.name}, but only the last layer, {links[-1].name}, and spikes of "
                "hidden layers can be outputs, not currents or hidden states"
            )
        for link in neurons_in(links):
            link.tapped = link.name in tapped
        read = {value for _, value in reads}
        if membranes and not read & main:
            links[-1].membrane_only = True
            links[-1].outputs = [held(step[-1].after["mem"]) for step in self.steps]
        elif self.ran.results:
            self._check_steps([unchanged(end, layers=True) in read for end in ends], links[-1].name)

    def _check_steps(self, read: list[bool], last: str) -> None:
        """Results read all steps, or the last ones."""
        if not read[-1] or read != sorted(read):
            listed = ", ".join(str(t) for t, each in enumerate(read) if each) or "none"
            raise refusal(f"its result reads {last} in some of {len(read)} steps ({listed}); expected all, or the last")

    def _check_readouts(self, main: set[Value], last: str) -> None:
        """What is collected is what the last layer gives: a scaled or masked output would not be the converted one."""
        main = set(main)
        for call in self.ran.calls:
            read = [value for value in call.inputs if unchanged(value, layers=True) in main]
            if read and call.link.name in SHAPES:
                main |= set(call.outputs)
                continue
            others = [value for value in call.inputs if value not in read]
            counts = is_join(call) and len(others) == 1 and _counts(others[0], main)
            plain = call.is_layer or call.keeps or counts or call.link.name in READOUTS
            if read and not plain and any(value.from_layer for value in call.outputs):
                raise refusal(
                    f"{in_words(call)} makes another output of what {last} gives at each step; take it out, and apply "
                    "it to the result of the converted network"
                )


def _counts(value: Value, main: set[Value]) -> bool:
    """Whether it is zero, or a sum over earlier steps that started so."""
    waiting, seen = [value], set[Value]()
    while waiting:
        value = waiting.pop()
        if value in main or value in seen:
            continue
        seen.add(value)
        if value.from_layer and value.maker is not None and not value.maker.is_layer:
            waiting += value.maker.inputs
        elif value.from_layer or value.from_input or not _starts_at_zero(value):
            return False
    return True


def _starts_at_zero(value: Value) -> bool:
    made = "" if value.maker is None else value.maker.link.name
    return made in ("zeros", "zeros_like", "new_zeros") or not bool(value.tensor.any())


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
