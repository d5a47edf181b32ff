"""Every public object prints on a screen, however large its arrays are."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import pkgutil
from enum import Enum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import squat
import squat.data
from squat.compat import Comparison, LayerComparison
from squat.layers import MODULES
from squat.models import READOUT_NAMES
from squat.models.quantize_report import QuantizationReport
from squat.neurons import NEURONS
from squat.quant.weight import WeightQuantizer
from squat.text import LINES, WIDTH, OnScreen, brief, on_screen

LARGE = (
    np.zeros((300, 400), np.int32),
    torch.zeros(300, 400),
    list(range(5000)),
    tuple("some text" for _ in range(5000)),
    {f"key {n}": [n] * 100 for n in range(1000)},
    "text\n" * 1000,
    tuple(np.zeros((100, 100)) for _ in range(1000)),
    nn.Sequential(*(nn.Linear(2, 2) for _ in range(100))),
)
INTERNAL = ("squat.cli", "squat.ops", "squat.kernels", "squat.compat", "squat.ablation.execute")
INTERNAL += ("squat.integer.compiled", "squat.integer.states_kernel")
"""Modules whose classes nobody is handed but those in an `__all__`."""


def classes():
    """Every class that a module of squat lists in `__all__`, or defines under a public name."""
    found = {}
    for module in [squat, *filter(None, map(_module, pkgutil.walk_packages(squat.__path__, "squat.")))]:
        handed = not module.__name__.startswith(INTERNAL)
        own = {name for name, value in vars(module).items() if handed and _module_of(value) == module.__name__}
        for name in {*getattr(module, "__all__", ()), *own}:
            value = getattr(module, name)
            if inspect.isclass(value) and not name.startswith("_"):
                found[f"{value.__module__}.{value.__name__}"] = value
    return dict(sorted(found.items()))


def _module_of(value):
    return getattr(value, "__module__", None)


def _module(info):
    return None if "gpu" in info.name or info.name == "squat.__main__" else importlib.import_module(info.name)


TABLES = (Comparison, QuantizationReport)
"""Records that are shown as a table of their rows."""
RECORDS = {
    name: cls
    for name, cls in classes().items()
    if (dataclasses.is_dataclass(cls) or hasattr(cls, "_fields"))
    and not (issubclass(cls, Enum) or inspect.isabstract(cls) or cls in TABLES)
}
"""Classes of fields, of which an instance is made without its checks."""


def assert_fits(text):
    lines = text.split("\n")
    assert len(lines) <= LINES == 25, text
    assert max(map(len, lines)) <= WIDTH == 120, text


SMALL = {"int": -123456789, "float": -0.123456789, "bool": False, "str": "some text of some words"}
"""Values of fields that are annotated so; `value` is put into all others."""


SMALL = {"int": -123456789, "float": -0.123456789, "bool": False, "str": "some text of some words"}
"""Values of fields that are annotated so; `value` is put into all others."""


def record(cls, value):
    names = getattr(cls, "_fields", None) or tuple(cls.__dataclass_fields__)
    kinds = {}
    for base in reversed(cls.__mro__):
        kinds |= vars(base).get("__annotations__", {})
    written = [getattr(kinds[name], "__forward_arg__", kinds[name]) for name in names]
    values = [SMALL.get(kind.removesuffix(" | None"), value) for kind in written]
    if hasattr(cls, "_make"):
        return cls._make(values)
    made = object.__new__(cls)
    for name, content in zip(names, values, strict=True):
        object.__setattr__(made, name, content)
    return made


def test_there_are_classes_of_every_part():
    parts = {name.split(".")[1] for name in RECORDS}
    assert {"integer", "data", "ptq", "compat", "train", "ablation", "models", "quant", "export"} <= parts
    assert len(RECORDS) > 100


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_large_values_fit_a_screen(name):
    cls = RECORDS[name]
    for value in LARGE:
        text = repr(record(cls, value))
        assert_fits(text)
        assert cls.__name__ in text


def test_tables_fit_a_screen():
    net = squat.Sequential(*(squat.Linear(2, 2) for _ in range(300)))
    report = squat.quantize_(net, weights=squat.IntWeight(4))
    rows = tuple(LayerComparison(f"layer {n}", "LIF", 10**6, 0.5, 0.1, 0.1) for n in range(300))
    for table in (report, Comparison(rows)):
        assert_fits(repr(table))
        assert repr(table).endswith("... print() shows all of it")
        assert len(str(table).split("\n")) == 301
    assert repr(Comparison(rows[:3])) == str(Comparison(rows[:3]))


def modules():
    """Every module of squat, as large and as long to print as it gets."""
    torch.manual_seed(0)
    beta, size = torch.rand(3000), {"in_features": 4, "features": 3000}
    sizes = {"Linear": (3000, 3000), "Conv2d": (300, 300, 5), "Conv1d": (300, 300, 5), "BatchNorm": (3000,)}
    sizes |= {"Dropout": (0.5,), "Flatten": (), "Unflatten": ((30,) * 8,)}
    made = {name: cls(*((2,) if "Pool" in name else sizes[name])) for name, cls in MODULES.items()}
    spec = squat.Fitted(8, tuple(n / 100 for n in range(-100, 156)))
    for name, cls in NEURONS.items():
        accepts = inspect.signature(cls).parameters
        options = size if "in_features" in accepts else {}
        one = {"ConvRLIF": {"channels": 300}, "Lapicque": {"beta": 0.9}}  # which take one decay
        options = {**options, **one.get(name, {"beta": beta} if "beta" in accepts else {})}
        options |= {"alpha": 1.0 - 0.1 * (1.0 - beta)} if name == "AlphaLIF" else {}
        made[name] = cls(**options, state=spec)
    layers = squat.Sequential(*(squat.Linear(3, 3, weight=squat.IntWeight(4)) for _ in range(200)))
    made |= {"Sequential": layers, "Residual": squat.Residual(layers), "Heads": squat.Heads(layers, layers)}
    made |= {"Network": squat.Network(layers, READOUT_NAMES["accumulated_current"]())}
    return made | {"WeightQuantizer": WeightQuantizer(squat.IntWeight(4), (300, 400))}


MODULES_MADE = modules()


@pytest.mark.parametrize("name", MODULES_MADE)
def test_modules_fit_a_screen(name):
    text = repr(MODULES_MADE[name])
    assert_fits(text)
    assert name in text


def test_every_other_class_fits_a_screen():
    """What is neither a record nor a module has the `repr` of a plain object, unless it says something itself."""
    covered = {type(module) for module in MODULES_MADE.values()} | set(RECORDS.values())
    for cls in classes().values():
        plain = cls.__repr__ in (object.__repr__, Exception.__repr__, nn.Module.__repr__)
        assert (
            plain or cls in covered or cls in TABLES or inspect.isabstract(cls) or issubclass(cls, nn.Module | OnScreen)
        ), cls


def test_a_machine_and_a_data_set_say_what_they_are():
    net = squat.Sequential(squat.Linear(2000, 300, weight=squat.IntWeight(4)), squat.LIF(state=squat.Anchored(8)))
    machine = squat.lower(net)
    assert_fits(repr(machine))
    assert "weight=int8[300, 2000], weight_bits=4" in repr(machine)
    digits = squat.data.load("spoken_digits")
    assert_fits(repr(digits))
    assert "Dataset(name='spoken_digits', train=Split(inputs=PackedSpikes(values=uint8[2100, 13, 140]" in repr(digits)
    assert_fits(repr(machine.run(np.zeros((3, 2, 2000)))))
    assert_fits(repr(machine.report()))


@dataclasses.dataclass
class Plain:
    bits: int
    scale: float
    name: str
    sizes: tuple[int, ...]
    rest: dict[str, bool | None]


@given(
    st.builds(
        Plain, st.integers(-999, 999), st.floats(), st.text("ab\n'\"\\", max_size=8),
        st.lists(st.integers(0, 9), max_size=4).map(tuple),
        st.dictionaries(st.text("xy", max_size=2), st.none(), max_size=2),
    )
)  # fmt: skip
def test_short_records_look_as_dataclasses_do(value):
    assert len(repr(value)) <= WIDTH
    assert brief(value) == repr(value)


@given(st.text(st.sampled_from("ab ,\n"), max_size=9000))
def test_any_text_fits_a_screen(text):
    assert_fits(on_screen(text))
    if "\n" not in text and len(text) <= WIDTH:
        assert on_screen(text) == text.rstrip()


def test_values_that_are_cut_say_so():
    assert "... 5000 in all" in brief(Plain(1, 1.0, "a", tuple(range(5000)), {}))
    assert f"{'a' * 80}...'" in brief(Plain(1, math.inf, "a" * 81, (), {}))
