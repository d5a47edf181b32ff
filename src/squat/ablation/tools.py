"""What a run is made of: training, evaluation, calibration, data, files. The runner takes them as one value, so tests
(and other training loops) hand in their own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from squat.checks import check_int
from squat.text import brief


@dataclass(frozen=True)
class Tools:
    """The functions that a run calls; all must be picklable, for worker processes.

    Args:
        load_data: `load_data(data_config) -> Dataset`.
        fit: `fit(run_config, folder, data=, progress=, resume=) -> FitResult`.
        evaluate: `evaluate(network, split, batch_size, threads, loss=, logit_scale=) -> Evaluation`.
        calibrate: `squat.calibrate`.
        measure: `measure(network, split) -> {"weights": n, "states": n}`.
        save, load: `save(network, path, metadata, overwrite=)`, `load(path) -> network`.
    """

    load_data: Callable[..., Any]
    fit: Callable[..., Any]
    evaluate: Callable[..., Any]
    calibrate: Callable[..., Any]
    measure: Callable[..., dict[str, int]]
    save: Callable[..., Any]
    load: Callable[..., Any]

    __repr__ = brief


def default_tools() -> Tools:
    """squat's own functions."""
    from squat.files import load, save
    from squat.ptq import calibrate
    from squat.train.evaluate import evaluate
    from squat.train.run import fit

    return Tools(load_data, fit, evaluate, calibrate, count_parts, save, load)


@lru_cache(maxsize=1)
def load_data(config: Any) -> Any:
    """The data set of a `DataConfig`, kept in memory for the next run of the process."""
    from squat.data import load

    return load(config.name, **config.arguments)


def about_data(data: Any) -> dict[str, Any]:
    """Classes, steps, sizes and test labels of a data set: what the results of an ablation refer to."""
    sizes = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    return {"classes": data.classes, "steps": data.steps, "samples": sizes, "test_labels": data.test.labels.tolist()}


def count_parts(network: Any, split: Any) -> dict[str, int]:
    """Numbers of weights and of neuron states of a network (states of one sample; biases are not counted).

    Args:
        network: a `Network`.
        split: data whose first sample gives the shapes.

    Returns:
        `{"weights": n, "states": n}`.
    """
    import torch

    with torch.no_grad():
        outputs = network.forward_trace(split.batch(torch.tensor([0]))[0])
    states = sum(
        output[0, 0].numel() * layer.states_per_neuron
        for layer, output in zip(network.layers, outputs, strict=True)
        if hasattr(layer, "set_state_spec")
    )
    weights = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[2].startswith("weight")
    )
    return {"weights": weights, "states": states}


def bytes_of(size: dict[str, int], weight_bits: int | None, state_bits: int | None) -> float:
    """Bytes of weights and states at their real bit widths: `(weights * w + states * s) / 8`, 32 bits for float.

    Args:
        size: numbers of weights and states.
        weight_bits: bits of a weight; None for float32.
        state_bits: bits of a state; None for float32.

    Returns:
        bytes.

    Example:
        >>> bytes_of({"weights": 1000, "states": 128}, 4, None)
        1012.0
    """
    weight = 32 if weight_bits is None else check_int("weight_bits", weight_bits, 1, 32)
    state = 32 if state_bits is None else check_int("state_bits", state_bits, 1, 32)
    return (size["weights"] * weight + size["states"] * state) / 8
