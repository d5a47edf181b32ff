"""Convolutions of sparse integers: rows of weights are added for each entry that is not 0 (numba, CPU).

An image is scanned once. Each entry adds its kernel, channels last and columns reversed, to a stretch of sums that
stays in the first-level cache; at the end of the image the sums go to their place `[channels, H', W']`, so nothing is
permuted in memory. The weight gradient walks the same entries over the gradient of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import prange
from torch import Tensor

from squat.kernels.jit import jit
from squat.ops.choice import adds_rows
from squat.ops.threads import use_torch_threads

MAX_DENSITY, STRETCH = 0.3, 1600
"""An entry adds stretches of `taps * outputs` values. Where a larger share of entries than `taps * outputs / STRETCH`,
or than `MAX_DENSITY`, is not 0, the dense products are as fast."""
MIN_SIZE = 2**14
"""Below this many entries the dense product is over before they are counted."""
PARTS, TASKS = 8, 64
"""Partial sums of a weight gradient, and tasks of the forward product; the number of threads plays no part."""

Pair = tuple[int, int]


class Entries(NamedTuple):
    """What a scan of images found: the lowest (at most 0) and highest entry, and the share that is not 0."""

    low: int
    high: int
    density: float


def entries_of(x: Tensor) -> Entries | None:
    """Counts the entries of images `[R, C, H, W]` on the CPU; None for fractions, large integers and few entries."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() < MIN_SIZE:
        return None
    use_torch_threads(x.numel())
    flat = x.detach().contiguous().view(-1).numpy()
    count, low, high, good = _scan(flat)
    return Entries(int(low), int(high), int(count) / flat.size) if good else None


