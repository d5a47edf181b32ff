"""Products of integer-valued inputs and weights: exact integer sums in float, whatever autocast says.

Inputs are checked, not sums: two halves may well add up to an integer. Spikes that are found to be zeros and ones on
the way to a product by rows are looked at once only.

A float32 sum of integers is exact in any order while every partial sum stays below 2^24 in magnitude. The layer's
bound `max over outputs of sum |w_int| * max |x|` is certain: below 2^24 the product runs in float32, else in
float64. Under `torch.set_float32_matmul_precision` below "highest" the factors must fit the shorter significand:
integers up to 2048 in TF32, up to 256 in bfloat16 (spikes, 8-bit pixels and weights do).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from squat.operators import as_tensor, check_finite, no_result, operator
from squat.ops.unfolded import unfolded_conv2d

if TYPE_CHECKING:
    from squat.ops.convolution import Entries
    from squat.ops.events import Events

FLOAT32_EXACT = 2**24
COMPILED_SIZE = 2**14
"""So many values are checked by a compiled loop."""


def integer_linear(x: Tensor, w_int: Tensor, bound: int | Tensor, low: int = 0, high: int = 1) -> Tensor:
    """Integer sums `z = x w_int^T`, exact; inputs are checked.

    Backward: `dL/dx = gz w_int` (left out where `x` needs no gradient), `dL/dw_int = gz^T x`.

    Args:
        x: `[..., in]`, integer-valued, any float dtype.
        w_int: `[N, in]`, integer-valued, float32 or float64.
        bound: certain bound of `|z|`; from 2^24 on the product runs in float64.
        low: smallest input, <= 0.
        high: largest input, >= 1.

    Returns:
        `[..., N]` in the dtype of `w_int`, integer-valued, also under autocast.

    Raises:
        ValueError: an input is NaN, infinite, not an integer or out of range; or a sum cannot be held in float32.

    Example:
        >>> integer_linear(torch.tensor([[[1.0, 0.0, 1.0]]]), torch.tensor([[2.0, 5.0, -7.0]]), 14).tolist()
        [[[-5.0]]]
    """
    if torch.compiler.is_compiling():
        return _integer_linear.registered(x, w_int, as_tensor(bound), low, high)
    if not torch.is_grad_enabled():
        return _integer_linear(x, w_int, bound, low, high)
    return _IntegerLinear.apply(x, w_int, int(bound), low, high)


def integer_conv2d(
    x: Tensor, w_int: Tensor, stride: tuple[int, int], padding: tuple[int, int], bound: int | Tensor, low: int = 0,
    high: int = 1,
) -> Tensor:  # fmt: skip
    """Integer sums of a two-dimensional convolution (cross-correlation, as in torch), exact; inputs are checked.

    The algorithms that sum in a transformed space (Winograd, Fourier) round, so NNPACK, which may choose them, is left
    out, and CUDA, where cuDNN may, multiplies unfolded windows (`squat.ops.unfolded`). On the CPU sparse inputs add
    kernels instead, by measured density (`squat.ops.convolution`, `squat.ops.products`).

    Args:
        x: `[B, C, H, W]`, integer-valued, any float dtype.
        w_int: `[N, C, kh, kw]`, integer-valued, float32 or float64.
        stride: rows, columns.
        padding: rows, columns; padded with 0.
        bound: as for `integer_linear`, and
        low: likewise,
        high: likewise.

    Returns:
        `[B, N, H', W']` in the dtype of `w_int`, integer-valued, also under autocast.

    Raises:
        ValueError: an input is NaN, infinite, not an integer or out of range; or a sum cannot be held in float32.

    Example:
        >>> integer_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), (1, 1), (0, 0), 4).item()
        4.0
    """
    if torch.compiler.is_compiling():
        return _integer_conv2d.registered(x, w_int, stride, padding, as_tensor(bound), low, high)
    from squat.ops.convolution import entries_of

    entries = entries_of(x) if w_int.dtype == torch.float32 and int(bound) < FLOAT32_EXACT else None
    if entries is None:
        return _convolve(x, w_int, stride, padding, int(bound), low, high)
    if entries.low < low or entries.high > high:
        raise _out_of_range(entries.low, entries.high, low, high)
    return _EntriesConv2d.apply(x, w_int, stride, padding, int(bound), entries)


def integer_sum_pool2d(z: Tensor, kernel: tuple[int, int], stride: tuple[int, int], bound: int | Tensor) -> Tensor:
    """Integer sums added over windows of images, exact.

    Args:
        z: `[R, C, H, W]`, integer-valued.
        kernel: rows, columns.
        stride: rows, columns.
        bound: certain bound of the results; from 2^24 on they are added in float64.

    Returns:
        `[R, C, H', W']` in the dtype of `z`.

    Raises:
        ValueError: a result cannot be held in float32.

    Example:
        >>> integer_sum_pool2d(torch.ones(1, 1, 2, 2), (2, 2), (2, 2), 4).item()
        4.0
    """
    if isinstance(bound, int) and bound < FLOAT32_EXACT:
        return F.avg_pool2d(z, kernel, stride, divisor_override=1)
    return _narrow(F.avg_pool2d(z.double(), kernel, stride, divisor_override=1), z.dtype)


def check_sums(z: Tensor, bound: int | Tensor) -> None:
    """Refuses sums that are not integers within the bound.

    Args:
        z: sums of any shape.
        bound: certain upper bound of `|z|`.

    Raises:
        ValueError: a sum is NaN, infinite, not an integer, or larger than `bound`.

    Example:
        >>> check_sums(torch.tensor([3.0, -4.0]), 4)
    """
    if torch.compiler.is_compiling():
        _check_sums.registered(z, as_tensor(bound))
    else:
        _refuse_other_sums(z, int(bound))


def _linear(rows: Tensor, w_int: Tensor, bound: int, low: int, high: int) -> tuple[Tensor, Events | None]:
    """The sums `[R, N]` of rows `[R, in]`, and the events by which they were added, if they were."""
    from squat.ops.events import add_weight_rows, events_of

    events = events_of(rows) if bound < FLOAT32_EXACT else None
    if events is not None:
        return add_weight_rows(events, w_int), events  # of zeros and ones, which every range holds
    _refuse_other_inputs(rows, low, high)
    if bound < FLOAT32_EXACT:
        return rows @ w_int.T, None
    return _narrow(rows.double() @ w_int.double().T, w_int.dtype), None


def _linear_gradients(
    gz: Tensor, rows: Tensor | None, w_int: Tensor, events: Events | None, needs_x: bool, needs_w: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the rows and of the weights, for `gz [R, N]`; `rows` or the `events` in them are given."""
    from squat.ops.events import add_gradient_rows, thin_product

    gx = thin_product(gz, w_int) if needs_x else None
    if not needs_w:
        return gx, None
    if events is None:
        return gx, None if rows is None else gz.T @ rows
    return gx, add_gradient_rows(events, gz)


