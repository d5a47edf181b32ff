"""The parts of an `IntegerNetwork`: frozen dataclasses of integer numpy arrays that check themselves.

Of a layer with neurons, in units of `w_scale / 2**shift`:

    z      = (input_unit * sum_j w[n, j] x[j] + recurrent_unit * sum_m w_rec[n, m] s[m]) << weight_shift[n]
    acc    = (z << shift) + bias[n] + table[n, c]      first step: acc = (z << shift) + bias[n]
    c'     = #{k : acc > bound[n, k]}                  spike = c' >= first

With `drop_input` the step after a spike has `acc = 0`. A table of one row serves every neuron, one of `C` rows the
neurons of each channel. Where sums are pooled, `z` is the largest of a window, or the sum of all of it. Neurons of
several states are described in `states.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from squat.checks import check_choice, check_int
from squat.integer.checks import check_accumulator, check_array
from squat.integer.pools import Pool
from squat.integer.states import States
from squat.text import brief

ACCUMULATOR_LIMIT = 2**31
"""Accumulators are int32; no sum of a lowered network reaches this magnitude."""
NEURON_LIMIT = 2**24
"""Neurons of a layer, or sums that are pooled for them."""
BIAS_FRACTION_BITS = 8
"""Bits below one integer unit in which an accumulated current is held."""
LARGEST_SHIFT = 7
READOUTS = ("spike_count", "accumulated_current", "max_membrane", "mean_membrane")

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Neurons:
    """The finite machine of one layer: tables over its `K = 2**bits` codes.

    Attributes:
        bits: bits of a state code, 1 to 8.
        table: int32 `[1, C or N, K]` rows: leak minus reset by code.
        bound: int32 `[1 or C, K - 1]`, sorted rows: the next code is the number of bounds that are exceeded.
        bias: int32 `[C]`, or None.
        shift: fraction bits of the accumulator, 0 to 16.
        first: first firing code; `K` where nothing fires.
        drop_input: whether the step after a spike forgets its input too.
        start: code before the first step; None for a membrane of 0 that lies off the grid.
    """

    bits: int
    table: np.ndarray
    bound: np.ndarray
    bias: np.ndarray | None
    shift: int
    first: int
    drop_input: bool
    start: int | None

    __repr__ = brief

    def __post_init__(self) -> None:
        codes = 2 ** check_int("bits", self.bits, 1, 8)
        check_array("table", self.table, np.int32, (None, codes))
        check_accumulator(codes, self.bound, self.bias, self.shift)
        check_int("first", self.first, 1, codes)
        if self.start is not None:
            check_int("start", self.start, 0, codes - 1)

    @property
    def codes(self) -> int:
        """Number of codes `K`."""
        return 2**self.bits

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of the code of every state: there is one."""
        return (self.bits,)

    @property
    def fires(self) -> bool:
        """Whether any neuron can fire."""
        return self.first < self.codes

    @property
    def starts(self) -> tuple[int, ...] | None:
        """Code before the first step, None for a fresh start."""
        return None if self.start is None else (self.start,)

    def spikes(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Where neurons with these codes fire: bool."""
        return codes[0] >= self.first

    def reach(self, largest_sum: int) -> int:
        """No accumulator exceeds this magnitude if no sum exceeds `largest_sum`."""
        constants = np.abs(self.table.astype(np.int64)).max()
        if self.bias is not None:
            constants += np.abs(self.bias.astype(np.int64)).max(initial=0)
        return (largest_sum << self.shift) + int(constants)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array, by name."""
        for name in ("table", "bound", "bias"):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)

    def rows(self) -> dict[str, int]:
        """Rows of every array."""
        return {name: len(values) for name, values in self.arrays()}


