"""LIF neurons whose recurrence is a convolution, under the integer rule: one step of `squat.ops.lif` after the other.

    z[t] = z_in[t] + conv(w, s[t-1])        then as `squat.ops.lif` on sums

Recurrent weights lie on the grid of the input sums, so both are one integer sum. Gradients follow by autograd, through
the convolution and through the states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from squat.ops.lif import lif
from squat.ops.lif.loop import first_codes
from squat.ops.lif.operators import config_of
from squat.ops.lif.tables import LoopConfig
from squat.ops.product import integer_conv2d
from squat.quant.weight import row_bound
from squat.remember import Remembered


def conv_rlif_integer(
    z: Tensor,
    beta: Tensor,
    threshold: Tensor,
    weight: Tensor,
    image: tuple[int, ...],
    config: LoopConfig | str,
    *,
    scale: Tensor,
    bias: Tensor | None,
    bound: int,
    u0: Tensor | None = None,
    codes0: Tensor | None = None,
    from_code_of_zero: bool = False,
    remembered: Remembered | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the neurons through time; arguments and results as in `squat.ops.lif.lif`.

    Args:
        z: integer sums of the inputs `[T, B, N]`, `N = C*H*W`.
        beta: decay, 0-dim or `[N]`.
        threshold: 0-dim.
        weight: recurrent integers `[C, C, rows, columns]` in the units of `z`; images are padded with 0.
        image: `(C, H, W)`.
        config: constants of the loop, or their text; with a state spec and the integer rule.
        scale: of the sums, 0-dim or `[N]`.
        bias: `[N]`, or None.
        bound: certain bound of a whole sum, recurrence included.
        u0: carried membrane `[B, N]`, or None.
        codes0: carried codes `[B, N]`, or None for a fresh start.
        from_code_of_zero: without `codes0`, start from the code of 0.
        remembered: the neuron's own memory of its tables.
    """
    config = config_of(config) if isinstance(config, str) else config
    codes = first_codes(codes0, from_code_of_zero, z, threshold, config)
    u, fired = u0, None
    if codes is not None and config.state is not None:
        u = config.state.levels(float(threshold.detach())).to(z)[codes.int()] if u0 is None else u0
        fired = _spikes(u, codes, threshold, config)
    rows, columns = weight.shape[2] // 2, weight.shape[3] // 2
    largest, out = row_bound(weight, 1), []
    remembered = Remembered() if remembered is None else remembered  # all steps have the same tables
    for sums in z:
        total = sums
        if fired is not None:
            images = fired.reshape(-1, *image)
            total = sums + integer_conv2d(images, weight, (1, 1), (rows, columns), largest).flatten(1)
        spikes, last, codes = lif(
            total[None], beta, threshold, config, steps=1, scale=scale, bias=bias, u0=u, codes0=codes, sum_bound=bound,
            exact=True, remembered=remembered,
        )  # fmt: skip
        u, fired = last, spikes[0]
        out.append(fired)
    return torch.stack(out), last, codes


def _spikes(u: Tensor, codes: Tensor, threshold: Tensor, config: LoopConfig) -> Tensor:
    """Spikes of a carried state, with the surrogate's gradient as every step's."""
    first = config.state.first_firing_code(float(threshold.detach())) if config.state is not None else 0
    fired = (codes >= first).to(u.dtype)
    if config.surrogate is None:
        return fired
    x = u - threshold
    return fired + config.surrogate.derivative(x.detach()) * (x - x.detach())
