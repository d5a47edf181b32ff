"""State level schemes by name: a scheme is a function from bits to a frozen state spec."""

from __future__ import annotations

from collections.abc import Callable

from squat.checks import check_choice
from squat.quant.spec import Anchored, StateSpec, ThresholdCentered, Uniform, ZeroCentered

SCHEMES: dict[str, Callable[[int], StateSpec]] = {
    "uniform": Uniform,
    "threshold_centered": ThresholdCentered,
    "zero_centered": ZeroCentered,
    "anchored": Anchored,
}


def register_scheme(name: str, factory: Callable[[int], StateSpec]) -> None:
    """Adds a scheme, so that configs can list it.

    Args:
        name: the name in configs, records and tables.
        factory: `factory(bits)` gives the state spec.

    Raises:
        ValueError: if the name is taken by another scheme.

    Example:
        >>> register_scheme("wide_uniform", lambda bits: Uniform(bits, upper_limit=0.5))
        >>> get_scheme("wide_uniform")(4).upper_limit
        0.5
        >>> del SCHEMES["wide_uniform"]
    """
    if SCHEMES.get(name, factory) is not factory:
        raise ValueError(f"scheme {name!r} is registered already; choose another name")
    SCHEMES[name] = factory


def get_scheme(name: str) -> Callable[[int], StateSpec]:
    """The registered scheme called `name`.

    Raises:
        ValueError: for a name that is not registered; the message lists those that are.

    Example:
        >>> get_scheme("uniform")(4)
        Uniform(bits=4, lower_limit=0.0, upper_limit=0.2)
    """
    return SCHEMES[check_choice("scheme", name, SCHEMES, "register others with squat.ablation.register_scheme")]
