"""The integer rule: leak, reset, boundaries and bias as integers in units of `w_scale / 2**shift`.

Where weights and states are both quantized, training itself runs on these integers, so that the deployed machine is
the trained one and nothing is approximated later:

    acc = (z << shift) + bias[n] + table[c]        table = round((leak(level[c]) - reset[c]) * 2**shift / w_scale)
    c'  = #{k : acc > bound[k]}                    bound = floor(boundary[k] * 2**shift / w_scale)
    spike = c' >= first firing code                first step: acc = (z << shift) + bias[n]

All roundings are made in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from squat.quant.spec import StateSpec
from squat.text import brief

ACCUMULATOR_LIMIT = 2**31


@dataclass(frozen=True)
class IntegerTables:
    """The constants of one layer's integer machine.

    Attributes:
        table: int32 `[G, 2**bits]`, leak minus reset by code; `G` is 1, or `N` for per-neuron tables.
        bound: int32 `[H, 2**bits - 1]`; `H` is 1, or `N` for per-channel weight scales.
        bias: int32 `[N]`, or None.
        ends: int32 `[H, 2]`, the lowest and highest accumulator value inside the range of the levels.
        shift: fraction bits of the accumulator.
    """

    table: Tensor
    bound: Tensor
    bias: Tensor | None
    ends: Tensor
    shift: int

    __repr__ = brief


def decay_at_least_one_code(leak: Tensor, bound: Tensor, levels: Tensor) -> Tensor:
    """Leak table without dead zones: a code that would map to itself goes to the next one towards rest.

    Args:
        leak: `[G, K]` accumulator value of each code after the leak, without input.
        bound: `[H, K - 1]` decision boundaries in the same units.
        levels: `[K]` sorted levels, one of them 0.

    Returns:
        `[max(G, H), K]`; a stuck code above rest gets its lower boundary (which belongs to the next code down), one
        below rest the smallest value above its upper boundary.
    """
    codes = torch.arange(len(levels))
    rest = int((levels == 0).nonzero()[0])
    leak, bound = torch.broadcast_tensors(leak[..., None], bound[:, None, :])
    leak = leak[..., 0].clone()
    reached = (leak[..., None] > bound).sum(-1)
    down = (codes > rest) & (reached >= codes)
    up = (codes < rest) & (reached <= codes)
    lower_bound = bound[:, 0, (codes - 1).clamp(min=0)]
    upper_bound = bound[:, 0, codes.clamp(max=bound.shape[-1] - 1)]
    if leak.is_floating_point():
        above = torch.nextafter(upper_bound, torch.full_like(upper_bound, torch.inf))
    else:
        above = upper_bound + 1
    return torch.where(down, lower_bound, torch.where(up, above, leak))


def integer_tables(
    spec: StateSpec,
    *,
    beta: Tensor,
    threshold: float,
    scale: Tensor,
    bias: Tensor | None,
    sum_bound: int,
    reset: str,
) -> IntegerTables:
    """Round leak, reset, boundaries and bias of a layer to the accumulator grid.

    Args:
        spec: state spec.
        beta: decay, 0-dim or `[N]`, in [0, 1].
        threshold: firing threshold.
        scale: weight scale, 0-dim or `[N]`.
        bias: float bias `[N]` or None.
        sum_bound: certain bound of the synaptic sum `|z|`.
        reset: `"subtract"`, `"zero"` or `"none"`.

    Returns:
        The tables, with the largest `shift <= 2*bits` for which no accumulator can reach 2**31.

    Raises:
        ValueError: if not even `shift = 0` fits 32 bits.
    """
    levels, bound, fires = _level_arrays(spec, threshold)
    leak = _float64(beta).reshape(-1, 1) * levels
    drop = np.where(fires, threshold, 0.0) if reset == "subtract" else np.zeros(1)
    if reset == "zero":
        leak[:, fires] = 0.0
    tables, unit = _on_grid(spec, threshold, leak - drop, scale, bias, sum_bound)
    if not spec.decays:
        return tables
    leak_int, bound_int = np.rint(leak * unit), np.floor(bound * unit)
    leak_codes, bound_codes = torch.from_numpy(leak_int).long(), torch.from_numpy(bound_int).long()
    forced = decay_at_least_one_code(leak_codes, bound_codes, torch.from_numpy(levels)).numpy()
    stuck = (forced != leak_int) & ~(fires & (reset == "zero"))
    return replace(tables, table=_int32(np.where(stuck, forced - np.rint(drop * unit), tables.table.numpy())))


def values_on_grid(
    spec: StateSpec, threshold: float, values: Tensor, scale: Tensor, bias: Tensor | None, sum_bound: int
) -> IntegerTables:
    """What a state holds without input, by code, on the accumulator grid; with boundaries and bias as `integer_tables`.

    Args:
        spec: state spec.
        threshold: what its levels refer to.
        values: float64 `[..., G, 2**bits]`; the `table` of the result has this shape, `G` becoming `N` for per-channel
            scales.
        scale: weight scale, 0-dim or `[N]`.
        bias: float bias `[N]` or None.
        sum_bound: certain bound of the synaptic sum `|z|`.

    Raises:
        ValueError: if not even `shift = 0` fits 32 bits.
    """
    return _on_grid(spec, threshold, values.numpy(), scale, bias, sum_bound)[0]


def _on_grid(
    spec: StateSpec, threshold: float, values: np.ndarray, scale: Tensor, bias: Tensor | None, sum_bound: int
) -> tuple[IntegerTables, np.ndarray]:
    """The tables, and the units of the accumulator in one unit of the membrane, `[H, 1]`."""
    levels, bound, _ = _level_arrays(spec, threshold)
    steps = _float64(scale).reshape(-1, 1)
    offset = None if bias is None else _float64(bias)
    extent = max(np.abs(values).max(), np.abs(bound).max(), np.abs(levels).max())
    reach = extent / steps.min()
    if offset is not None:
        reach += np.abs(offset / steps[:, 0]).max()
    shift = 2 * spec.bits
    while shift and (sum_bound + reach) * 2**shift + 2 >= ACCUMULATOR_LIMIT:
        shift -= 1
    if not (sum_bound + reach) * 2**shift + 2 < ACCUMULATOR_LIMIT:
        raise ValueError(
            f"accumulator of {sum_bound + reach:.3g} weight steps: expected less than 2**31; the weight scale "
            f"({steps.min():.3g}) is too small beside the threshold ({threshold:.3g}), or the inputs too large"
        )
    unit = 2.0**shift / steps
    ends = np.stack((np.ceil(levels[0] * unit[:, 0]), np.floor(levels[-1] * unit[:, 0])), axis=-1)
    bias_int = None if offset is None else _int32(np.rint(offset * unit[:, 0]))
    table, bound_int = _int32(np.rint(values * unit)), _int32(np.floor(bound * unit))
    return IntegerTables(table, bound_int, bias_int, _int32(ends), shift), unit


def _float64(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _int32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int32))


@lru_cache(maxsize=256)
def _level_arrays(spec: StateSpec, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, boundaries, and which codes fire, in float64; cached, so read-only."""
    levels = spec.levels(threshold).double().numpy()
    bound = spec.boundaries(threshold, torch.float64).numpy()
    return levels, bound, np.arange(len(levels)) >= spec.first_firing_code(threshold)
