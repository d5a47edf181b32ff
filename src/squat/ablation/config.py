"""`AblationConfig`: everything an ablation depends on, frozen, with JSON in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from squat.ablation.cells import get_cell
from squat.ablation.schemes import get_scheme
from squat.checks import check_choice, check_int, check_real, check_type
from squat.ptq.calibrate import STATE_RANGES
from squat.text import brief

if TYPE_CHECKING:
    from squat.train.config import DataConfig, RunConfig


@dataclass(frozen=True)
class AblationConfig:
    """An ablation: cells x schemes x bits x seeds around one base run.

    Every setting that was chosen on validation (learning rates, betas) is an input here; `tune` finds them.

    Args:
        name: shown in tables; names the data set where several ablations are reported together.
        base: the run that all cells vary: data, network, training. Its seed, weights and states are set by the grid.
        cells: names of registered cells. Trained cells that a PTQ cell starts from are added by the grid.
        schemes: names of registered state schemes.
        bits: pairs (weight bits, state bits); a single integer means both alike. See `crossed`.
        seeds: one seed fixes initial weights, data order and augmentation in every cell (the pairing).
        learning_rates: learning rate per trained cell; the base's where none is given.
        betas: beta per "scheme/state bits" (as "uniform/4"), for the secondary comparison; the base's where none is
            given. A PTQ cell's parent is trained with the same beta.
        granularity: "tensor" or "channel" weight scales; they are found by mean squared error in every cell.
        state_ranges: ranges that state PTQ tries; the best on validation counts, all are recorded.
        calibration_samples: number of training samples that calibration sees.
        seed_option: name of an integer option of the data set that takes each seed's value, such as "fold": then the
            seeds are the folds of a cross-validation, and every replicate has test samples of its own.

    Raises:
        TypeError, ValueError: for unknown names, empty or repeated lists, or a base that fixes what the grid varies.
    """

    name: str
    base: RunConfig
    cells: Sequence[str]
    schemes: Sequence[str]
    bits: Sequence[tuple[int, int] | int] = ((4, 4),)
    seeds: Sequence[int] = (0, 1, 2)
    learning_rates: Mapping[str, float] = field(default_factory=dict, hash=False)
    betas: Mapping[str, float] = field(default_factory=dict, hash=False)
    granularity: str = "tensor"
    state_ranges: Sequence[str] = STATE_RANGES
    calibration_samples: int = 512
    seed_option: str | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        from squat.train.config import RunConfig

        check_type("name", self.name, str, "text")
        check_type("base", self.base, RunConfig, "a RunConfig")
        check_type("seed_option", self.seed_option, (str, type(None)), "the name of an option of the data, or None")
        for name in ("learning_rates", "betas"):
            check_type(name, getattr(self, name), Mapping, "a dict")
        _check_list("cells", self.cells, get_cell)
        _check_list("schemes", self.schemes, get_scheme)
        _check_list("seeds", self.seeds, lambda seed: check_int("seed", seed, 0))
        _check_list("state_ranges", self.state_ranges, lambda name: check_choice("state_range", name, STATE_RANGES))
        check_int("calibration_samples", self.calibration_samples, 1)
        check_choice("granularity", self.granularity, ("tensor", "channel"))
        pairs = tuple(_pair(entry) for entry in _as_list("bits", self.bits))
        _check_list("bits", pairs, lambda pair: None)
        for name, value in (("bits", pairs), *((n, tuple(getattr(self, n))) for n in _LISTS)):
            object.__setattr__(self, name, value)
        for cell, rate in self.learning_rates.items():
            if not get_cell(cell).trained:
                raise ValueError(f"learning_rates[{cell!r}]: {cell!r} is calibrated, not trained; name a trained cell")
            check_real(f"learning_rates[{cell!r}]", rate, 0.0, open_low=True)
        for key, beta in self.betas.items():
            _check_beta(key, beta)
        _check_base(self.base)
        if self.seed_option in self.base.data.arguments:
            raise ValueError(
                f"seed_option={self.seed_option!r}: base.data fixes this option already; leave it to the seeds"
            )

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The pairs (weight bits, state bits)."""
        return tuple(_pair(entry) for entry in self.bits)

    def data(self, seed: int) -> DataConfig:
        """The data of the runs with this seed."""
        if self.seed_option is None:
            return self.base.data
        return replace(self.base.data, options={**self.base.data.arguments, self.seed_option: seed})

    def to_json(self) -> dict[str, Any]:
        """The config as JSON values; `AblationConfig.from_json` is the inverse. `seed_option` only if it is set."""
        from squat.models.serial import encode_fields

        document = encode_fields(self)
        return {name: value for name, value in document.items() if name != "seed_option" or value is not None}

    @classmethod
    def from_json(cls, document: Any) -> AblationConfig:
        """The config that `to_json` described.

        Raises:
            TypeError, ValueError: for unknown or missing keys and for values that the constructor refuses.
        """
        from squat.models.serial import decode_fields
        from squat.train.config import RunConfig

        return decode_fields(cls, document, "ablation", {"base": RunConfig.from_json})


_LISTS = ("cells", "schemes", "seeds", "state_ranges")


def crossed(bits: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """All pairs (weight bits, state bits) of a list of bit widths.

    Example:
        >>> crossed([4, 2])
        ((4, 4), (4, 2), (2, 4), (2, 2))
    """
    return tuple((weight, state) for weight in bits for state in bits)


def _as_list(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name}={values!r}: expected a list; put a single value in brackets")
    return values


def _check_list(name: str, values: Any, check: Any) -> None:
    entries = _as_list(name, values)
    if not entries:
        raise ValueError(f"{name}={values!r}: expected at least one entry")
    for entry in entries:
        check(entry)
    if len(set(entries)) < len(entries):
        raise ValueError(f"{name}={values!r}: an entry occurs twice; list each once")


def _pair(entry: Any) -> tuple[int, int]:
    pair = (entry, entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"bits entry {entry!r}: expected an integer or a pair (weight bits, state bits)")
    return check_int("weight bits", pair[0], 2, 8), check_int("state bits", pair[1], 1, 8)


def _check_beta(key: str, beta: Any) -> None:
    scheme, _, bits = key.partition("/")
    if not bits.isdigit():
        raise ValueError(f"betas[{key!r}]: expected a key 'scheme/state bits' such as 'uniform/4'")
    get_scheme(scheme)
    check_real(f"betas[{key!r}]", beta, 0.0, 1.0)


def _check_base(base: Any) -> None:
    if base.network.weights is not None or base.network.states is not None:
        raise ValueError("base.network has quantized weights or states; leave both None, the cells set them")
    if base.train.early_stopping_patience is not None:
        raise ValueError("base.train.early_stopping_patience: no early stopping inside an ablation; leave it None")