@dataclass(frozen=True, eq=False)
class Layer:
    """Integer synapses and the neurons behind them.

    Attributes:
        name: position and class in the trained network, such as `"0 Linear, 1 LIF"`.
        input_shape: `(in,)`, or `(C, H, W)` of a convolution.
        weight: int8 `[N, in]`, or `[C', C, rows, columns]` of a convolution.
        weight_bits: bits of a weight, recurrent ones included.
        input_max: largest input, at most 255; 127 where inputs are signed.
        recurrent: int8 `[N, N]`, postsynaptic first, or None. Of a convolution `[C', C', rows, columns]` of odd sizes,
            for the images of last spikes, padded with 0.
        input_unit, recurrent_unit: what a weight counts for in the sums; at least one of them is 1.
        stride, padding: of a convolution, rows and columns.
        neurons: the machine behind the sums, or None for a last layer whose sums are read out.
        weight_shift: int8 `[C]`, by how many bits each channel's sums are shifted, 0 to 7; None for none.
        pool: over the sums of a convolution, before the neurons; or None.
        input_min: smallest input: 0, or -128 to -1 where inputs are signed, bytes in two's complement.
    """

    name: str
    input_shape: Shape
    weight: np.ndarray
    weight_bits: int
    input_max: int
    recurrent: np.ndarray | None
    input_unit: int
    recurrent_unit: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    neurons: Neurons | States | None
    weight_shift: np.ndarray | None = None
    pool: Pool | None = None
    input_min: int = 0

    __repr__ = brief

    def __post_init__(self) -> None:
        check_int("weight_bits", self.weight_bits, 2, 8)
        check_int("input_min", self.input_min, -128, 0, "inputs are bytes")
        check_int("input_max", self.input_max, 1, 127 if self.input_min else 255, "inputs are bytes")
        for name in ("input_unit", "recurrent_unit"):
            check_int(name, getattr(self, name), 1, 255)
        if self.is_convolution:
            channels, rows, columns = self.input_shape
            check_array("weight", self.weight, np.int8, (None, channels, None, None))
            for size, padding, kernel in zip((rows, columns), self.padding, self.weight.shape[2:], strict=True):
                if size + 2 * check_int("padding", padding, 0, 255) < kernel:
                    raise ValueError(f"{self.name}: an image of {size} is smaller than the kernel of {kernel}")
            for step in self.stride:
                check_int("stride", step, 1, 255)
        else:
            check_array("weight", self.weight, np.int8, (None, self.inputs))
        self._check_pool()
        self._check_recurrent()
        for weight in self.weights:
            if weight.size and np.abs(weight.astype(np.int64)).max() >= 2 ** (self.weight_bits - 1):
                raise ValueError(f"{self.name}: a weight does not fit {self.weight_bits} bits")
        if self.weight_shift is not None:
            check_array("weight_shift", self.weight_shift, np.int8, (self.channels,))
            check_int("lowest weight_shift", int(self.weight_shift.min()), 0, LARGEST_SHIFT)
            check_int("highest weight_shift", int(self.weight_shift.max()), 0, LARGEST_SHIFT)
        if math.prod(self.sum_shape) > NEURON_LIMIT:
            raise ValueError(f"{self.name}: {math.prod(self.sum_shape)} sums, expected at most {NEURON_LIMIT}")
        self._check_rows()
        if self.accumulator_bound >= ACCUMULATOR_LIMIT:
            raise ValueError(f"{self.name}: accumulators can reach {self.accumulator_bound}, expected less than 2**31")

    def _check_recurrent(self) -> None:
        if self.recurrent is None:
            return
        if not self.is_convolution:
            check_array("recurrent", self.recurrent, np.int8, (self.size, self.size))
            return
        check_array("recurrent", self.recurrent, np.int8, (self.channels, self.channels, None, None))
        if any(size % 2 == 0 for size in self.recurrent.shape[2:]):
            raise ValueError(f"{self.name}: recurrent kernels {self.recurrent.shape[2:]}, expected odd sizes")
        if self.weight_shift is not None:
            raise ValueError(f"{self.name}: its channels are shifted, expected no shifts where recurrence convolves")

    def _check_pool(self) -> None:
        if self.pool is None:
            return
        if not self.is_convolution or self.pool.input_shape != self.sum_shape:
            raise ValueError(f"{self.name}: pooled sums {self.pool.input_shape}, expected those of its convolution")

    def _check_rows(self) -> None:
        for name, rows in ({} if self.neurons is None else self.neurons.rows()).items():
            accepted = {1, self.channels, self.size} if name.endswith("table") else {1, self.channels}
            if rows not in accepted:
                raise ValueError(f"{self.name}: {rows} rows of {name}, expected {sorted(accepted)}")

    @property
    def input_bits(self) -> int:
        """Bits of an input, of a signed one in two's complement."""
        ends = (~self.input_min, self.input_max) if self.input_min else (0, self.input_max)
        return max(end.bit_length() for end in ends) + (self.input_min < 0)

    @property
    def takes_spikes(self) -> bool:
        """Whether every input is 0 or 1."""
        return self.input_max == 1 and self.input_min == 0

    @property
    def is_convolution(self) -> bool:
        """Whether the weights are a convolution's kernels."""
        return len(self.input_shape) == 3

    @property
    def fires(self) -> bool:
        """Whether it has neurons that can."""
        return self.neurons is not None and self.neurons.fires

    @property
    def convolves_spikes(self) -> bool:
        """Whether its recurrence is a convolution."""
        return self.is_convolution and self.recurrent is not None

    @property
    def recurrent_padding(self) -> tuple[int, int]:
        """Zeros around the images of last spikes, rows and columns, where recurrence is a convolution."""
        rows, columns = (1, 1) if self.recurrent is None else self.recurrent.shape[-2:]
        return rows // 2, columns // 2

    @property
    def inputs(self) -> int:
        """Inputs of a step."""
        return math.prod(self.input_shape)

    @property
    def channels(self) -> int:
        """Output channels: neurons that may have tables of their own."""
        return self.weight.shape[0]

    @property
    def output_shape(self) -> Shape:
        """`(N,)`, or `(C', H', W')` of a convolution, pooled where its sums are."""
        return self.sum_shape if self.pool is None else self.pool.output_shape

    @property
    def sum_shape(self) -> Shape:
        """Shape of a step's synaptic sums, before any pooling."""
        if not self.is_convolution:
            return (self.channels,)
        sizes = zip(self.input_shape[1:], self.weight.shape[2:], self.stride, self.padding, strict=True)
        return (self.channels, *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes))

    @property
    def size(self) -> int:
        """Outputs of a step."""
        return math.prod(self.output_shape)

    @property
    def weights(self) -> list[np.ndarray]:
        """Input weights and, where there are any, recurrent ones."""
        return [self.weight] if self.recurrent is None else [self.weight, self.recurrent]

    @cached_property
    def sum_range(self) -> np.ndarray:
        """Lowest and highest synaptic sum of each channel, int64 `[C, 2]`."""
        total = np.zeros((self.channels, 2), np.int64)
        times = 1 if self.pool is None else self.pool.growth
        ends = ((times * self.input_min, times * self.input_max), (0, 1))
        for weight, (lowest, highest) in zip(self.counted_weights(np.int64), ends, strict=False):
            rows = weight.reshape(self.channels, -1)
            sides = rows * lowest, rows * highest
            total += np.stack((np.minimum(*sides).sum(1), np.maximum(*sides).sum(1)), axis=-1)
        return total

    def counted_weights(self, dtype: type) -> list[np.ndarray]:
        """`weights` as they count in the sums: times their unit, shifted."""
        shift = np.zeros(1, np.int64) if self.weight_shift is None else self.weight_shift.astype(np.int64)
        return [
            weight.astype(dtype) * (unit << shift).astype(dtype).reshape(-1, *[1] * (weight.ndim - 1))
            for weight, unit in zip(self.weights, (self.input_unit, self.recurrent_unit), strict=False)
        ]

    @cached_property
    def accumulator_bound(self) -> int:
        """No accumulator, and no partial sum of one, exceeds this magnitude."""
        reach = int(np.abs(self.sum_range).max())
        return reach if self.neurons is None else self.neurons.reach(reach)


