"""A floor: the dense float32 products of a network and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.published import conv_features


def matrix_products(settings: dict[str, Any], training: bool) -> Callable[[], object]:
    """The dense products over all `T*B` rows: of every layer forward and, in training, for the gradients of its weights
    and (but for the first layer) of its input; of a recurrent layer also forward and backward, step by step."""
    makers = {"conv": _conv, "recurrent": _recurrent, "feedforward": _feedforward}
    products = makers[settings["kind"]](settings, training)

    @torch.no_grad()
    def run() -> None:
        for product in products:
            product()

    return run


def _linear(rows: int, inputs: int, outputs: int, training: bool, first: bool) -> list[Callable[[], object]]:
    x, y, w = torch.rand(rows, inputs), torch.rand(rows, outputs), torch.rand(outputs, inputs)
    products: list[Callable[[], object]] = [lambda: x @ w.T]
    if training:
        products.append(lambda: y.T @ x)
        if not first:
            products.append(lambda: y @ w)
    return products


def _feedforward(settings: dict[str, Any], training: bool) -> list[Callable[[], object]]:
    rows, hidden = settings["steps"] * settings["batch"], settings["hidden"]
    return [
        *_linear(rows, settings["inputs"], hidden, training, True),
        *_linear(rows, hidden, settings["classes"], training, False),
    ]


def _recurrent(settings: dict[str, Any], training: bool) -> list[Callable[[], object]]:
    steps, batch, hidden = settings["steps"], settings["batch"], settings["hidden"]
    spikes, w = torch.rand(steps, batch, hidden), torch.rand(hidden, hidden)
    rows = spikes.flatten(0, 1)

    def through_time(matrix: Tensor) -> None:
        for step in spikes:
            step @ matrix

    products: list[Callable[[], object]] = [lambda: through_time(w.T)]
    if training:
        products += [lambda: through_time(w), lambda: rows.T @ rows]
    return [*_feedforward(settings, training), *products]


def _conv(settings: dict[str, Any], training: bool) -> list[Callable[[], object]]:
    images, side, products = settings["steps"] * settings["batch"], settings["side"], []
    before = 1
    for channels in settings["channels"]:
        products += _convolution(images, before, channels, settings["kernel"], side, training)
        before, side = channels, (side - settings["kernel"] + 1) // 2
    return [*products, *_linear(images, conv_features(settings), settings["classes"], training, False)]


def _convolution(
    images: int, before: int, after: int, kernel: int, side: int, training: bool
) -> list[Callable[[], object]]:
    x, w = torch.rand(images, before, side, side), torch.rand(after, before, kernel, kernel)
    y = torch.nn.functional.conv2d(x, w)
    products: list[Callable[[], object]] = [lambda: torch.nn.functional.conv2d(x, w)]
    if training:
        wanted = [before > 1, True, False]  # the image itself wants no gradient
        plain: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
        products.append(lambda: torch.ops.aten.convolution_backward(y, x, w, None, *plain, wanted))
    return products
