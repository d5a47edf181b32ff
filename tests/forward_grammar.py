"""Random forward functions in snnTorch's style, from a grammar: layers, casts, writes, arithmetic, loops, states.

Weights, decays and thresholds are dyadic, so that float sums are exact in any order and spikes can be compared bit for
bit. A network notes what its first layer is given and what its last layer gives, as a user who reads the code would
say: independent of how it is traced.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

snntorch = pytest.importorskip("snntorch", reason="snnTorch is converted here (dev extra)")
FEATURES, STEPS, BATCH = 6, 5, 3


def _set(tensor, index, value):
    tensor[index] = value
    return tensor


def _numpy(tensor):
    tensor.numpy()[:, 1] = 1.0
    return tensor


HARMLESS: dict[str, Callable[[Any], Any]] = {
    "x": lambda x: x,
    "x.float()": lambda x: x.float(),
    "x.to(x.device)": lambda x: x.to(x.device),
    "x.cpu()": lambda x: x.cpu(),
    "x.contiguous()": lambda x: x.contiguous(),
    "x.detach()": lambda x: x.detach(),
    "x.clone().float()": lambda x: x.clone().float(),
    "x.data": lambda x: x.data,
    "x.type_as(x)": lambda x: x.type_as(x),
    "+x": lambda x: +x,
}
"""What a state may go through as well."""
RESHAPES: dict[str, Callable[[Any], Any]] = {
    "x.flatten(1)": lambda x: x.flatten(1),
    "x.view(len(x), -1)": lambda x: x.view(len(x), -1),
    "x.reshape(x.shape)": lambda x: x.reshape(x.shape),
    "F.dropout(x, 0.5, False)": lambda x: F.dropout(x, 0.5, False),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "x[:, :4] = 0": lambda x: _set(x, (slice(None), slice(0, 4)), 0.0),
    "x[0] = 1": lambda x: _set(x, 0, 1.0),
    "x[...] = 5": lambda x: _set(x, ..., 5.0),
    "x.mul_(0.5)": lambda x: x.mul_(0.5),
    "x.data.add_(1)": lambda x: (x.data.add_(1.0), x)[1],
    "x[1:].neg_()": lambda x: (x[1:].neg_(), x)[1],
    "torch.mul(x, 2, out=x)": lambda x: torch.mul(x, 2.0, out=x),
    "x.copy_(x.flip(1))": lambda x: x.copy_(x.flip(1)),
    "x.masked_fill_(x > 0, 0)": lambda x: x.masked_fill_(x > 0, 0.0),
    "x.numpy()[:, 1] = 1": _numpy,
    "x.set_(1 - x)": lambda x: x.set_(1 - x),
    "x * 1": lambda x: x * 1,
    "2 * x": lambda x: 2 * x,
    "x + 0.5": lambda x: x + 0.5,
    "-x": lambda x: -x,
    "1 - x": lambda x: 1 - x,
    "x + x": lambda x: x + x,
    "F.relu(x)": lambda x: F.relu(x),
    "x.clamp(0, 0.5)": lambda x: x.clamp(0, 0.5),
    "x.half().float()": lambda x: x.half().float(),
    "x.bool().float()": lambda x: x.bool().float(),
    "x.flip(1)": lambda x: x.flip(1),
    "x.roll(1, 0)": lambda x: x.roll(1, 0),
    "x[:, [1, 0, 2, 3, 4, 5]]": lambda x: x[:, [1, 0, 2, 3, 4, 5]],
    "torch.cat([x[:, 3:], x[:, :3]], 1)": lambda x: torch.cat([x[:, 3:], x[:, :3]], 1),
    "torch.where(x > 0, x, -x)": lambda x: torch.where(x > 0, x, -x),
    "torch.zeros_like(x)": torch.zeros_like,
    "x * x.sum().item()": lambda x: x * x.sum().item(),
    "x if x.sum() > 2 else -x": lambda x: x if x.sum() > 2 else -x,
    "F.dropout(x, 0.5)": lambda x: F.dropout(x, 0.5),
    "x.view(2, -1)": lambda x: x.reshape(-1, BATCH).T.contiguous(),
}

ANY_SHAPE = ("x[0] = 1", "x.mul_(0.5)", "x.data.add_(1)", "2 * x", "1 - x", "x.clamp(0, 0.5)", "x.half().float()")


def _neuron(kind: str, hidden: bool) -> Any:
    options = {"threshold": 0.5, "init_hidden": hidden}
    if kind == "Synaptic":
        return snntorch.Synaptic(0.5, 0.5, **options)
    if kind == "RLeaky":
        return snntorch.RLeaky(0.5, linear_features=FEATURES, **options)
    return snntorch.Leaky(0.5, reset_mechanism="zero" if kind == "zero" else "subtract", **options)


class Written(nn.Module):
    """A network that somebody might have written; `text` says how.

    Attributes:
        given: what the first layer was given at each step of the last run.
        shown: what every layer gave, where hidden spikes are returned too.
        gave: what the last layer gave, with what was done to it in place; of several heads side by side.
        fork: from this layer on, every layer is a head of its own, on what the first of them was given.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        depth = draw.choice([1, 2, 2, 3])
        self.hidden = draw.random() < 0.25
        self.kinds = [draw.choice(["Leaky", "Leaky", "zero", "RLeaky", "Synaptic"]) for _ in range(depth)]
        self.fcs = nn.ModuleList(nn.Linear(FEATURES, FEATURES, bias=draw.random() < 0.7) for _ in self.kinds)
        self.lifs = nn.ModuleList(_neuron(kind, self.hidden) for kind in self.kinds)
        self.loop = draw.choice(["for step in x", "for t in range", "still", "batch first", "once before"])
        self.start = draw.choice(["None", "zeros", "zeros_like", "init"])
        self.by_name = draw.random() < 0.3
        self.skip = draw.choice(["no", "no", "no", "current", "current +=", "spikes", "end", "times"])
        self.result = draw.choice(["stack", "counts", "rows", "list", "dict", "mean"])
        self.extra = draw.choice(
            ["no", "no", "no", "no", "feedback", "shared", "swapped", "hidden", "late", "state fc"]
        )
        self.at: dict[str, str] = {}
        self.when = draw.choice([None, None, None, 2])
        places = [
            "input",
            "step",
            "end",
            *(f"{what} {k}" for k in range(depth) for what in ("current", "spikes", "state")),
        ]
        for place in draw.sample(places, draw.choice([0, 1, 1, 2])):
            table = HARMLESS if draw.random() < 0.5 else CHANGES
            if place == "input":  # of any shape
                table = {**HARMLESS, **{what: CHANGES[what] for what in ANY_SHAPE}}
            elif table is HARMLESS and place.split()[0] in ("current", "spikes"):
                table = {**HARMLESS, **RESHAPES}
            self.at[place] = draw.choice(list(table))
        self.fork = draw.randrange(depth - 1) if depth > 1 and draw.random() < 0.35 else depth - 1
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.dim():
                parameter.data = torch.randint(-8, 13, parameter.shape, generator=generator) / 8
        self.eval()

    @property
    def text(self) -> str:
        """How it is written, in a line."""
        at = ", ".join(f"{place}: {what}" for place, what in self.at.items())
        when = "" if self.when is None else f" at step {self.when} only"
        return (
            f"{'/'.join(self.kinds)}, hidden={self.hidden}, {self.loop}, states {self.start}, skip {self.skip}, "
            f"{self.extra}, fork at {self.fork}, {self.result}; {at}{when}"
        )

    @property
    def heads(self) -> int:
        """How many layers end the network side by side."""
        return len(self.fcs) - self.fork

    @property
    def harmless(self) -> bool:
        """Whether nothing in it has an excuse for being refused."""
        plain = self.skip == "no" and self.extra == "no" and not self.at.keys() & {"state 0", "state 1", "state 2"}
        return plain and all(what in HARMLESS for what in self.at.values())

    def example(self, seed: int) -> torch.Tensor:
        """An input."""
        shape = {"still": (BATCH,), "once before": (BATCH,), "batch first": (BATCH, STEPS)}.get(
            self.loop, (STEPS, BATCH)
        )
        return (torch.rand(*shape, FEATURES, generator=torch.Generator().manual_seed(seed)) < 0.5).float()

    def _do(self, place: str, x: Any, t: int | None = None) -> Any:
        what = self.at.get(place)
        if what is None or x is None or not x.numel() or (t is not None and self.when not in (None, t)):
            return x
        return {**HARMLESS, **RESHAPES, **CHANGES}[what](x)

    def _steps(self, x: Any) -> Any:
        if self.loop == "batch first":
            return (x[:, t] for t in range(STEPS))
        if self.loop in ("still", "once before"):
            return (x for _ in range(STEPS))
        return x if self.loop == "for step in x" else (x[t] for t in range(STEPS))

    def _states(self, like: Any) -> list[Any]:
        def first(lif: Any) -> list[Any]:
            names = {"RLeaky": ["spk", "mem"], "Synaptic": ["syn", "mem"]}.get(type(lif).__name__, ["mem"])
            if self.start == "init":
                lif._init_mem()
                return [getattr(lif, name) for name in names]
            make = {"None": lambda x: None, "zeros": lambda x: torch.zeros(BATCH, FEATURES)}
            return [make.get(self.start, torch.zeros_like)(like) for _ in names]

        return [first(lif) for lif in self.lifs]

    def _fire(self, k: int, current: Any, states: list[Any], t: int) -> Any:
        if self.hidden:
            return self.lifs[k](current)
        carried = [self._do(f"state {k}", state, t) for state in states[k]]
        if self.extra == "swapped" and len(carried) == 2:
            carried.reverse()
        names = {"RLeaky": ["spk", "mem"], "Synaptic": ["syn", "mem"]}.get(type(self.lifs[k]).__name__, ["mem"])
        if self.by_name:
            spikes, *rest = self.lifs[k](**dict(zip(names, carried, strict=True)), input_=current)
        else:
            spikes, *rest = self.lifs[k](current, *carried)
        states[k] = [spikes, *rest] if names[0] == "spk" else rest
        return spikes

    def forward(self, x: Any) -> Any:
        """The result that was asked for."""
        if self.hidden:
            for lif in self.lifs:
                lif._init_mem()
        x = self._do("input", x)
        once = self.fcs[0](x) if self.loop == "once before" else None
        states, out, hidden, last = None, [], [], None
        self.given, self.gave = [], []
        for t, step in enumerate(self._steps(x)):
            step = self._do("step", step, t) if once is None else step
            states = self._states(step) if states is None else states
            if self.extra == "feedback" and last is not None and once is None:
                step = step + last
            self.given.append(step.clone())
            before, value = shared = None, step
            for k, fc in enumerate(self.fcs):
                fc = self.fcs[0] if self.extra == "shared" else fc
                shared = (before, value) if k <= self.fork else shared
                before, value = shared
                current = once if once is not None and k == 0 else fc(value)
                current = self._do(f"current {k}", current, t)
                current = self._join(current, before)
                spikes = self._do(f"spikes {k}", self._fire(k, current, states, t), t)
                hidden.append(spikes)
                taken = states[k][-1] if self.extra == "state fc" and not self.hidden else spikes
                before, value = value if self.skip == "spikes" and k else before, taken
                if self.skip == "spikes" and before is not None:
                    value = value + before
                before = spikes
            if self.skip == "end" and len(hidden) > 1 and len(self.fcs) > 1:
                spikes = spikes + hidden[-2]
            last = spikes = self._do("end", spikes, t)
            depth = len(self.fcs)
            heads = hidden[len(hidden) - depth + self.fork : -1]
            self.gave.append(torch.cat([*heads, spikes], 1))
            out.append(spikes)
        self.shown = [torch.stack(hidden[k::depth]) for k in range(self.fork + 1)] if self.extra == "hidden" else []
        if self.extra == "late":
            out[0] = self._do("end", out[0].mul_(2.0))
            self.gave[0] = out[0].clone()
        first = [self._result(hidden[k::depth], hidden) for k in range(self.fork, depth - 1)]
        return (*first, self._result(out, hidden)) if first else self._result(out, hidden)

    def _join(self, current: Any, before: Any) -> Any:
        if before is None or self.skip not in ("current", "current +=", "times"):
            return current
        if self.skip == "current +=":
            current += before
            return current
        return current * before if self.skip == "times" else current + before

    def _result(self, out: list[Any], hidden: list[Any]) -> Any:
        if self.extra == "hidden":
            return torch.stack(out), torch.stack(hidden)
        if self.result == "counts":
            counts = torch.zeros_like(out[0])
            for spikes in out:
                counts += spikes
            return counts
        if self.result == "rows":
            rows = torch.zeros(STEPS, BATCH, FEATURES)
            for t, spikes in enumerate(out):
                rows[t] = spikes
            return rows
        return {"list": out, "dict": {"spikes": out}}.get(self.result, torch.stack(out))
