"""The integer rule: leak, reset, boundaries and bias as integers in units of `w_scale / 2**shift`.

Where weights and states are both quantized, training itself runs on these integers, so that the deployed machine is
the trained one and nothing is approximated later:

    acc = (z << shift) + bias[n] + table[c]        table = round((leak(level[c]) - reset[c]) * 2**shift / w_scale)
    c'  = #{k : acc > bound[k]}                    bound = floor(boundary[k] * 2**shift / w_scale)
    spike = c' >= first firing code                first step: acc = (z << shift) + bias[n]

All roundings are made in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from squat.quant.spec import StateSpec

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
    levels, bound, first = (
        spec.levels(threshold),
        spec.boundaries(threshold, torch.float64),
        spec.first_firing_code(threshold),
    )
    levels, scale64 = levels.double(), scale.detach().double().reshape(-1, 1)
    fires = torch.arange(len(levels)) >= first
    leak = beta.detach().double().reshape(-1, 1) * levels
    drop = torch.where(fires, float(threshold), 0.0) if reset == "subtract" else torch.zeros(())
    if reset == "zero":
        leak = leak.masked_fill(fires, 0.0)
    extent = max(float((leak - drop).abs().max()), float(bound.abs().max()), float(levels.abs().max()))
    reach = extent / float(scale64.min())
    if bias is not None:
        reach += float((bias.detach().double() / scale64[:, 0]).abs().max())
    shift = 2 * spec.bits
    while shift and (sum_bound + reach) * 2**shift + 2 >= ACCUMULATOR_LIMIT:
        shift -= 1
    if (sum_bound + reach) * 2**shift + 2 >= ACCUMULATOR_LIMIT:
        raise ValueError(
            f"accumulator of {sum_bound + reach:.3g} weight steps: expected less than 2**31; the weight scale "
            f"({float(scale64.min()):.3g}) is too small beside the threshold ({threshold:.3g}), or the inputs too large"
        )
    unit = 2.0**shift / scale64
    bound_int = (bound * unit).floor().to(torch.int64)
    leak_int = (leak * unit).round().to(torch.int64)
    table = ((leak - drop) * unit).round().to(torch.int64)
    if spec.decays:
        forced = decay_at_least_one_code(leak_int, bound_int, levels)
        stuck = forced != leak_int
        table = torch.where(stuck & ~(fires & (reset == "zero")), forced - (drop * unit).round().to(torch.int64), table)
    ends = torch.stack(((levels[0] * unit[:, 0]).ceil(), (levels[-1] * unit[:, 0]).floor()), dim=-1)
    bias_int = None if bias is None else (bias.detach().double() * unit[:, 0]).round().to(torch.int32)
    return IntegerTables(table.to(torch.int32), bound_int.to(torch.int32), bias_int, ends.to(torch.int32), shift)
