"""The LIF loop as registered operators, for code that is traced: the same loops and gradients as `loop.py`.

A graph holds the loop's constants as text and its bounds as tensors, since F, the shift of the integer rule, depends on
them. The tables are made anew in the backward pass.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from squat.operators import as_tensor, operator
from squat.ops.dispatch import current_backend
from squat.ops.lif import loop
from squat.ops.lif.tables import LoopConfig, code_tables
from squat.quant.spec import spec_from_json
from squat.remember import Remembered
from squat.surrogate import surrogate_from_json

Optional = Tensor | None
FLOAT_STATE = '{"state": null,'
"""How the text of a config without a state spec begins."""


def lif(
    x: Tensor,
    beta: Tensor,
    threshold: Tensor,
    config: LoopConfig | str,
    *,
    steps: int,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    w_rec: Tensor | None = None,
    rec_scale: Tensor | None = None,
    u0: Tensor | None = None,
    codes0: Tensor | None = None,
    from_code_of_zero: bool = False,
    sum_bound: int | Tensor = 0,
    exact: bool = False,
    remembered: Remembered | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run LIF neurons through time; `ops/lif/reference.py` states the equations.

    Args:
        x: currents `[T, B, N]`, or `[1, B, N]` if constant over time; integer sums `z` under the integer rule.
        beta: decay, 0-dim or `[N]`.
        threshold: 0-dim.
        config: constants of the loop; where code is traced, as the text that `config_of` reads.
        steps: T.
        scale: weight scale, 0-dim or `[N]`; integer rule only.
        bias: `[N]`; integer rule only (the float rule has it in `x`).
        w_rec: recurrent weights `[N, N]` (postsynaptic first), integer-valued if quantized; None without recurrence.
        rec_scale: their scale, 0-dim or `[N]`; None for float weights and under the integer rule, where `scale` serves.
        u0: carried membrane `[B, N]`; for quantized states it stands for `level[codes0]` and takes the gradient.
        codes0: carried codes, uint8 `[B, N]`; None starts fresh: no leak, no reset in the first step.
        from_code_of_zero: without `codes0`, start from the code of 0 instead; quantized states only.
        sum_bound: certain bound of the synaptic sum `|z|`, recurrence included, which `x` must keep; integer rule only.
        exact: whether `x` is known to be integers within the bound, so that it is not checked.
        remembered: the layer's own memory of its tables, for calls without gradients.

    Returns:
        Output `[T, B, N]` (spikes or membranes), last membrane `[B, N]`, last codes (None for float states).

    Raises:
        ValueError: if a current is not finite, or under the integer rule not an integer within `sum_bound`; if the
            threshold is not positive; for a carried code that the spec does not have.
    """
    if w_rec is not None and rec_scale is None:
        rec_scale = scale  # the integer rule
    if not isinstance(config, str):
        return loop.run(
            x, beta, threshold, scale, bias, w_rec, rec_scale, u0, codes0, config, steps, from_code_of_zero,
            int(sum_bound), exact, remembered,
        )  # fmt: skip
    if config.startswith(FLOAT_STATE):
        out, u, _ = _lif_membrane.registered(x, beta, threshold, w_rec, rec_scale, u0, config, steps)
        return out, u, None
    out, u, codes, *_ = _lif_codes.registered(
        x, beta, threshold, scale, bias, w_rec, rec_scale, u0, codes0, as_tensor(sum_bound), exact,
        config, steps, from_code_of_zero, threshold.requires_grad and torch.is_grad_enabled(),
    )  # fmt: skip
    return out, u, codes


@lru_cache(maxsize=256)
def config_of(text: str) -> LoopConfig:
    """The constants that a graph holds as JSON text, by the names of `LoopConfig`."""
    values = json.loads(text)
    surrogate = values["surrogate"]
    return LoopConfig(
        **values
        | {
            "state": spec_from_json(values["state"]),
            "surrogate": None if surrogate is None else surrogate_from_json(surrogate),
        }
    )


def _kernels(device: torch.device) -> Any:
    if current_backend(device) == "reference":
        raise ValueError(
            "backend 'reference' inside a compiled graph: expected 'cpu' or 'gpu'; the specification has no operator, "
            "call the network that is not compiled"
        )
    return loop.kernels(device)