class _IntegerLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w_int: Tensor, bound: int, low: int, high: int) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(w_int.dtype)
        with torch.autocast(x.device.type, enabled=False):
            z, events = _linear(rows, w_int, bound, low, high)
        # Tensors, so that checkpointing can let go of them.
        spikes = (None, None) if events is None else events.tensors()
        ctx.save_for_backward(rows if events is None else None, w_int, *spikes)
        ctx.input_shape, ctx.input_dtype = x.shape, x.dtype
        return z.reshape(*x.shape[:-1], w_int.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor) -> tuple[Tensor | None, ...]:
        rows, w_int, bits, count = ctx.saved_tensors
        events = None
        if rows is None:
            from squat.ops.events import Events

            events = Events.of_tensors(bits, count, w_int.shape[1])
        with torch.autocast(gz.device.type, enabled=False):
            gx, gw = _linear_gradients(gz.reshape(-1, gz.shape[-1]), rows, w_int, events, *ctx.needs_input_grad[:2])
        gx = None if gx is None else gx.reshape(ctx.input_shape).to(ctx.input_dtype)
        return gx, gw, None, None, None


def _wanted_shapes(g: Tensor, x: Tensor, w_int: Tensor, *others: Any) -> list[Tensor]:
    return [like.new_empty(like.shape) for like, needed in zip((x, w_int), others[-1], strict=True) if needed]