@dataclass(frozen=True, eq=False)
class Readout:
    """From the last layer over time to one integer score per class; ties go to the lowest class.

    Attributes:
        kind: `"spike_count"`, `"accumulated_current"` (`sum_t (z << 8) + bias`), `"max_membrane"` (the highest code),
            or `"mean_membrane"` (`sum_t level[c]`).
        bias: int64 `[N]` added at every step of an accumulated current, or None.
        multiplier: int64 `[N]`, once for each sequence, where channels of an accumulated current differ in scale.
        level: int64 `[K]`, the levels of a mean membrane.
    """

    kind: str
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    level: np.ndarray | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        check_choice("readout", self.kind, READOUTS)
        for name in ("bias", "multiplier", "level"):
            if getattr(self, name) is not None:
                check_array(name, getattr(self, name), np.int64, (None,))
        if (self.level is None) == (self.kind == "mean_membrane"):
            raise ValueError(f"readout {self.kind}: levels are {'missing' if self.level is None else 'not expected'}")

    def step_bound(self, last: Layer) -> int:
        """Largest magnitude that one step adds to a score."""
        if self.level is not None:
            return int(np.abs(self.level).max())
        if self.kind != "accumulated_current":
            return 256
        bias = 0 if self.bias is None else int(np.abs(self.bias).max(initial=0))
        factor = 1 if self.multiplier is None else int(np.abs(self.multiplier).max(initial=1))
        return ((int(np.abs(last.sum_range).max()) << BIAS_FRACTION_BITS) + bias) * factor
