"""What loops that quantize rows of float states need: tables of a spec, and one row compiled (numba)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from squat.kernels.jit import jit
from squat.ops.encoder import encode_row, lookup_row, make_encoder
from squat.ops.lif.cpu import padded_table
from squat.quant.spec import StateSpec, level_tables


def row_tables(spec: StateSpec | None, theta: Tensor, dtype: torch.dtype) -> tuple[Any, np.ndarray]:
    """Encoder and levels for `quantize_row`; no levels for a float state."""
    if spec is None:
        nothing = torch.zeros(1, dtype=dtype).numpy()
        return make_encoder(nothing), nothing[:0]
    levels, bounds, _ = level_tables(spec, float(theta.detach()), dtype)
    return make_encoder(bounds.numpy()), padded_table(levels)


@jit
def quantize_row(raw, encoder, levels, value, code, near, pair, out, codes):
    """`out = level[code]` and `codes[0]`, or `out = raw` for a float state.

    `raw`, `value`, `code`, `near` and `pair` have room for whole groups of `LANES`; all but `raw` are for results
    between.
    """
    if levels.size == 0:
        for n in range(out.size):
            out[n] = raw[n]
        return
    encode_row(raw, encoder, code, near, pair)
    lookup_row(levels, code, value)
    for n in range(out.size):
        out[n] = value[n]
        codes[0, n] = np.uint8(code[n])