def add_kernels(
    x: Tensor, entries: Entries, w_int: Tensor, stride: Pair, padding: Pair, largest_sum: int
) -> Tensor | None:
    """The sums `[R, N, H', W']` of a convolution of `x`, or None where the dense product is to be taken.

    Args:
        x: `[R, C, H, W]`, in which `entries` were found.
        entries: from `entries_of`.
        w_int: `[N, C, rows, columns]`, integer-valued float32.
        stride: rows, columns.
        padding: rows, columns; padded with 0.
        largest_sum: certain bound of the sums where no entry exceeds 1, `max over outputs of sum |w_int|`.
    """
    bound = largest_sum * max(-entries.low, entries.high)
    if bound >= 2**24 or not adds_rows(
        "forward", entries.density, max_density(w_int.shape[0], w_int.shape[3], stride[1])
    ):
        return None
    sizes = zip(x.shape[2:], w_int.shape[2:], stride, padding, strict=True)
    height, width = ((size + 2 * pad - kernel) // step + 1 for size, kernel, step, pad in sizes)
    out = torch.empty(x.shape[0], w_int.shape[0], height, width, dtype=w_int.dtype)
    kernels = _by_column(w_int.detach().to(torch.int16 if bound < 2**15 else torch.int32), stride[1])
    use_torch_threads(out.numel())
    _sum(x.detach().contiguous().numpy(), kernels.numpy(), stride, padding, out.numpy())
    return out


def add_images(x: Tensor, entries: Entries, g: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor | None:
    """The gradient `[N, C, rows, columns]` of the weights for `g [R, N, H', W']`, or None for the dense product."""
    if not adds_rows("weight gradient", entries.density, max_density(g.shape[1], kernel[1], stride[1])):
        return None
    (rows, columns), outputs = kernel, g.shape[1]
    taps = -(-columns // stride[1])
    parts = torch.zeros(PARTS, stride[1], x.shape[1], rows, taps * outputs, dtype=g.dtype)
    use_torch_threads(g.numel())
    _scatter(x.detach().contiguous().numpy(), g.detach().contiguous().numpy(), stride, padding, parts.numpy())
    total = parts.sum(0).unflatten(3, (taps, outputs)).flip(3)
    return total.permute(4, 1, 2, 3, 0).flatten(3)[..., :columns].contiguous()


def max_density(outputs: int, columns: int, step: int) -> float:
    """Up to which share of entries kernels are added, for so many output channels, kernel columns and steps between."""
    return min(MAX_DENSITY, -(-columns // step) * outputs / STRETCH)


def _by_column(w_int: Tensor, step: int) -> Tensor:
    """`[step, C, rows, taps * N]`: kernel columns by their remainder, last one first, channels last.

    A column `q` of the padded image reaches the columns `q // step`, `q // step - 1`, ... of the sums, through the
    kernel columns `q % step`, `q % step + step`, ...: one stretch of a row of sums, and one of this.
    """
    taps = -(-w_int.shape[3] // step)
    padded = torch.nn.functional.pad(w_int, (0, taps * step - w_int.shape[3]))
    return padded.unflatten(3, (taps, step)).permute(4, 1, 2, 3, 0).flip(3).flatten(3).contiguous()


@jit(parallel=True)
def _scan(x):
    """Number of entries that are not 0, lowest and highest (0 among them), and whether all are integers below 2**15."""
    tasks = 16
    count, wrong = np.zeros(tasks, np.int64), np.zeros(tasks, np.int64)
    low, high = np.zeros(tasks, x.dtype), np.zeros(tasks, x.dtype)
    for task in prange(tasks):
        size, other, least, most = 0, 0, x.dtype.type(0), x.dtype.type(0)
        for k in range(x.size * task // tasks, x.size * (task + 1) // tasks):
            value = x[k]
            size += value != 0
            other += not (value == np.rint(value) and abs(value) < 2**15)
            least, most = min(least, value), max(most, value)
        count[task], low[task], high[task], wrong[task] = size, least, most, other
    return count.sum(), low.min(), high.max(), not wrong.any()


@jit
def _add(target, to, source, start, size, amount):
    """`target[to : to + size] += amount * source[start : start + size]`."""
    there, here = target[to : to + size], source[start : start + size]
    for n in range(size):
        there[n] += amount * here[n]


@jit(parallel=True)
def _sum(x, kernels, stride, padding, out):
    images, outputs, height, width = out.shape
    rows, taps = kernels.shape[2], kernels.shape[3] // outputs
    tasks = min(images, TASKS)
    for task in prange(tasks):
        total = np.empty(height * width * outputs, kernels.dtype)
        for r in range(images * task // tasks, images * (task + 1) // tasks):
            total[:] = 0
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    for j in range(x.shape[3]):
                        if x[r, c, i, j] == 0:
                            continue
                        last, kind = divmod(j + padding[1], stride[1])
                        low, high = max(last - taps + 1, 0), min(last, width - 1) + 1
                        for k in range(rows):
                            down = i + padding[0] - k
                            if down >= 0 and down % stride[0] == 0 and down // stride[0] < height and low < high:
                                _add(
                                    total, (down // stride[0] * width + low) * outputs, kernels[kind, c, k],
                                    (low - last + taps - 1) * outputs, (high - low) * outputs,
                                    kernels.dtype.type(x[r, c, i, j]),
                                )  # fmt: skip
            for n in range(outputs):
                row, channel = out[r, n].reshape(-1), total[n::outputs]
                for position in range(row.size):
                    row[position] = channel[position]


@jit(parallel=True)
def _scatter(x, g, stride, padding, parts):
    images, outputs, height, width = g.shape
    rows, taps = parts.shape[3], parts.shape[4] // outputs
    for part in prange(parts.shape[0]):
        image, total = np.empty(height * width * outputs, g.dtype), parts[part]
        for r in range(images * part // parts.shape[0], images * (part + 1) // parts.shape[0]):
            for n in range(outputs):
                row, channel = g[r, n].reshape(-1), image[n::outputs]
                for position in range(row.size):
                    channel[position] = row[position]
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    for j in range(x.shape[3]):
                        if x[r, c, i, j] == 0:
                            continue
                        last, kind = divmod(j + padding[1], stride[1])
                        low, high = max(last - taps + 1, 0), min(last, width - 1) + 1
                        for k in range(rows):
                            down = i + padding[0] - k
                            if down >= 0 and down % stride[0] == 0 and down // stride[0] < height and low < high:
                                _add(
                                    total[kind, c, k], (low - last + taps - 1) * outputs, image,
                                    (down // stride[0] * width + low) * outputs, (high - low) * outputs, x[r, c, i, j],
                                )  # fmt: skip
