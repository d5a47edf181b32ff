"""What is measured: a case is one entry of `CASES` or `CURVES`. Plain data, so that this imports no framework."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

SPECS = ("Uniform", "ThresholdCentered", "ZeroCentered", "Anchored")
TRAINING, INFERENCE, QUANTIZER = "training step", "inference", "state quantizer alone"
SQUAT, FLOAT, PUBLISHED = "squat", "snnTorch", "snnTorch + Brevitas"
PRODUCTS, COPY = "matrix products", "memory copy"
EXPORTED_C = "exported C"
OTHERS = ("SpikingJelly", "Norse")
FLOORS = (PRODUCTS, COPY)
"""What does less than a network: squat is given as a multiple of them, the other stacks as multiples of squat."""
STACKS = (SQUAT, FLOAT, PUBLISHED, EXPORTED_C, *OTHERS, *FLOORS)
"""In the order of the report."""
BITS: tuple[int | None, ...] = (None, 8, 4, 2)


class Unavailable(Exception):
    """A stack that cannot run here, with the reason; it is left out and the report says so."""


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: as on the command line and in the tables.
        family: module with `check(settings) -> {test: passed}` and `build(settings, measure, stack) -> callable`.
        settings: what the family needs to know: sizes, bits.
        stacks: what takes turns, squat first.
        measures: what each of them does.
        memory: measures whose peak memory is taken too, one process per stack.
        tiny: settings of the warm-up before memory is measured, and of a smoke run.
        calls: calls that one repetition times together.
        seconds: of one measure, after which the repetitions end early, but not before the third.
    """

    name: str
    family: str
    settings: dict[str, Any]
    stacks: tuple[str, ...]
    measures: tuple[str, ...]
    memory: tuple[str, ...] = ()
    tiny: dict[str, Any] = field(default_factory=dict)
    calls: int = 1
    seconds: float = 120.0

    def smoke(self) -> Case:
        """The same case in its tiny settings, at most two measures."""
        return replace(self, settings={**self.settings, **self.tiny}, measures=self.measures[:2], calls=1)


FEEDFORWARD = {"kind": "feedforward", "inputs": 700, "hidden": 256, "classes": 20, "steps": 100, "batch": 64}
FEEDFORWARD |= {"density": 0.05}
RECURRENT = {**FEEDFORWARD, "kind": "recurrent"}
FASHION = {"kind": "feedforward", "inputs": 784, "hidden": 256, "classes": 10, "steps": 25, "batch": 128}
CONV = {"kind": "conv", "side": 28, "channels": (16, 64), "kernel": 5, "classes": 10, "steps": 8, "batch": 16}
TINY = {"steps": 4, "batch": 2, "hidden": 16}
TINY_CONV = {"steps": 4, "batch": 2, "channels": (4, 8)}


def network_cases(label: str, settings: dict[str, Any], tiny: dict[str, Any], others: tuple[str, ...]) -> list[Case]:
    """A network at every bit width: weights and states of the same bits, or float."""
    cases = []
    for bits in BITS:
        published = () if bits is None else (PUBLISHED,)
        cases.append(
            Case(
                name=f"{label}-{bits or 'float'}",
                family="benchmarks.networks",
                settings={**settings, "bits": bits},
                stacks=(SQUAT, FLOAT, *published, *others, PRODUCTS),
                measures=(TRAINING, INFERENCE),
                memory=(TRAINING,),
                tiny=tiny,
            )
        )
    return cases


CASES = [
    *network_cases("feedforward", FEEDFORWARD, TINY, OTHERS),
    *network_cases("feedforward20", {**FEEDFORWARD, "density": 0.2}, TINY, ()),
    *network_cases("recurrent", RECURRENT, TINY, OTHERS),
    *network_cases("fashion", {**FASHION, "pixels": True}, TINY, ()),
    *network_cases("conv", {**CONV, "pixels": True}, TINY_CONV, ()),
    *(
        Case(
            name=f"quantizer-{bits}",
            family="benchmarks.quantizer",
            settings={"bits": bits, "values": 1_000_000},
            stacks=(SQUAT, FLOAT),
            measures=("forward and backward",),
            memory=("forward and backward",),
            tiny={"values": 20_000},
        )
        for bits in (8, 4)
    ),
    *(
        Case(
            name=f"drop-in-{bits}",
            family="benchmarks.dropin",
            settings={**FEEDFORWARD, "bits": bits, "values": 1_000_000},
            stacks=(SQUAT, FLOAT),
            measures=(TRAINING, QUANTIZER),
            memory=(TRAINING, QUANTIZER),
            tiny={"steps": 2, "values": 20_000},  # of a size that the compiled encoder serves
        )
        for bits in (8, 4)
    ),
    *(
        Case(
            name=f"currents-{bits}",
            family="benchmarks.currents",
            settings={**FEEDFORWARD, "bits": bits},
            stacks=(SQUAT, FLOAT),
            measures=(TRAINING, INFERENCE),
            memory=(TRAINING,),
            tiny=TINY,
        )
        for bits in (8, 4)
    ),
    *(
        Case(
            name=f"loop-{spec}-{arithmetic}",
            family="benchmarks.loop",
            settings={"spec": spec, "arithmetic": arithmetic, "steps": 100, "batch": 64, "neurons": 256},
            stacks=(SQUAT, COPY),
            measures=tuple(f"{bits} bits, {way}" for bits in range(2, 9) for way in ("forward", "backward")),
            tiny={"steps": 4, "batch": 2, "neurons": 16},
            calls=10,
        )
        for spec in SPECS
        for arithmetic in ("integer", "float")
    ),
    *(
        Case(
            name=f"stream-{bits or 'float'}",
            family="benchmarks.stream",
            settings={**RECURRENT, "batch": 1, "bits": bits},
            stacks=(SQUAT, FLOAT) if bits is None else (SQUAT, FLOAT, PUBLISHED),
            measures=("one step",),
            tiny={**TINY, "batch": 1},
            calls=50,
        )
        for bits in BITS
    ),
    *(
        Case(
            name=f"engine-{label}-{bits}",
            family="benchmarks.engine",
            settings={**settings, "bits": bits},
            stacks=(SQUAT, FLOAT, PUBLISHED, EXPORTED_C),
            measures=(INFERENCE,),
            tiny=TINY,
        )
        for label, settings in (("feedforward", FEEDFORWARD), ("recurrent", RECURRENT))
        for bits in (8, 4, 2)
    ),
]
"""Every case; the order is that of the report."""

AXES: dict[str, tuple[float, ...]] = {
    "steps": (10, 30, 100, 300, 1000),
    "hidden": (64, 128, 256, 512, 1024, 2048, 4096),
    "batch": (1, 4, 16, 64, 256, 512),
    "density": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
}
"""What the scaling curves vary, the rest being as in the 4-bit networks."""

CURVES = [
    Case(
        name=f"curve-{label}-{axis}",
        family="benchmarks.curves",
        settings={**settings, "bits": 4, "axis": axis},
        stacks=(SQUAT, PRODUCTS),
        measures=tuple(f"{point:g}" for point in points),
        tiny=TINY,
        seconds=6.0,
    )
    for label, settings in (("feedforward", FEEDFORWARD), ("recurrent", RECURRENT))
    for axis, points in AXES.items()
]
"""The scaling curves: a measure is a point on the axis."""
