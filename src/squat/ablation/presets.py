"""Ablations by name. Each preset is a function that returns an `AblationConfig`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from squat.ablation.cells import CELLS
from squat.ablation.config import AblationConfig
from squat.checks import check_choice

if TYPE_CHECKING:
    from squat.quant.spec import StateSpec
    from squat.quant.weight import IntWeight
    from squat.train.config import RunConfig

ALL_CELLS = (
    "float", "state-ptq", "squat", "weight-ptq", "ptq", "squat+weight-ptq", "qat", "qat+state-ptq", "qat+squat",
)  # fmt: skip

PUBLISHED = ("uniform", "threshold_centered")

DEMO_NOTE = (
    "This is a demonstration: its preset seeds and epochs are too few to decide anything. "
    "The presets `digits` and `fashion` are the experiments that count."
)


def demo() -> AblationConfig:
    """Spoken digits, 140 channels, all cells at 4 bits, three schemes, 2 seeds, few epochs: minutes on 2 cores.

    Example:
        >>> len(demo().seeds)
        2
    """
    from squat.models.config import NetworkConfig
    from squat.train.config import DataConfig, RunConfig, TrainConfig

    base = RunConfig(
        DataConfig("spoken_digits", {"channels": 140, "bin_ms": 10, "steps": 100}),
        NetworkConfig("recurrent", inputs=140, hidden=(128,), beta=0.95, input_gain=3.0),
        TrainConfig(epochs=6, batch_size=64, learning_rate=5e-3, logit_scale=10.0),
    )
    schemes = ("uniform", "threshold_centered", "anchored")
    return AblationConfig("demo", base, ALL_CELLS, schemes, seeds=(0, 1), calibration_samples=128)


def digits() -> AblationConfig:
    """Spoken digits, 140 channels, by take: all cells at 4 bits, 3 seeds, a recurrent network.

    Example:
        >>> digits().bits
        ((4, 4),)
    """
    from squat.models.config import NetworkConfig
    from squat.train.config import AugmentConfig, DataConfig, RunConfig, TrainConfig

    base = RunConfig(
        DataConfig("spoken_digits", {"channels": 140, "bin_ms": 10, "steps": 100, "split": "take"}),
        NetworkConfig("recurrent", inputs=140, hidden=(128,), beta=0.9, input_gain=3.0),
        TrainConfig(
            epochs=30, batch_size=64, learning_rate=2e-3, logit_scale=10.0, augment=AugmentConfig(channel_shift=4)
        ),
    )
    rates = {"float": 4e-3, "squat": 4e-3, "qat": 4e-3, "qat+squat": 8e-3}
    return AblationConfig("digits", base, ALL_CELLS, PUBLISHED, seeds=(0, 1, 2), learning_rates=rates)


def fashion() -> AblationConfig:
    """FashionMNIST, 784-256-10, 25 steps of constant current: all cells at 4 bits, 3 seeds.

    Example:
        >>> fashion().base.network.input_max
        255
    """
    from squat.models.config import NetworkConfig
    from squat.train.config import DataConfig, RunConfig, TrainConfig

    base = RunConfig(
        DataConfig("fashion_mnist", {"mode": "static", "steps": 25}),
        NetworkConfig(
            "feedforward",
            inputs=784,
            hidden=(256,),
            beta=0.95,
            readout="spike_count",
            input_scale=1 / 255,
            input_max=255,
        ),
        TrainConfig(epochs=6, batch_size=128, learning_rate=1e-3, logit_scale=0.5),
    )
    rates = {"float": 5e-4, "squat": 1e-3, "qat": 1e-3, "qat+squat": 2e-3}
    return AblationConfig("fashion", base, ALL_CELLS, PUBLISHED, seeds=(0, 1, 2), learning_rates=rates)


def digits_rcubalif() -> AblationConfig:
    """`digits` with recurrent neurons that have a synaptic current, `RCubaLIF`.

    Example:
        >>> digits_rcubalif().base.network.neuron
        'RCubaLIF'
    """
    rates = {"float": 2e-3, "squat": 4e-3, "qat": 2e-3, "qat+squat": 2e-3}
    return _digits_of("RCubaLIF", 0.65, rates)


def digits_ralif() -> AblationConfig:
    """`digits` with recurrent neurons whose threshold adapts, `RALIF`.

    Example:
        >>> digits_ralif().base.network.neuron
        'RALIF'
    """
    rates = {"float": 8e-3, "squat": 4e-3, "qat": 8e-3, "qat+squat": 4e-3}
    return _digits_of("RALIF", 0.6, rates)


def _digits_of(neuron: str, beta: float, rates: dict[str, float]) -> AblationConfig:
    """The spoken digits with another recurrent neuron, its own beta and learning rates; all else is equal."""
    found = digits()
    base = replace(found.base, network=replace(found.base.network, neuron=neuron, beta=beta))
    return replace(found, name=f"digits-{neuron.lower()}", base=base, learning_rates=rates)


def nmnist() -> AblationConfig:
    """Small N-MNIST, 2 x 17 x 17, 20 steps: all cells at 4 and 2 bits, a convolutional network, five folds.

    The replicate is the fold: seed `s` from 0 to 4 trains on the other folds, tests on fold `s`, and fixes initial
    weights and data order of that fold's runs. The folds are those of `squat.data.nmnist`, stratified and the same for
    ever; what was chosen was chosen on validation parts, an eighth of each fold's training samples.

    Example:
        >>> nmnist().data(3).arguments["fold"]
        3
    """
    from squat.models.config import NetworkConfig
    from squat.train.config import AugmentConfig, DataConfig, RunConfig, TrainConfig

    base = RunConfig(
        DataConfig("nmnist_small", {"steps": 20, "height": 17, "layout": "image"}),
        NetworkConfig("conv", inputs=(2, 17, 17), hidden=(12, 24), beta=0.8, batch_norm=True),
        TrainConfig(
            epochs=12, batch_size=32, learning_rate=4e-3, logit_scale=4.0, augment=AugmentConfig(channel_shift=1)
        ),
    )
    rates = {"float": 8e-3, "squat": 8e-3, "qat": 4e-3, "qat+squat": 8e-3}
    return AblationConfig(
        "nmnist", base, ALL_CELLS, PUBLISHED, bits=(4, 2), seeds=(0, 1, 2, 3, 4), seed_option="fold",
        learning_rates=rates,
    )  # fmt: skip


PRESETS: dict[str, Callable[[], AblationConfig]] = {
    "demo": demo,
    "digits": digits,
    "digits-rcubalif": digits_rcubalif,
    "digits-ralif": digits_ralif,
    "fashion": fashion,
    "nmnist": nmnist,
}


DEFAULTS: dict[tuple[str, str, str], str] = {
    ("spoken_digits", "recurrent", "RLIF"): "digits",
    ("spoken_digits", "recurrent", "RCubaLIF"): "digits-rcubalif",
    ("spoken_digits", "recurrent", "RALIF"): "digits-ralif",
    ("fashion_mnist", "feedforward", "LIF"): "fashion",
    ("nmnist_small", "conv", "LIF"): "nmnist",
}
"""The preset that a single run takes its settings from, by data, architecture and neuron; the first row of some data is
their default."""


def default_preset(data: str, architecture: str | None = None, neuron: str | None = None) -> str | None:
    """The first preset in `DEFAULTS` on these data, with the architecture and the neuron if they are given, or None.

    Example:
        >>> default_preset("spoken_digits"), default_preset("spoken_digits", neuron="RALIF"), default_preset("mine.npz")
        ('digits', 'digits-ralif', None)
    """
    asked = (data, architecture, neuron)
    return next(
        (name for row, name in DEFAULTS.items() if all(a in (None, b) for a, b in zip(asked, row, strict=True))), None
    )


def trained_run(config: AblationConfig, weights: IntWeight | None, states: StateSpec | None) -> tuple[str, RunConfig]:
    """The cell that trains with these specs, and its run: the base with the specs and the cell's learning rate.

    Example:
        >>> cell, run = trained_run(digits(), None, None)
        >>> cell, run.train.learning_rate
        ('float', 0.004)
    """
    sources = ("float" if weights is None else "qat", "float" if states is None else "squat")
    cell = next(cell for cell in CELLS.values() if (cell.weights, cell.states) == sources)
    rate = config.learning_rates.get(cell.name, config.base.train.learning_rate)
    network = replace(config.base.network, weights=weights, states=states)
    return cell.name, replace(config.base, network=network, train=replace(config.base.train, learning_rate=rate))


def preset(name: str) -> AblationConfig:
    """The preset called `name`.

    Raises:
        ValueError: for an unknown name; the message lists those there are.

    Example:
        >>> preset("demo").name
        'demo'
    """
    return PRESETS[check_choice("preset", name, PRESETS, "or give a JSON file with an ablation config")]()


def committed_results() -> list[Path]:
    """The committed full results (`results.md` under `docs/results` of the source tree); empty where there are none."""
    folder = Path(__file__).resolve().parents[3] / "docs" / "results"
    return sorted(folder.rglob("results.md")) if folder.is_dir() else []