def _save_factors(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w_int, *ctx.geometry, _bound, _low, _high = inputs
    ctx.save_for_backward(x, w_int)


def _differentiate(gradients: Any) -> Callable[..., tuple[Tensor | None, ...]]:
    def backward(ctx: Any, gz: Tensor) -> tuple[Tensor | None, ...]:
        need = list(ctx.needs_input_grad[:2])
        found = iter(gradients.registered(gz, *ctx.saved_tensors, *ctx.geometry, need))
        return (*(next(found) if needed else None for needed in need), *(None,) * (len(ctx.needs_input_grad) - 2))

    return backward


@operator("(Tensor gz, Tensor x, Tensor w_int, bool[] need) -> Tensor[]", _wanted_shapes)
def _integer_linear_gradients(gz: Tensor, x: Tensor, w_int: Tensor, need: list[bool]) -> list[Tensor]:
    from squat.ops.events import events_of

    rows = x.reshape(-1, x.shape[-1]).to(w_int.dtype)
    with torch.autocast(gz.device.type, enabled=False):
        gx, gw = _linear_gradients(gz.reshape(-1, gz.shape[-1]), rows, w_int, events_of(rows), *need)
    gradients = (None if gx is None else gx.reshape(x.shape).to(x.dtype), gw)
    return [gradient.contiguous() for gradient in gradients if gradient is not None]


@operator(
    "(Tensor x, Tensor w_int, Tensor bound, int low, int high) -> Tensor",
    lambda x, w_int, *_: w_int.new_empty(*x.shape[:-1], w_int.shape[0]),
    (_save_factors, _differentiate(_integer_linear_gradients)),
)
def _integer_linear(x: Tensor, w_int: Tensor, bound: int | Tensor, low: int, high: int) -> Tensor:
    rows = x.reshape(-1, x.shape[-1]).to(w_int.dtype)
    with torch.autocast(x.device.type, enabled=False):
        z, _ = _linear(rows, w_int, int(bound), low, high)
    return z.reshape(*x.shape[:-1], w_int.shape[0])


def _convolve(
    x: Tensor, w_int: Tensor, stride: Sequence[int], padding: Sequence[int], bound: int, low: int, high: int
) -> Tensor:
    _refuse_other_inputs(x, low, high)
    return _dense_convolution(x, w_int, stride, padding, bound)


def _dense_convolution(x: Tensor, w_int: Tensor, stride: Sequence[int], padding: Sequence[int], bound: int) -> Tensor:
    exact_in_float32 = bound < FLOAT32_EXACT
    kind = w_int.dtype if exact_in_float32 else torch.float64
    convolve = unfolded_conv2d if x.is_cuda else F.conv2d
    with torch.autocast(x.device.type, enabled=False), torch.backends.nnpack.flags(enabled=False):
        z = convolve(x.to(kind), w_int.to(kind), stride=tuple(stride), padding=tuple(padding))
    return z if exact_in_float32 else _narrow(z, w_int.dtype)


class _EntriesConv2d(torch.autograd.Function):
    """A convolution whose entries were counted: kernels added or multiplied, forward and in the weight gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_int: Tensor, stride: tuple[int, int], padding: tuple[int, int], bound: int,
        entries: Entries,
    ) -> Tensor:  # fmt: skip
        from squat.ops.convolution import add_kernels

        largest_sum = int(w_int.detach().abs().flatten(1).sum(1).max())
        z = add_kernels(x, entries, w_int, stride, padding, largest_sum)
        if z is None:
            z = _dense_convolution(x, w_int, stride, padding, bound)
        ctx.save_for_backward(x, w_int)
        ctx.geometry, ctx.entries = (stride, padding), entries
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor) -> tuple[Tensor | None, ...]:
        from squat.ops.convolution import add_images

        (x, w_int), (needs_x, needs_w) = ctx.saved_tensors, ctx.needs_input_grad[:2]
        with torch.autocast(gz.device.type, enabled=False):
            gw = add_images(x, ctx.entries, gz, w_int.shape[2:], *ctx.geometry) if needs_w else None
            gx, dense, _ = torch.ops.aten.convolution_backward(
                gz, x, w_int, None, *ctx.geometry, [1, 1], False, [0, 0], 1, [needs_x, needs_w and gw is None, False]
            )
        return gx, dense if gw is None else gw, None, None, None, None


def _convolved_shape(x: Tensor, w_int: Tensor, stride: list[int], padding: list[int], *_: Any) -> Tensor:
    sizes = zip(x.shape[2:], w_int.shape[2:], stride, padding, strict=True)
    return w_int.new_empty(x.shape[0], w_int.shape[0], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes))


@operator("(Tensor gz, Tensor x, Tensor w_int, int[] stride, int[] padding, bool[] need) -> Tensor[]", _wanted_shapes)
def _integer_conv2d_gradients(
    gz: Tensor, x: Tensor, w_int: Tensor, stride: list[int], padding: list[int], need: list[bool]
) -> list[Tensor]:
    with torch.autocast(gz.device.type, enabled=False):
        gradients = torch.ops.aten.convolution_backward(
            gz, x.to(w_int.dtype), w_int, None, stride, padding, [1, 1], False, [0, 0], 1, [*need, False]
        )
    likes = zip(gradients[:2], (x, w_int), strict=True)
    return [gradient.to(like.dtype).contiguous() for gradient, like in likes if gradient is not None]


@operator(
    "(Tensor x, Tensor w_int, int[] stride, int[] padding, Tensor bound, int low, int high) -> Tensor",
    _convolved_shape,
    (_save_factors, _differentiate(_integer_conv2d_gradients)),
)
def _integer_conv2d(
    x: Tensor, w_int: Tensor, stride: list[int], padding: list[int], bound: Tensor, low: int, high: int
) -> Tensor:
    return _convolve(x, w_int, stride, padding, int(bound), low, high).contiguous()


@operator("(Tensor z, Tensor bound) -> ()", no_result)
def _check_sums(z: Tensor, bound: Tensor) -> None:
    _refuse_other_sums(z, int(bound))


def _refuse_other_sums(z: Tensor, bound: int) -> None:
    """Refuses sums that are not integers within the bound."""
    if _integers_within(z.detach(), -bound, bound):
        return
    check_finite(z)
    low, high = (side.item() for side in torch.aminmax(z.detach()))
    if not (-bound <= low and high <= bound):
        raise ValueError(
            f"x: currents reach from {low:g} to {high:g} integer steps, beyond the bound {bound} of their layer; "
            "expected the sums that it handed on"
        )
    raise ValueError("x: currents that are no integer steps; expected the sums that a layer with integer weights gave")


def _refuse_other_inputs(x: Tensor, low: int, high: int) -> None:
    """Refuses inputs that are not integers from `low` to `high`."""
    if _integers_within(x.detach(), low, high):
        return
    check_finite(x)
    lowest, highest = (side.item() for side in torch.aminmax(x.detach()))
    if lowest < low or highest > high:
        raise _out_of_range(lowest, highest, low, high)
    raise ValueError(
        "x: got fractions, expected integer values for a layer with integer weights (spikes, or pixels 0..255 with "
        "input_max=255 and input_scale=1/255); round the inputs to a grid and give its step as input_scale"
    )


def _out_of_range(lowest: float, highest: float, low: int, high: int) -> ValueError:
    ways = [f"lower input_min to {math.floor(lowest)}"] if lowest < low else []
    ways += [f"raise input_max to {math.ceil(highest)}"] if highest > high else []
    return ValueError(
        f"x: values from {lowest:g} to {highest:g}, expected integers from {low} to {high}, the layer's input_min and "
        f"input_max, which bound its sums; {' and '.join(ways)}, or scale the inputs down"
    )


def integer_limit(bound: int, dtype: torch.dtype) -> float:
    """The largest value of a float dtype up to an integer bound.

    Example:
        >>> integer_limit(2**24 + 3, torch.float32) == 2**24 + 2
        True
    """
    limit = torch.tensor(bound, dtype=dtype)
    return float(limit if int(limit) <= bound else torch.nextafter(limit, torch.zeros((), dtype=dtype)))


def _integers_within(x: Tensor, low: int, high: int) -> bool:
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() >= COMPILED_SIZE:
        from squat.ops.lif.cpu_forward import integers_within
        from squat.ops.threads import use_torch_threads

        use_torch_threads(x.numel())
        values = x.contiguous().view(-1).numpy()
        ends = (-integer_limit(-low, x.dtype), integer_limit(high, x.dtype))
        return bool(integers_within(values, *(values.dtype.type(end) for end in ends)))
    return bool(((x == x.round()) & (x >= low) & (x <= high)).all())


def _narrow(z: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = z.to(dtype)
    _check_narrow(narrow, z)
    return narrow


@operator("(Tensor narrow, Tensor z) -> ()", no_result)
def _check_narrow(narrow: Tensor, z: Tensor) -> None:
    if not torch.equal(narrow.double(), z):
        raise ValueError(
            f"x: an integer sum (largest {z.abs().max().item():.0f}) does not fit float32, exact up to 2^24; "
            "use fewer inputs per output, fewer weight bits, a smaller input_max, or a float64 network (.double())"
        )