def _like(need: list[bool], arguments: tuple[Tensor | None, ...]) -> list[Tensor]:
    """The arguments whose gradients are wanted: an operator returns these and no others."""
    return [argument for argument, wanted in zip(arguments, need, strict=True) if wanted and argument is not None]


def _given(gradients: list[Tensor], need: list[bool], others: int) -> loop.Gradients:
    """Gradients in the places of their arguments, and None for the arguments that have none."""
    given = iter(gradients)
    return (*(next(given) if wanted else None for wanted in need), *(None,) * others)


def _codes_shapes(
    x: Tensor, beta: Tensor, threshold: Tensor, scale: Optional, bias: Optional, w_rec: Optional, rec_scale: Optional,
    u0: Optional, codes0: Optional, sum_bound: Tensor, exact: bool, config: str, steps: int,
    from_code_of_zero: bool, keep_membrane: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    flags, (batch, neurons) = json.loads(config), x.shape[1:]  # no `config_of`: specs are made of real tensors
    packed = -(-neurons // 8) if flags["clipped"] or keep_membrane else 0
    kept = (steps, batch, neurons) if keep_membrane else (0, 0, 0)
    return (
        x.new_empty(steps, batch, neurons), x.new_empty(batch, neurons),
        x.new_empty(batch, neurons, dtype=torch.uint8), x.new_empty(steps, batch, neurons, dtype=torch.uint8),
        x.new_empty(steps, batch, packed, dtype=torch.uint8),
        x.new_empty(kept, dtype=torch.int32 if flags["integer"] else x.dtype),
    )  # fmt: skip


def _codes_gradient_shapes(
    g_out: Tensor, g_last: Tensor, codes: Tensor, inside: Tensor, membrane: Tensor,
    arguments: list[Tensor | None], codes0: Optional, sum_bound: Tensor, config: str, from_code_of_zero: bool,
    need: list[bool],
) -> list[Tensor]:  # fmt: skip
    return [argument.new_empty(argument.shape) for argument in _like(need, (*arguments, g_last))]


@operator(
    "(Tensor g_out, Tensor g_last, Tensor codes, Tensor inside, Tensor membrane, Tensor?[] arguments,"
    " Tensor? codes0, Tensor sum_bound, str config, bool from_code_of_zero, bool[] need) -> Tensor[]",
    _codes_gradient_shapes,
)
def _lif_codes_gradients(
    g_out: Tensor, g_last: Tensor, codes: Tensor, inside: Tensor, membrane: Tensor,
    arguments: list[Any], codes0: Optional, sum_bound: Tensor, config: str, from_code_of_zero: bool, need: list[bool],
) -> list[Tensor]:  # fmt: skip
    constants = config_of(config)
    x, beta, threshold, scale, bias, w_rec, rec_scale = arguments
    tables = code_tables(constants, g_out.dtype, beta, threshold, scale, bias, int(sum_bound))
    start = loop.first_codes(codes0, from_code_of_zero, g_out, threshold, constants)
    saved = loop.SavedCodes(x, beta, threshold, scale, w_rec, rec_scale, start, codes, inside, membrane)
    gradients = loop.codes_gradients(_kernels(g_out.device), g_out, g_last, saved, tables, constants, x.shape[0], need)
    wanted = _like(need, (*arguments, g_last))
    return [g.to(a.dtype).contiguous() for g, a in zip(_like(need, gradients), wanted, strict=True)]


def _save_codes(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, beta, threshold, scale, bias, w_rec, rec_scale, _, codes0, sum_bound, _, ctx.config, _, ctx.zero, _ = inputs
    _, _, last, codes, inside, membrane = output
    ctx.mark_non_differentiable(last, codes, inside, membrane)
    ctx.save_for_backward(codes, inside, membrane, codes0, sum_bound, x, beta, threshold, scale, bias, w_rec, rec_scale)


def _differentiate_codes(ctx: Any, g_out: Tensor, g_last: Tensor, *_: Any) -> loop.Gradients:
    codes, inside, membrane, codes0, sum_bound, *arguments = ctx.saved_tensors
    need = list(ctx.needs_input_grad[:8])
    gradients = _lif_codes_gradients.registered(
        g_out, g_last, codes, inside, membrane, arguments, codes0, sum_bound, ctx.config, ctx.zero, need
    )
    return _given(gradients, need, 7)


@operator(
    "(Tensor x, Tensor beta, Tensor threshold, Tensor? scale, Tensor? bias, Tensor? w_rec, Tensor? rec_scale,"
    " Tensor? u0, Tensor? codes0, Tensor sum_bound, bool exact, str config, int steps, bool from_code_of_zero,"
    " bool keep_membrane) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _codes_shapes,
    (_save_codes, _differentiate_codes),
)
def _lif_codes(
    x: Tensor, beta: Tensor, threshold: Tensor, scale: Optional, bias: Optional, w_rec: Optional, rec_scale: Optional,
    u0: Optional, codes0: Optional, sum_bound: Tensor, exact: bool, config: str, steps: int,
    from_code_of_zero: bool, keep_membrane: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    constants = config_of(config)
    loop.check_threshold(threshold)
    start = loop.first_codes(codes0, from_code_of_zero, x, threshold, constants)
    tables = code_tables(constants, x.dtype, beta, threshold, scale, bias, int(sum_bound))
    out, codes, inside, membrane, good = _kernels(x.device).forward_codes(
        x,
        w_rec,
        rec_scale,
        scale,
        start,
        start is None,
        tables,
        constants,
        steps,
        None if exact else int(sum_bound),
        keep_membrane,
    )
    loop.check_currents(bool(good), constants, int(sum_bound))
    last = codes[-1].clone()
    return out, loop.last_membrane(out, last, tables, constants), last, codes, inside, membrane


def _membrane_shapes(
    x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Optional, rec_scale: Optional, u0: Optional, config: str,
    steps: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    sequence = (steps, *x.shape[1:])
    u = x.new_empty(sequence if json.loads(config)["spiking"] else (0, 0, 0))
    return x.new_empty(sequence), x.new_empty(x.shape[1:]), u


def _membrane_gradient_shapes(
    g_out: Tensor, g_last: Tensor, u: Tensor, arguments: list[Tensor | None], config: str, need: list[bool]
) -> list[Tensor]:
    return [argument.new_empty(argument.shape) for argument in _like(need, tuple(arguments))]


@operator(
    "(Tensor g_out, Tensor g_last, Tensor u, Tensor?[] arguments, str config, bool[] need) -> Tensor[]",
    _membrane_gradient_shapes,
)
def _lif_membrane_gradients(
    g_out: Tensor, g_last: Tensor, u: Tensor, arguments: list[Any], config: str, need: list[bool]
) -> list[Tensor]:
    x, beta, threshold, w_rec, rec_scale, u0 = arguments
    saved = loop.SavedMembranes(beta, threshold, w_rec, rec_scale, u0, u)
    gradients = loop.membrane_gradients(_kernels(u.device), g_out, g_last, saved, config_of(config), x.shape[0], need)
    wanted = zip(_like(need, gradients), _like(need, tuple(arguments)), strict=True)
    return [gradient.to(argument.dtype).contiguous() for gradient, argument in wanted]


def _save_membranes(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *arguments, ctx.config, _ = inputs
    out, _, u = output
    ctx.mark_non_differentiable(u)
    ctx.save_for_backward(u if u.numel() else out, *arguments)


def _differentiate_membranes(ctx: Any, g_out: Tensor, g_last: Tensor, _: Any) -> loop.Gradients:
    u, *arguments = ctx.saved_tensors
    need = list(ctx.needs_input_grad[:6])
    gradients = _lif_membrane_gradients.registered(g_out, g_last, u, arguments, ctx.config, need)
    return _given(gradients, need, 2)


@operator(
    "(Tensor x, Tensor beta, Tensor threshold, Tensor? w_rec, Tensor? rec_scale, Tensor? u0, str config, int steps)"
    " -> (Tensor, Tensor, Tensor)",
    _membrane_shapes,
    (_save_membranes, _differentiate_membranes),
)
def _lif_membrane(
    x: Tensor, beta: Tensor, threshold: Tensor, w_rec: Optional, rec_scale: Optional, u0: Optional, config: str,
    steps: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    loop.check_threshold(threshold)
    arguments = (x, beta, threshold, w_rec, rec_scale, u0, config_of(config), steps)
    out, u = loop.run_membrane(_kernels(x.device), *arguments)
    return out, u[-1].clone(), u if u is not out else x.new_empty(0, 0, 0)
